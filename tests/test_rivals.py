"""Two handlers on one record's path: an account gets an event once."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys

import pytest

from odp_logging import OdpClient, OdpHandler, OdpProcessor
from odp_logging._rivals import TAKEN
from odp_logging.emulator import Emulator

from .conftest import KEY

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
def test_the_same_account_gets_it_once(logger, emulator, extra):
    """However the record goes, the first handler sends it, the second does not."""
    first, second = made(emulator), made(emulator)
    logger.addHandler(first)
    logger.addHandler(second)
    for _ in range(3):
        logger.info("view", extra=extra)

    assert delivered(first, second) == [3, 0]
    assert emulator.stats()["received"] == 3


def test_one_client_shared_by_two_handlers(logger, emulator):
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


def test_a_level_or_a_filter_of_the_first_leaves_it_to_the_second(logger, emulator):
    """Who did not capture it keeps nobody from doing so."""
    first, second = made(emulator, level=logging.ERROR), made(emulator)
    third = made(emulator, enabled=False)
    for handler in (third, first, second):
        logger.addHandler(handler)
    logger.info("view", extra=USUAL)

    assert delivered(first, second) == [0, 1]


def test_without_a_key_each_keeps_its_own(logger, caplog):
    """Nobody knows yet whether they will send to the same account."""
    first, second = [OdpHandler(handle_sigterm=False) for _ in range(2)]
    logger.addHandler(first)
    logger.addHandler(second)
    logger.info("view", extra=USUAL)

    for handler in (first, second):
        assert handler.client.stats.pending == 1
        handler.client._flusher.give_up("end of the test")


def test_it_is_said_once(logger, emulator, caplog):
    """One line tells why the second handler's settings do nothing."""
    first, second = made(emulator), made(emulator)
    logger.addHandler(first)
    logger.addHandler(second)
    for _ in range(3):
        logger.info("view", extra=USUAL)

    assert delivered(first, second) == [3, 0]
    said = [each for each in caplog.messages if "two OdpHandlers" in each]
    assert len(said) == 1
    assert "force=True" in said[0]


def test_a_record_that_is_handed_over_twice(emulator):
    """The same handler sends it twice, as it was asked to."""
    handler, _other = made(emulator), made(emulator)
    record = logging.makeLogRecord({"name": "shop", "msg": "view", **USUAL})
    handler.handle(record)
    handler.handle(record)

    assert delivered(handler) == [2]
    handler.close()


def test_a_copied_and_a_pickled_record_are_still_taken(emulator):
    """Behind a QueueHandler the mark goes along; it shows no key."""
    first, second = made(emulator), made(emulator)
    record = logging.makeLogRecord({"name": "shop", "msg": "view", **USUAL})
    first.handle(record)
    pickled = pickle.dumps(record.__dict__)
    second.handle(copy.copy(record))
    second.handle(logging.makeLogRecord(pickle.loads(pickled)))

    assert KEY.encode() not in pickled
    assert delivered(first, second) == [1, 0]


@pytest.mark.parametrize("junk", [None, 5, "x", [1], {"x": object()}])
def test_a_mark_off_the_wire_may_be_anything(emulator, junk):
    """Such a record is an event like any other."""
    first, second = made(emulator), made(emulator)
    record = logging.makeLogRecord({"name": "shop", "msg": "x", **USUAL, TAKEN: junk})
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


def test_a_lonely_handler_marks_nothing():
    """Other handlers see of a record what they always saw, but while there are two."""
    done = subprocess.run(
        [sys.executable, "-c", LONELY], capture_output=True, text=True, timeout=60
    )

    assert done.stdout == "False True False\n", done.stderr


def test_structlog_behind_both(emulator, logger):
    """An event dict in record.msg is sent once, with a processor as well."""
    first, second = made(emulator), made(emulator)
    processor = OdpProcessor(client=first.client, strip=False)
    taken = processor(None, "info", {"event": "view", **USUAL})
    for message in ({"event": "view", **USUAL}, taken):
        record = logging.makeLogRecord({"name": "shop", "msg": message})
        first.handle(record)
        second.handle(record)

    assert delivered(first, second) == [2, 0]
