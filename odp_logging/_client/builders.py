"""Create the functions that build events from captures with the settings of a client.

`pipeline` passes them to the stores; outboxes, commands and tests use them as well.
They run on the sending thread or in a log call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .._capture.before_send import BeforeSend
from .._events.batch import Invalid, format_origin
from .._flusher.loading import load_sending_modules
from ..exceptions import InvalidEventError

if TYPE_CHECKING:
    from .._capture.build import Builder
    from .._config.settings import Config
    from .._events.event import OdpEvent
    from .._events.privacy import Privacy
    from .._flusher.reports import Reports

    _BeforeSend = Callable[[OdpEvent], OdpEvent | None]


def build_event_builder(
    config: Config, report: Callable[..., object]
) -> Callable[[Any], OdpEvent | None]:
    """
    Return a function that builds events from captures with these settings.

    Args:
        report: Gets each warning with kind, text and location, as `Diagnostics.warn`.
    """
    return LazyBuilder(config, config.before_send, report)


def build_reporting_builder(config: Config, reports: Reports) -> LazyBuilder:
    """Return a function that builds events and reports what it changes in them."""
    before_send = _wrap_before_send(config, reports)
    return LazyBuilder(config, before_send, reports.diagnostics.warn)


def build_event_now(
    config: Config, reports: Reports, logged: Any
) -> OdpEvent | Invalid | None:
    """
    Return the event of what was *logged*, or why there is none; None if left out.

    For tests: runs on the thread of the log call and imports nothing for sending.
    """
    from .._capture.build import Builder

    build = Builder(
        **_collect_builder_settings(config),
        before_send=_wrap_before_send(config, reports),
        report=reports.diagnostics.warn,
    )
    return build_or_explain(build, logged)


def build_or_explain(
    build: Callable[[Any], OdpEvent | None], logged: Any
) -> OdpEvent | Invalid | None:
    """Return the event of what was *logged*, or why there is none; None if left out."""
    try:
        return build(logged)
    except InvalidEventError as error:
        return Invalid(error.reason, str(error), format_origin(logged))
    except Exception as error:  # before_send is the application's code
        message = f"making it raised {type(error).__name__}"
        return Invalid("not_buildable", message, format_origin(logged))


def build_privacy(config: Config) -> Privacy | None:
    """Return what applies the privacy settings; None if there are none."""
    if not config.redact and not config.hash_identifiers:
        return None
    from .._events.privacy import Privacy

    return Privacy(config.redact, config.hash_identifiers, config.hash_salt)


class LazyBuilder:
    """Builds events from captures; imports what that needs for the first one."""

    def __init__(
        self,
        config: Config,
        before_send: _BeforeSend | None = None,
        report: Callable[..., object] | None = None,
    ) -> None:
        self._settings: dict[str, Any] = {
            **_collect_builder_settings(config),
            "before_send": before_send,
            "report": report,
        }
        self._builder: Builder | None = None

    def __call__(self, logged: Any, event_id: str | None = None) -> OdpEvent | None:
        return self._get_builder()(logged, event_id)

    def encode_batch(
        self, logged: Sequence[Any], event_ids: Sequence[str]
    ) -> list[OdpEvent | None]:
        return self._get_builder().encode_batch(logged, event_ids)

    def _get_builder(self) -> Builder:
        if self._builder is None:
            # Not earlier: `ModuleLoader` imports it where no fork can come in between.
            self._builder = load_sending_modules().Builder(**self._settings)
        return self._builder


def _collect_builder_settings(config: Config) -> dict[str, Any]:
    return {
        "default_identifiers": config.default_identifiers,
        "default_data": config.default_data,
        "redact": config.redact,
        "privacy": build_privacy(config),
        "reject_placeholders": config.reject_placeholders,
    }


def _wrap_before_send(config: Config, reports: Reports) -> _BeforeSend | None:
    """Return before_send as a callback in which events of this client are rejected."""
    if config.before_send is None:
        return None
    return BeforeSend(
        config.before_send, reports.run_before_send, reports.diagnostics.warn
    )
