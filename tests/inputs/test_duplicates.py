"""Two handlers that see the same record send it once to each account."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys

import pytest

from odp_logging import OdpClient, OdpHandler, OdpProcessor
from odp_logging._capture.fields import CAPTURED_BY
from odp_logging.emulator import Emulator

from ..conftest import KEY

WHO = {"fs_user_id": "user123"}
USUAL = {"odp_action": "viewed", "odp_identifiers": WHO, "odp_data": {"a": 1}}
SHORT = {"odp_action": "viewed", "odp_identifiers": WHO}
LARGE = {**USUAL, "odp_data": {"of": {"a": [1]}}}


def made(emulator, **settings):
    settings = {"handle_sigterm": False, **settings}
    return OdpHandler(KEY, api_host=emulator.url, **settings)


def delivered(*handlers):
    for handler in handlers:
        assert handler.client.flush(10)
    return [handler.client.stats.delivered for handler in handlers]


@pytest.mark.parametrize("extra", [USUAL, SHORT, LARGE], ids=["usual", "short", "long"])
def test_two_handlers_for_one_account_send_once(logger, emulator, extra):
    """The first handler sends the record, the second one does not."""
    first, second = made(emulator), made(emulator)
    logger.addHandler(first)
    logger.addHandler(second)
    for _ in range(3):
        logger.info("view", extra=extra)

    assert delivered(first, second) == [3, 0]
    assert emulator.stats()["received"] == 3


def test_two_handlers_with_one_client_send_once(logger, emulator):
    """A record is one event of its client."""
    client = OdpClient(KEY, api_host=emulator.url, handle_sigterm=False)
    logger.addHandler(OdpHandler(client=client))
    logger.addHandler(OdpHandler(client=client))
    logger.info("view", extra=USUAL)

    assert client.close(10)
    assert client.stats.accepted == 1


def test_two_accounts_get_one_each(logger, emulator):
    """Another key or another host is another account."""
    with Emulator() as other:
        here, there = made(emulator), made(other)
        again = made(other)
        for handler in (here, there, again):
            logger.addHandler(handler)
        logger.info("view", extra=USUAL)

        assert delivered(here, there, again) == [1, 1, 0]
        for handler in (there, again):
            logger.removeHandler(handler)
            handler.close()


def test_a_record_that_the_first_handler_ignores_is_sent_by_the_second(
    logger, emulator
):
    """A level or a filter of the first handler does not affect the second."""
    first, second = made(emulator, level=logging.ERROR), made(emulator)
    third = made(emulator, enabled=False)
    for handler in (third, first, second):
        logger.addHandler(handler)
    logger.info("view", extra=USUAL)

    assert delivered(first, second) == [0, 1]


def test_handlers_without_a_key_both_keep_the_record(logger, caplog):
    """Whether they will send to the same account is not known yet."""
    first, second = [OdpHandler(handle_sigterm=False) for _ in range(2)]
    logger.addHandler(first)
    logger.addHandler(second)
    logger.info("view", extra=USUAL)

    for handler in (first, second):
        assert handler.client.stats.pending == 1
        handler.client._destinations.flusher.abandon("end of the test")


def test_the_second_handler_warns_once(logger, emulator, caplog):
    """One line says why its settings have no effect."""
    first, second = made(emulator), made(emulator)
    logger.addHandler(first)
    logger.addHandler(second)
    for _ in range(3):
        logger.info("view", extra=USUAL)

    assert delivered(first, second) == [3, 0]
    said = [each for each in caplog.messages if "two OdpHandlers" in each]
    assert len(said) == 1
    assert "force=True" in said[0]


def test_a_record_handled_twice_is_sent_twice(emulator):
    """The same handler sends it twice, as logging does."""
    handler, _other = made(emulator), made(emulator)
    record = logging.makeLogRecord({"name": "shop", "msg": "view", **USUAL})
    handler.handle(record)
    handler.handle(record)

    assert delivered(handler) == [2]
    handler.close()


def test_a_copied_or_pickled_record_keeps_its_mark(emulator):
    """Behind a QueueHandler the mark is kept; it shows no key."""
    first, second = made(emulator), made(emulator)
    record = logging.makeLogRecord({"name": "shop", "msg": "view", **USUAL})
    first.handle(record)
    pickled = pickle.dumps(record.__dict__)
    second.handle(copy.copy(record))
    second.handle(logging.makeLogRecord(pickle.loads(pickled)))

    assert KEY.encode() not in pickled
    assert delivered(first, second) == [1, 0]


@pytest.mark.parametrize("junk", [None, 5, "x", [1], {"x": object()}])
def test_an_invalid_mark_is_ignored(emulator, junk):
    """A mark in an unpickled record may have any type."""
    first, second = made(emulator), made(emulator)
    record = logging.makeLogRecord(
        {"name": "shop", "msg": "x", **USUAL, CAPTURED_BY: junk}
    )
    first.handle(record)
    second.handle(record)

    assert delivered(first, second) == [1, 0]
    assert first.client.stats.rejected == {}


LONELY = """
import gc, logging
from odp_logging import OdpHandler

def marks(handler):
    record = logging.makeLogRecord({"msg": "x", "odp_action": "viewed"})
    handler.handle(record)
    return "_odp_taken" in record.__dict__

settings = {"api_key": "k", "api_host": "http://127.0.0.1:9", "shutdown_timeout": 0}
first = OdpHandler(**settings)
alone = marks(first)
second = OdpHandler(**settings)
together = marks(first)
second.close()
del second
gc.collect()
print(alone, together, marks(first))
"""


def test_a_single_handler_marks_no_record():
    """Records get the mark only while there are two handlers."""
    done = subprocess.run(
        [sys.executable, "-c", LONELY], capture_output=True, text=True, timeout=60
    )

    assert done.stdout == "False True False\n", done.stderr


def test_a_structlog_event_behind_two_handlers_is_sent_once(emulator, logger):
    """An event dict in record.msg is sent once, with a processor as well."""
    first, second = made(emulator), made(emulator)
    processor = OdpProcessor(client=first.client, strip=False)
    taken = processor(None, "info", {"event": "view", **USUAL})
    for message in ({"event": "view", **USUAL}, taken):
        record = logging.makeLogRecord({"name": "shop", "msg": message})
        first.handle(record)
        second.handle(record)

    assert delivered(first, second) == [2, 0]
