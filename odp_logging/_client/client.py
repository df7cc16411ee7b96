"""`OdpClient`: takes events, has them delivered, and counts their outcomes.

Handler, processor and integrations put events here. The client captures them; `Router`
passes them to the store of a flusher, which `Destinations` holds.
"""

from __future__ import annotations

import time as _time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._capture.capture import capture
from .._capture.context import Bound, read_context
from .._capture.network_block import block_if_testing
from .._config.load import load
from .._config.secrets import remove_secrets, wrap_secrets
from .._config.signature import SettingsSignature
from .._events.identifiers import normalize_identifiers
from .._events.ids import Identified
from .._events.normalize import get_type_name
from .._events.rules import DEFAULT_TYPE
from .._runtime.diagnostics import Diagnostics
from .._runtime.locations import find_caller
from .._runtime.signals import install_signal_handlers
from ..exceptions import ConfigurationError, InvalidEventError
from .builders import build_privacy
from .destinations import Destinations
from .flushing import close_flushers, flush_flushers, flush_flushers_async
from .pipeline import warn_of_settings
from .router import EXHAUSTED, build_router

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .._config.typed import Settings
    from .._events.event import OdpEvent
    from .._stores.inbox import EventHolder
    from .stats import Stats


class OdpClient:
    """
    Sends events to ODP from a bounded buffer, on a thread of its own.

    Thread-safe. Only `flush`, `close` and their async forms wait for delivery, unless
    ``overflow="block"`` or ``background=False`` is set. In an `outbox` a call waits for
    the database. One more exception: while the buffer
    is nearly full and ODP accepts events, a call waits at most 50 ms; see the setting
    ``backpressure``. After construction, only `configure` raises.

    Args:
        api_key: ODP's public key; by default that of ``ODP_API_KEY`` or of the
            datafile. Without a key, events are kept in the buffer, within its limits,
            until `configure` is called.
        settings: See the table in ``examples/settings/README.md``.

    Raises:
        ConfigurationError: A setting is unknown, or its value cannot be used.
    """

    __module__ = "odp_logging"
    __signature__ = SettingsSignature()

    def __init__(
        self, api_key: str | None = None, **settings: Unpack[Settings]
    ) -> None:
        # Rebound: tracebacks show local variables, and the raw dict holds the key.
        settings = wrap_secrets(api_key, settings)  # type: ignore[assignment]
        api_key = None
        block_if_testing()
        self._diagnostics = Diagnostics()
        self._settings = settings
        self._config = config = load(settings, warn=self._diagnostics.warn)
        # Copies, since reading a setting of a `Config` calls a function.
        self._is_enabled = config.enabled
        self._redact = config.redact
        self._privacy = build_privacy(config)
        self._destinations = Destinations(config, self._diagnostics)
        self._router = build_router(config, self._destinations, self._diagnostics)
        """Where the inputs leave what they captured; not for applications."""
        warn_of_settings(config, self._diagnostics)
        if config.handle_sigterm:
            install_signal_handlers()

    # Events in.

    def send_odp_event(
        self,
        action: str,
        identifiers: Mapping[str, Any],
        type: str | None = DEFAULT_TYPE,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Send an event, as the Feature Experimentation SDK for Python does.

        An event that ODP could not store is rejected, counted in `stats` and reported
        on the logger ``odp_logging`` with the place of this call.

        Args:
            action: What happened, for example ``"purchased"``.
            identifiers: The customer's identifiers; at least one non-empty value.
            type: The kind of event.
            data: Additional fields of the event.
        """
        if _are_swapped(action, identifiers):
            self._router.reject(
                "bad_action",
                "send_odp_event takes the action first; the event was not sent. Write"
                ' send_odp_event("purchased", {"email": ...})',
                find_caller(),
            )
            return
        self._put(
            {
                "odp_action": action,
                "odp_identifiers": identifiers,
                "odp_type": type,
                "odp_data": data,
            },
            time=_time.time(),
            origin=find_caller(),
        )

    def identify(self, identifiers: Mapping[str, Any]) -> None:
        """
        Tell ODP that *identifiers* are one person's (``fullstack`` / ``identified``).

        Needs at least two non-empty identifiers, including bound and default ones. As
        in the SDKs, a single identifier is not sent: there is nothing to connect it to.
        """
        if not self._is_enabled:
            return
        merged: dict[str, str] = {}
        context = read_context() or ((), ())
        try:
            for layer in (self._config.default_identifiers, *context[0], identifiers):
                merged.update(
                    normalize_identifiers(
                        layer, reject_placeholders=self._config.reject_placeholders
                    )
                )
        except InvalidEventError:
            merged = {}
        if len(merged) < 2:
            self._router.reject(
                "identify",
                "identify needs two identifiers that are not empty; nothing was sent,"
                ' pass for example {"fs_user_id": ..., "email": ...}',
                find_caller(),
            )
            return
        self._put(
            {"odp_action": "identified", "odp_identifiers": merged},
            time=_time.time(),
            origin=find_caller(),
        )

    def send(self, event: OdpEvent) -> None:
        """Send *event*; anything but an `OdpEvent` is rejected and counted."""
        if not issubclass(type(event), Identified):  # isinstance may run its code
            self._router.reject(
                "no_event",
                f"send takes an OdpEvent, not {get_type_name(event)}; use"
                " send_odp_event for its parts",
                find_caller(),
            )
        elif self._is_enabled:
            # Applied now: on_drop gets events from the buffer as they are.
            if self._privacy is not None:
                event = self._privacy.make_private(event)
            self._router.put([event], urgent=False, origin=find_caller())

    def _put(
        self,
        fields: Mapping[str, Any],
        *,
        time: float,
        origin: tuple[str, int] | None,
        context: Bound | None = None,
        urgent: bool = False,
    ) -> None:
        """
        Capture the event in the *fields* of a log call, and hand it to the store.

        Handler and processor call this. A failure is counted and reported here. Only an
        exception of the application's signal handlers is raised, if they run at the
        beginning of the call or while it waits.

        Args:
            time: Time of the log call, epoch seconds.
            origin: File and line of the log call.
            context: Bound identifiers and data at the log call; None reads them now.
            urgent: Whether to send at once, without waiting for a full batch.
        """
        if not self._is_enabled:
            return
        holder: EventHolder = [None]
        try:
            holder[0] = capture(
                fields,
                time=time,
                origin=origin,
                bound=read_context() if context is None else context,
                redact=self._redact,
            )
        except Exception as error:
            # First, and without a call: there may be no stack left for a call.
            self._router.own_inbox.capture_failures += 1
            try:
                self._router.report_capture_failure(error, origin)
            except EXHAUSTED:
                pass
            return
        self._router.put(holder, urgent=urgent, origin=origin)

    # Waiting for delivery.

    def flush(self, timeout: float | None = None) -> bool:
        """
        Send all events put before this call, and wait until they are settled.

        Args:
            timeout: Seconds to wait at most; None for the setting ``timeout``.

        Returns:
            Whether all of them were delivered, rejected or dropped in that time. False
            at once within dictConfig and within this client's callbacks, where waiting
            would deadlock; the events are sent later.
        """
        timeout = self._config.timeout if timeout is None else timeout
        return flush_flushers(self._destinations.list_flushers(), timeout)

    def close(self, timeout: float | None = None) -> bool:
        """
        Deliver pending events and end the thread; a later event starts a new one.

        Args:
            timeout: Seconds to wait at most; None for ``shutdown_timeout``.

        Returns:
            Whether nothing is pending any more. Pending events stay in the buffer, are
            tried again, and are reported when the process ends.
        """
        seconds = self._config.shutdown_timeout if timeout is None else timeout
        return close_flushers(self._destinations.list_flushers(), seconds)

    async def aflush(self, timeout: float | None = None) -> bool:
        """
        Do the same as `flush` without blocking the event loop of asyncio or trio.

        It can be cancelled; the events are sent nevertheless.
        """
        seconds = self._config.timeout if timeout is None else timeout
        return await flush_flushers_async(self._destinations.list_flushers(), seconds)

    async def aclose(self, timeout: float | None = None) -> bool:
        """Do the same as `close` without blocking the event loop of asyncio or trio."""
        seconds = self._config.shutdown_timeout if timeout is None else timeout
        try:
            return await self.aflush(seconds)
        finally:  # also if cancelled: the thread ends once its events are settled
            for flusher in self._destinations.list_flushers():
                flusher.finish()

    def __enter__(self) -> OdpClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Destination.

    def configure(
        self,
        api_key: str | None = None,
        *,
        api_host: str | None = None,
        datafile: object = None,
    ) -> None:
        """
        Set or change where events go.

        Events put before any destination was known go to the first one. Later changes
        apply to later events only: pending events still go to the earlier destination.

        Raises:
            ConfigurationError: A value cannot be used, or there is no key.
        """
        if self._config.queue_url is not None:
            api_key = datafile = None
            raise ConfigurationError(
                "this client hands its events to queue_url; give key and host to the"
                " relays"
            )
        given = {
            "api_host": api_host,
            "allow_http": self._config.allow_http,
            "datafile": datafile,
        }
        changed, api_key, datafile = wrap_secrets(api_key, given), None, None
        del given
        found = load(changed, warn=self._diagnostics.warn, use_environment=False)
        self._destinations.configure(found, self._router.refresh_interceptors)

    # This and the next method are for `odp_logging.optimizely`, which learns the key
    # late.
    def _keep_until_configured(self, warning: str) -> None:
        """
        Keep later events in the buffer until `configure` sets a destination.

        Pending events still go to the earlier destination.

        Args:
            warning: Emitted when the first event waits; ``{bound}`` in it is replaced
                by the buffer's limit.
        """
        self._destinations.keep_events(warning, self._router.refresh_interceptors)

    def _drop_until_configured(self, reason: str, warning: str) -> None:
        """
        Drop later events, and events without a destination, until `configure`.

        Other pending events still go to the earlier destination.

        Args:
            reason: The reason in the stats.
            warning: Emitted once, when an event is dropped.
        """
        self._destinations.drop_events(
            reason, warning, self._router.refresh_interceptors
        )

    def _has_same_destination(self, other: OdpClient) -> bool:
        """Whether both clients send to the same account of the same host."""
        own = self._destinations.compute_fingerprint()
        return own == other._destinations.compute_fingerprint()

    @property
    def stats(self) -> Stats:
        """Counts of this client's events by outcome, in this process."""
        return self._destinations.read_stats()

    def __repr__(self) -> str:
        # Must not raise: a traceback with local variables may show a half-built client.
        if not hasattr(self, "_destinations"):
            return "<OdpClient>"
        destination = self._destinations.current
        target = destination.display_url if destination else "no destination"
        return f"<OdpClient {target} {self._destinations.read_state()}>"

    def __copy__(self) -> OdpClient:
        # A copy of settings that contain a client shares it, because it has a thread.
        return self

    def __deepcopy__(self, memo: Any) -> OdpClient:
        return self

    def __reduce__(self) -> Any:
        # A spawned process gets the settings but not the key: it reads its own.
        return _rebuild_client, (type(self), remove_secrets(self._settings))


def _are_swapped(action: Any, identifiers: Any) -> bool:
    # Not isinstance(): it reads __class__, which may run code of the application.
    return issubclass(type(action), dict) and type(identifiers) is str


def get_or_create_client(
    client: OdpClient | None, settings: Mapping[str, Any]
) -> OdpClient:
    """
    Return *client*, or a new one with *settings*.

    Raises:
        ConfigurationError: Both are given, or a setting cannot be used.
    """
    if client is None:
        return OdpClient(**settings)
    if not isinstance(client, OdpClient):
        client = None
        raise ConfigurationError(
            "client= takes an OdpClient; a key goes to api_key=, by its name"
        )
    if settings:
        raise ConfigurationError(
            f"client= was given together with {', '.join(sorted(settings))}; give the"
            " settings to the client"
        )
    return client


# A function, because pickle passes positional arguments only, and settings are
# keywords.
def _rebuild_client(kind: type[OdpClient], settings: dict[str, Any]) -> OdpClient:
    return kind(**settings)
