"""flush_on_return: events are delivered before a function returns."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time

import pytest

import odp_logging
from odp_logging import ConfigurationError, OdpClient, flush_on_return

from ..conftest import KEY

WHO = {"fs_user_id": "user123"}


@pytest.fixture
def slow(emulator):
    """A client that would send in a minute, and never waits at its end."""
    settings = {"flush_interval": 60, "shutdown_timeout": 0.1}
    made = OdpClient(KEY, api_host=emulator.url, handle_sigterm=False, **settings)
    yield made
    emulator.clear_faults()
    assert made.close(10)


def unique(emulator):
    return emulator.stats()["unique"]


@pytest.mark.parametrize(
    "decorator",
    [flush_on_return, flush_on_return(), flush_on_return(timeout=10)],
    ids=["bare", "called", "with a timeout"],
)
def test_a_function_delivers_before_it_returns(slow, emulator, decorator):
    """With and without parentheses; name, signature and result stay as they are."""

    @decorator
    def sell(item: str, *, price: float = 1.0) -> str:
        """Sell."""
        slow.send_odp_event("purchased", WHO, data={"item": item, "price": price})
        return item

    assert sell("shirt", price=2.0) == "shirt"
    assert unique(emulator) == 1
    assert (sell.__name__, sell.__doc__) == ("sell", "Sell.")
    assert (
        str(inspect.signature(sell))
        == "(item: 'str', *, price: 'float' = 1.0) -> 'str'"
    )


def test_an_exception_is_raised_unchanged_after_delivery(slow, emulator):
    """The exception that leaves is the very one that was raised."""
    error = KeyError("stock")

    @flush_on_return
    def sell():
        slow.send_odp_event("purchased", WHO)
        raise error

    with pytest.raises(KeyError) as raised:
        sell()
    assert raised.value is error
    assert (error.__context__, error.__cause__) == (None, None)
    assert unique(emulator) == 1


def test_a_with_block_delivers_at_its_end(slow, emulator):
    """The exception of the block is raised."""
    with flush_on_return(timeout=10):
        slow.send_odp_event("viewed", WHO)
    assert unique(emulator) == 1

    with pytest.raises(ZeroDivisionError), flush_on_return(timeout=10):
        slow.send_odp_event("viewed", WHO)
        _ = 1 / 0
    assert unique(emulator) == 2


def test_an_async_function_waits_without_blocking_the_loop(slow, emulator):
    """Other tasks run while it delivers; it is still an async function."""
    emulator.fault(latency=0.2, count=1)
    beats = []

    @flush_on_return(timeout=10)
    async def sell(item):
        slow.send_odp_event("purchased", WHO)
        return item

    async def main():
        selling = asyncio.ensure_future(sell("shirt"))
        while not selling.done():
            beats.append(None)
            await asyncio.sleep(0.01)
        return await selling

    assert inspect.iscoroutinefunction(sell)
    assert asyncio.run(main()) == "shirt"
    assert unique(emulator) == 1
    assert len(beats) > 5


def test_an_async_block_delivers_and_raises(slow, emulator):
    """As the sync forms do."""

    async def main():
        async with flush_on_return(timeout=10):
            slow.send_odp_event("viewed", WHO)
        before = unique(emulator)
        with pytest.raises(ZeroDivisionError):
            async with flush_on_return(timeout=10):
                slow.send_odp_event("viewed", WHO)
                _ = 1 / 0
        return before, unique(emulator)

    assert asyncio.run(main()) == (1, 2)


def test_async_callables_of_other_types_are_recognized(slow, emulator):
    """A partial, a callable object and a plain function around an async one."""

    async def sell(item):
        await asyncio.sleep(0)
        slow.send_odp_event("purchased", WHO)
        return item

    class Shop:
        async def __call__(self, item):
            return await sell(item)

    kinds = [functools.partial(sell), lambda item: sell(item)]
    for number, kind in enumerate(kinds, 1):
        assert asyncio.run(flush_on_return(kind)("shirt")) == "shirt"
        assert unique(emulator) == number
    # functools.wraps finds no name on an object, and needs none.
    assert asyncio.run(flush_on_return(Shop())("shirt")) == "shirt"
    assert unique(emulator) == 3


def test_methods_of_every_kind_can_be_decorated(slow, emulator):
    """Above or below classmethod and staticmethod, on plain methods too."""

    class Shop:
        @flush_on_return
        def plain(self):
            return slow.send_odp_event("a", WHO), self

        @flush_on_return
        @classmethod
        def above(cls):
            return slow.send_odp_event("b", WHO), cls

        @classmethod
        @flush_on_return
        def below(cls):
            return slow.send_odp_event("c", WHO), cls

        @flush_on_return
        @staticmethod
        def alone(item):
            return slow.send_odp_event("d", WHO), item

    shop = Shop()
    assert shop.plain() == (None, shop)
    assert Shop.above() == shop.below() == (None, Shop)
    assert shop.alone(1) == (None, 1)
    assert unique(emulator) == 4


def _generator():
    yield


async def _async_generator():
    yield


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (_generator, r"with flush_on_return\(\):"),
        (_async_generator, r"with flush_on_return\(\):"),
        (functools.partial(_generator), "generator"),
        (OdpClient, "not type"),
        (2, "timeout="),
    ],
)
def test_generators_are_refused_at_once(what, said):
    """A generator's body runs after it returned; the message says what to write."""
    with pytest.raises(TypeError, match=said):
        flush_on_return(what)


@pytest.mark.parametrize("timeout", ["2", None, True])
def test_a_bad_timeout_is_refused_at_once(timeout):
    """A configuration mistake raises where it is made."""
    with pytest.raises(ConfigurationError, match="seconds"):
        flush_on_return(timeout=timeout)


