"""A transport that is made when it is first needed."""

from __future__ import annotations

import pytest

from odp_logging._delivery import Delivery
from odp_logging.stores._base import Batch
from odp_logging.transports._late import Late


class Spoken:
    """A transport that notes what it is asked for."""

    def __init__(self, heard: list[str]) -> None:
        self.heard = heard
        heard.append("made")

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        self.heard.append(f"send until {deadline}")
        return Delivery(len(batch.events))

    def prepare(self) -> None:
        self.heard.append("prepare")

    def close(self) -> None:
        self.heard.append("close")

    def after_fork(self) -> None:
        self.heard.append("after_fork")


@pytest.fixture
def heard() -> list[str]:
    """What the transport behind it was asked for."""
    return []


@pytest.fixture
def late(heard) -> Late:
    """A transport that was not needed yet."""
    return Late(lambda: Spoken(heard))


def test_it_is_not_made_before_it_is_needed(late, heard):
    """Neither the end nor a fork makes one that was never used."""
    late.close()
    late.after_fork()

    assert heard == []


def test_it_is_made_once_and_passes_on_what_it_is_asked(late, heard):
    """From its first use on it is the other."""
    late.prepare()
    delivery = late.send(Batch([]), deadline=7.0)
    late.after_fork()
    late.close()

    assert heard == ["made", "prepare", "send until 7.0", "after_fork", "close"]
    assert delivery == Delivery(0)
