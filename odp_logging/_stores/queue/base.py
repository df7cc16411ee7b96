"""The base class of queue engines: what one kind of queue has to do.

Applications, relays and the command line reach a queue only through it. `QueueStore`
(store.py) adds what is the same for all engines.
"""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar
from uuid import uuid4

from .url_options import COMMON_OPTIONS, UrlOption

if TYPE_CHECKING:
    from ..._config.queue_url import QueueUrl
    from .messages import (
        Consumer,
        DeadLetter,
        Depth,
        LeasedMessage,
        PublishFailure,
        QueueMessage,
    )

LEASE_SECONDS = 30.0
"""Default duration of a lease; longer than any request takes."""

MAX_DELIVERIES = 10
"""Default number of workers that may take a message, one after the other."""

MAX_BODY_BYTES = 64 * 1024**2
"""
Bytes of the largest body that relays and commands read; no event's JSON is larger.

A message with a larger one becomes a dead letter, and its body stays in the queue.
"""

TOO_LARGE = f"unreadable: it has more than {MAX_BODY_BYTES // 1024**2} MiB"
"""Why such a message is a dead letter."""


class QueueEngine(ABC):
    """
    Stores, leases and acknowledges messages in one kind of queue.

    To support another queue, write `_stores/queue/<scheme>.py` with a class `Engine`
    that derives from this one, and add it to the list in engines.py. The setting
    ``queue_url="<scheme>://..."`` and the command ``odp-logging relay`` then find it.
    Implement the ten abstract methods. Override the others where the queue can do
    better than the default. `tests/stores/queue/contract.py` has a suite that every
    engine passes, and `tests/stores/queue/test_base.py` an example.

    The queue guarantees:

    * **Durability.** A message is stored when `publish` returns and does not name it.
    * **Leases.** `lease` gives a message to one worker. It gives it to another one only
      after `release`, or once `lease_seconds` have passed since it was leased or
      renewed. It then counts one delivery more.
    * **At least once.** A message leaves the queue only in `acknowledge`. Where two
      steps are not one transaction, the engine stores before it deletes. ODP recognizes
      an event that is sent twice by its id.
    * **Order.** Messages with the same key are leased in the order of `publish`.
    * **Accounts.** A message keeps its alias. An engine leases messages of its own
      account; `QueueStore` turns one of another account into a dead letter.
    * **Workers.** A worker registers itself again and again while it works, and removes
      itself at its end. A worker that was killed does neither, and its registration
      ends by itself.

    Applications call `publish`. Relays call `lease`, `renew`, `acknowledge`, `release`,
    `read_depth`, `register_worker`, `unregister_worker` and the pause. The command line
    calls the rest. One thread at a time uses an instance; each worker of a relay has
    its own. Connections open when they are needed, also after `close`.

    Every method but `load` may raise `QueueError`. Its message names the queue by
    ``url.display_url``, and contains no credentials and no text of an event. An engine
    turns all exceptions of its client library into `QueueError`.

    Args:
        url: Address of the queue.
        lease_seconds: Seconds for which a worker has a message to itself.

    Raises:
        ValueError: *url* has a part that this kind of queue does not support.
    """

    url_options: ClassVar[Mapping[str, UrlOption]] = {}
    """Options that the URL of this kind of queue has, besides those of all kinds.

    `QueueUrl.get_option` has their values. The first one names the place of the events.
    """

    common_url_options: ClassVar[Mapping[str, UrlOption]] = COMMON_OPTIONS
    """Options of all kinds of queue."""

    url_example: ClassVar[str] = ""
    """Text that shows the form of such a URL, for errors: "a URL such as ..."."""

    def __init__(self, url: QueueUrl, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self.url = url
        self.lease_seconds = lease_seconds
        self.max_deliveries = MAX_DELIVERIES
        """Deliveries above which a message becomes a dead letter; `QueueStore` sets it.

        An engine need not read such a message, which may have killed its workers.
        """

    @classmethod
    def load(cls) -> None:
        """
        Import all modules that the engine needs; called before the first instance.

        Raises:
            ImportError: The client library is missing; the message says how to install
                it.
        """

    # Applications.

    @abstractmethod
    def publish(
        self, messages: Sequence[QueueMessage], deadline: float | None
    ) -> Mapping[int, PublishFailure]:
        """
        Store *messages* in the queue; return why some were not stored, by index.

        Reject messages beyond ``url.high_water``, so that the queue cannot grow without
        limit. Never delete others to make room.

        Args:
            deadline: Time of `odp_logging._runtime.lock.monotonic` until which to wait
                for the response; None for the engine's own limit.

        Raises:
            QueueError: It is unknown for all messages whether they are in the queue.
        """

    # Relays.

    @abstractmethod
    def lease(self, limit: int, wait: float, max_bytes: int) -> Sequence[LeasedMessage]:
        """
        Lease at most *limit* messages: those with an expired lease, then new ones.

        The memory of a relay depends on *max_bytes*. An engine that learns the size of
        a message only by reading it may exceed *max_bytes* a little.

        Args:
            limit: Number of messages, at least 1.
            wait: Seconds to wait for a message if there is none; at most about one,
                because a relay that ends cannot interrupt it.
            max_bytes: Bytes of all bodies together. A larger message is leased as
                well, but alone.
        """

    @abstractmethod
    def renew(self, leased: Sequence[LeasedMessage]) -> Sequence[LeasedMessage]:
        """
        Renew the leases of *leased*; return those that this worker still holds.

        Called before each `lease`, and while a worker waits for a retry, with all
        messages that the worker holds. May do nothing while a lease is still long.
        """

    @abstractmethod
    def acknowledge(
        self, done: Sequence[LeasedMessage], dead: Sequence[tuple[LeasedMessage, str]]
    ) -> None:
        """
        Remove *done*; turn *dead* into dead letters with their reasons.

        Called again with the same messages if it failed. Messages that this worker no
        longer holds are removed, too: they are delivered.
        """

    def release(self, leased: Sequence[LeasedMessage]) -> None:
        """
        Return *leased* to the queue at once, as if they had not been leased.

        By default they return when their lease ends.
        """

    def start_pause(self, seconds: float) -> None:
        """
        Stop all relays of this account from sending for *seconds*.

        A longer pause that another relay started stays. By default nothing is shared,
        and each relay waits for itself.
        """

    def read_pause(self) -> float:
        """Return the remaining seconds of the account's pause; may be infinite."""
        return 0.0

    def limit_pause(self, seconds: float) -> None:
        """
        Let the pause of this account end after *seconds* from now at the latest.

        Called for a pause that is longer than a relay starts. By default it stays, and
        each relay counts for itself.
        """

    def register_worker(self, seconds: float) -> None:
        """
        Let this worker count as alive for *seconds* from now on, also while it is idle.

        Called about once a second, but not during a request. May do nothing while most
        of the last registration is left. By default workers are not known.
        """

    def unregister_worker(self) -> None:
        """
        Remove the registration of this worker, which ends.

        Also called for workers that never registered.
        """

    # Applications, relays and the command line.

    def find_problems(self, deadline: float | None = None) -> Sequence[str]:
        """
        Return what in the setup of the queue endangers events: a sentence for each.

        Called once by each application and worker, and by ``relay status``. What this
        user of the queue may not know is left out. By default nothing is known.

        Args:
            deadline: As in `publish`.
        """
        return ()

    @abstractmethod
    def read_depth(self) -> Depth:
        """Return how many messages there are. A relay calls it about once a second."""

    def list_consumers(self) -> Sequence[Consumer]:
        """
        Return the live workers, and those that ended and still hold messages.

        By default none, where the queue does not know them.
        """
        return ()

    @abstractmethod
    def list_dead_letters(self) -> Sequence[DeadLetter]:
        """Return all dead letters, the oldest first."""

    @abstractmethod
    def retry_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Move *letters* back into the queue, where they count no deliveries."""

    @abstractmethod
    def delete_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Delete *letters*."""

    # What the server needs before.

    @classmethod
    def build_schema(cls, url: QueueUrl) -> str:
        """
        Return the statements that create what the queue of *url* needs.

        By default none. They need no connection.
        """
        return ""

    @classmethod
    def build_grants(cls, url: QueueUrl, *, producer: str, relay: str) -> str:
        """
        Return the statements that give two users the rights they need, and no others.

        Args:
            producer: The user of applications.
            relay: The user of relays and of the command line.
        """
        return ""

    def apply_schema(self) -> str:
        """
        Create what the queue needs, or bring it to the newest version.

        Return one line about what was done. By default there is nothing to do. Relays
        and applications do not call it, so that they need no rights for it.
        """
        return f"{self.url.display_url}: this kind of queue needs no schema"

    # The connection.

    @staticmethod
    def build_worker_name() -> str:
        """Return a name that no other worker has: with the same, leases would mix."""
        return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"

    @abstractmethod
    def close(self) -> None:
        """Close connections. Raises nothing."""

    @abstractmethod
    def after_fork(self) -> None:
        """
        Become another worker in a forked child, without connections and leases.

        The sockets belong to the parent. Drop them without writing to them: closing a
        session properly would end the parent's.
        """