def test_an_outage_costs_the_timeout_and_is_reported(slow, emulator, caplog):
    """The function returns its result in time; one line counts the pending events."""
    emulator.fault(status=503)

    @flush_on_return(timeout=0.3)
    def sell():
        slow.send_odp_event("purchased", WHO)
        return "sold"

    start = time.monotonic()
    assert sell() == "sold"
    assert 0.25 < time.monotonic() - start < 3
    assert [
        "flush_on_return: 1 event had not left after 0.3 s" in message
        for message in caplog.messages
        if "flush_on_return" in message
    ] == [True]


def test_a_client_without_a_key_is_not_waited_for():
    """A client without a destination delays no return."""
    lonely = OdpClient(handle_sigterm=False)
    start = time.monotonic()
    with flush_on_return(timeout=30):
        lonely.send_odp_event("viewed", WHO)

    async def main():
        async with flush_on_return(timeout=30):
            lonely.send_odp_event("viewed", WHO)

    asyncio.run(main())
    assert time.monotonic() - start < 5
    lonely._destinations.flusher.abandon("end of the test")


def test_only_the_given_client_is_waited_for(slow, emulator):
    """client= waits for that one alone."""
    other = OdpClient(
        KEY, api_host=emulator.url, handle_sigterm=False, flush_interval=60
    )
    with flush_on_return(client=other, timeout=10):
        slow.send_odp_event("here", WHO)
        other.send_odp_event("there", WHO)
    assert [each["event"]["action"] for each in emulator.events()] == ["there"]

    with flush_on_return(timeout=10):
        other.send_odp_event("there", WHO)
    assert unique(emulator) == 3
    assert other.close(10)


def test_a_failure_of_the_library_does_not_change_the_result(caplog):
    """The function returns its result; one line reports the failure."""

    class Broken:
        def flush(self, timeout):
            raise RuntimeError("secret")

    @flush_on_return(client=Broken())
    def sell():
        return "sold"

    assert sell() == "sold"
    [said] = [each for each in caplog.messages if "flush_on_return" in each]
    assert "failed with RuntimeError" in said
    assert "secret" not in said


def test_a_closed_coroutine_ends_at_once(slow, emulator):
    """A coroutine that is closed before its end raises nothing."""

    @flush_on_return(timeout=30)
    async def sell():
        slow.send_odp_event("purchased", WHO)
        await asyncio.Event().wait()

    async def main():
        selling = sell()
        selling.send(None)
        selling.close()

    asyncio.run(main())
    assert odp_logging.flush(10)
    assert unique(emulator) == 1


def test_a_cancelled_task_delivers_and_stays_cancelled(slow, emulator):
    """Cancelled in its body, it delivers, and ends as a cancelled one."""

    @flush_on_return(timeout=10)
    async def sell():
        slow.send_odp_event("purchased", WHO)
        await asyncio.Event().wait()

    async def main():
        selling = asyncio.ensure_future(sell())
        await asyncio.sleep(0)
        selling.cancel()
        await asyncio.wait([selling])
        return selling.cancelled()

    assert asyncio.run(main())
    assert unique(emulator) == 1


def test_a_task_cancelled_during_delivery_stops_waiting(slow, emulator):
    """The events are sent nevertheless."""
    emulator.fault(latency=0.3, count=1)

    @flush_on_return(timeout=30)
    async def sell():
        slow.send_odp_event("purchased", WHO)

    async def main():
        await asyncio.wait_for(sell(), 0.05)

    with pytest.raises((asyncio.TimeoutError, TimeoutError)):
        asyncio.run(main())
    assert not slow._destinations.flusher.progress.has_callbacks()
    assert slow.flush(10)
    assert unique(emulator) == 1


def test_aflush_waits_for_every_client(slow, emulator):
    """odp_logging.aflush is odp_logging.flush for an event loop."""
    slow.send_odp_event("viewed", WHO)

    assert asyncio.run(odp_logging.aflush(10))
    assert unique(emulator) == 1


def test_aflush_in_a_callback_does_not_wait(emulator):
    """aflush returns False at once in a callback of its own client."""
    answers = []

    def delivered(events):
        answers.append(asyncio.run(client.aflush(30)))

    client = OdpClient(
        KEY, api_host=emulator.url, handle_sigterm=False, on_delivery=delivered
    )
    client.send_odp_event("viewed", WHO)
    assert client.flush(10)

    assert answers == [False]
    assert client.close(10)


def test_a_cancelled_aclose_still_ends_the_thread(slow, emulator):
    """The thread ends once all events are settled."""
    emulator.fault(latency=0.3, count=1)
    slow.send_odp_event("viewed", WHO)

    async def main():
        await asyncio.wait_for(slow.aclose(30), 0.05)

    with pytest.raises((asyncio.TimeoutError, TimeoutError)):
        asyncio.run(main())
    thread = slow._destinations.flusher._worker._thread
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    assert unique(emulator) == 1


def test_trio_is_supported(slow, emulator):
    """Under trio the same calls wait on one of its worker threads."""
    trio = pytest.importorskip("trio")
    emulator.fault(latency=0.2, count=1)
    beats = []

    async def beat():
        while True:
            beats.append(None)
            await trio.sleep(0.01)

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat)
            async with flush_on_return(timeout=10):
                slow.send_odp_event("viewed", WHO)
            before = unique(emulator)
            emulator.fault(latency=0.5, count=1)
            slow.send_odp_event("viewed", WHO)
            with trio.move_on_after(0.05) as given_up:
                await slow.aflush(5)
            nursery.cancel_scope.cancel()
            return before, given_up.cancelled_caught

    assert trio.run(main) == (1, True)
    assert len(beats) > 5
    assert slow.flush(10)
    assert unique(emulator) == 2
