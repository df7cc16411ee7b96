"""The guard keeps events in their store while a test blocks the network."""

from __future__ import annotations

from odp_logging._capture import interception
from odp_logging._capture.network_block import NetworkBlock
from odp_logging._events.delivery import Cause, Delivery
from odp_logging._transports.guard import GuardedTransport

from .conftest import ScriptedTransport, build_batch


def test_nothing_is_sent_while_the_host_is_blocked() -> None:
    """A blocked batch stays pending without a request, and is sent afterwards."""
    inner = ScriptedTransport(lambda batch: Delivery(len(batch.events)))
    guard = GuardedTransport(inner, "https://odp.test")
    block = NetworkBlock()
    before = interception.set_block(block)
    try:
        blocked = guard.send(build_batch())
    finally:
        interception.set_block(None)
    try:
        sent = guard.send(build_batch())
    finally:
        interception.set_block(before)

    assert blocked.pending == (0, 1, 2)
    assert blocked.cause is Cause.MISCONFIGURED
    assert blocked.requests == 0
    assert len(inner.sent) == 1
    assert not sent.pending
    assert "https://odp.test" in block.format_deferred()[0]


def test_other_hosts_are_not_blocked() -> None:
    """This machine is never blocked: the emulator runs there."""
    inner = ScriptedTransport(lambda batch: Delivery(len(batch.events)))
    before = interception.set_block(NetworkBlock())
    try:
        GuardedTransport(inner, "http://127.0.0.1:8181").send(build_batch())
    finally:
        interception.set_block(before)

    assert len(inner.sent) == 1
