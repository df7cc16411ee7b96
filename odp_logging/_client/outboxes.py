"""Finds the outbox of a log call, and builds the row that it writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .builders import build_or_explain, build_reporting_builder
from .outbox.base import (
    DEFAULT_ACCOUNT,
    BaseOutbox,
    Outcome,
    Row,
    Warn,
    find_outbox,
    read_outbox,
)

if TYPE_CHECKING:
    from .._config.settings import Config
    from .._events.batch import Invalid
    from .._events.event import OdpEvent
    from .._flusher.reports import Reports
    from .._runtime.secret import Secret
    from .outbox.django import DjangoRule


class Outboxes:
    """
    What a router needs to know about outboxes, with the settings of one client.

    Args:
        config: The settings of the client.
        warn: Writes a log line; called with its kind and its text.
    """

    def __init__(self, config: Config, warn: Warn) -> None:
        self._config = config
        self._warn = warn
        self._rule = _build_rule(config)
        self._builder: tuple[Reports, Callable[..., OdpEvent | None]] | None = None

    def find(self) -> BaseOutbox | None:
        """Return the outbox for an event that is logged now; None if there is none."""
        if read_outbox() is None and self._rule is None:
            return None  # as for most log calls
        found = find_outbox(self._warn)
        return self._rule.find() if found is None and self._rule is not None else found

    def build(self, logged: Any, reports: Reports) -> OdpEvent | Invalid | None:
        """Return the event of *logged*, or why there is none; None if left out."""
        # By the reports: another destination has others, to which its warnings go.
        known = self._builder
        if known is None or known[0] is not reports:
            known = reports, build_reporting_builder(self._config, reports)
            self._builder = known
        return build_or_explain(known[1], logged)

    def make_row(
        self, outbox: BaseOutbox, event: OdpEvent, settle: Callable[[Outcome], object]
    ) -> Row:
        """Return what *outbox* writes for *event*."""
        from .._stores.queue.postgresql.statements import build_parameters

        url: Any = self._config.queue_url
        if url is not None and url.engine == "postgresql":
            table, account = url.get_option("table"), url.alias
        else:
            table, account = outbox.table, outbox.account
            self._check_account(table, account)
        parameters = build_parameters(event, account)
        return Row(table, _build_insert(table), parameters, settle, self._warn)

    def _check_account(self, table: str, account: str) -> None:
        """Warn if clients with two keys write to one account: relays have one key."""
        own = self._config.api_key
        if own is not None and _account_keys.setdefault((table, account), own) != own:
            self._warn(
                "outbox:accounts",
                f"clients with different keys write to the account {account!r}"
                f" of the table {table}; relays deliver its events with one key. Give"
                " each client a queue_url with an account= of its own",
            )


_account_keys: dict[tuple[str, str], Secret] = {}
"""The key of the first client that wrote to a table and account."""


@lru_cache(maxsize=64)
def _build_insert(table: str) -> str:
    from .._stores.queue.postgresql.statements import build_insert

    return build_insert(table)


def _build_rule(config: Config) -> DjangoRule | None:
    if config.outbox is None:
        return None
    # Imported now: a log call must not import anything.
    from .._flusher.loading import can_load_now, load_sending_modules
    from .._stores.queue.postgresql import statements as _statements  # noqa: F401
    from .._stores.queue.postgresql.tables import DEFAULT_TABLE
    from .outbox.django import DjangoRule

    if can_load_now():
        load_sending_modules()
    is_continuing = config.outbox == "django-continue"
    on_error: Any = "continue" if is_continuing else "abort"
    return DjangoRule(DEFAULT_TABLE, DEFAULT_ACCOUNT, on_error)
