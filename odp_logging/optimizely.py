"""optimizely-sdk's ODP events, delivered by this library.

    bridge = OdpBridge()
    optimizely = Optimizely(sdk_key=..., settings=OptimizelySdkSettings(
        odp_event_manager=bridge))
    bridge.attach(optimizely)

An `OdpClient` then sends the SDK's events (`send_odp_event`, ``identified``) to the key
and host of the datafile, also after the datafile changes.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from ._capture.context import bind_identifiers, bound_identifiers
from ._client.client import OdpClient, get_or_create_client
from ._config.datafile import Integration, build_datafile, read_datafile
from ._config.secrets import wrap_secrets
from ._events.identifiers import normalize_identifiers
from ._runtime.diagnostics import Diagnostics
from ._runtime.extras import format_missing_extra
from ._runtime.locations import find_caller
from ._runtime.lock import OwnedLock
from ._runtime.secret import Secret, wrap_text
from .exceptions import ConfigurationError, InvalidEventError

try:
    import optimizely.odp  # noqa: F401 - since 5.0
    from optimizely.config_manager import PollingConfigManager
    from optimizely.helpers.enums import DecisionNotificationTypes, NotificationTypes
    from optimizely.odp.odp_config import OdpConfigState
except ImportError as error:
    if error.name is None or error.name.partition(".")[0] != "optimizely":
        raise
    raise ImportError(
        format_missing_extra(
            "odp_logging.optimizely needs optimizely-sdk 5.1 or newer",
            requirement="optimizely-sdk>=5.1",
            extra="optimizely",
        )
    ) from None

__all__ = ["OdpBridge", "bind_user", "bound_user", "settings_from"]

_UPDATE_WAIT_SECONDS = 10.0
"""Longest time that one change of the datafile waits for another one."""

_NO_DATAFILE = (
    "the Optimizely datafile has not been loaded yet; up to {bound} are kept until it"
    " is. Check the SDK key, or set ODP_API_KEY"
)

_NOT_INTEGRATED = (
    "the Optimizely datafile names no ODP integration; events are dropped, as by the"
    " SDK, and counted as not_integrated. Enable the integration in Optimizely, or set"
    " ODP_API_KEY"
)

_DECISION_FIELDS = ("flag_key", "rule_key", "variation_key", "enabled")


class OdpBridge:
    """
    Replaces optimizely-sdk's ODP event manager; each client of the SDK needs its own.

    Pass it as ``OptimizelySdkSettings(odp_event_manager=...)``. Its events get this
    library's delivery, and the bound identifiers and data. Thread-safe. Only `attach`
    raises.

    Events are sent to the key and host of the SDK's datafile. After a change, earlier
    events are still sent to the earlier ones. A key or host that was set for the
    client, by keyword or environment, takes precedence over the datafile's.

    Args:
        client: A client to share, such as a handler's; None creates one from
            *settings*.
        settings: As for `OdpClient`.

    Raises:
        ConfigurationError: A setting is unknown, or its value cannot be used.
    """

    def __init__(self, client: OdpClient | None = None, **settings: Any) -> None:
        settings = wrap_secrets(None, settings)
        client = wrap_text(client)
        self.client = get_or_create_client(client, settings)
        self._has_own_key, self._own_host = _find_own_settings(self.client)
        self._lock = OwnedLock()
        self._diagnostics = Diagnostics()
        self._odp_config: OdpConfig | None = None
        self._is_running = False
        self._is_attached = False
        if self.client._destinations.current is None:
            self.client._keep_until_configured(_NO_DATAFILE)

    # Called by the SDK.

    @property
    def is_running(self) -> bool:
        """Whether the SDK has called `start`, and not `stop` since."""
        return self._is_running

    def start(self, odp_config: OdpConfig) -> None:
        """Send to the key and host of *odp_config*; called with the first datafile."""
        self._odp_config = odp_config
        self.update_config()
        self._is_running = True

    def update_config(self) -> None:
        """Apply a change of the datafile."""
        # One change after the other, each with the datafile that is current by then.
        self._lock.run(self._apply_config, _UPDATE_WAIT_SECONDS)

    def send_event(self, type: str, action: str, identifiers: Any, data: Any) -> None:
        """Send an event that the SDK has validated."""
        self._put(action, identifiers, type, data)

    def identify_user(self, identifiers: Any) -> None:
        """
        Tell ODP that *identifiers* belong to one customer, if there are two or more.

        The SDK calls it for each user context, before 5.6 with the user's id alone.
        Nothing is sent or reported for a single identifier, as in the SDK from 5.6 on.
        """
        try:
            named = normalize_identifiers(identifiers)
        except InvalidEventError:  # the user's id alone
            return
        if len(named) > 1:
            self._put("identified", named, None, None)

    def dispatch(self, event: Any) -> None:
        """Send an event that the SDK has built."""
        self._put(event.action, event.identifiers, event.type, event.data)

    def flush(self, timeout: float | None = None) -> bool:
        """Send pending events and wait for them; see `OdpClient.flush`."""
        return self.client.flush(timeout)

    def stop(self) -> None:
        """
        Deliver pending events, for at most ``shutdown_timeout`` seconds.

        `Optimizely.close` calls it. A later event is still sent.
        """
        self._is_running = False
        self.client.close()

    def __copy__(self) -> OdpBridge:
        # A copy of settings that contain a bridge shares it, as with a client.
        return self

    def __deepcopy__(self, memo: Any) -> OdpBridge:
        return self

    # Called by the application.

    def attach(self, optimizely_client: Any, *, decisions: bool = False) -> None:
        """
        Replace `send_odp_event` of *optimizely_client*, so that the SDK drops no event.

        Without it the SDK drops nested data and empty actions, silently unless it has a
        logger, and waits up to 10 s for the first datafile. With it these events are
        queued, sent, or counted and reported with the origin of the call. If the
        datafile has no ODP integration, events are dropped either way. With `attach`
        they are counted, and one warning reports it.

        The SDK's own logger then gets no message about `send_odp_event`: "ODP is not
        integrated", "ODP is not enabled", "ODP data is not valid", "ODP action is not
        valid", "ODP events must have at least one key-value pair in identifiers", an
        invalid or missing datafile. With or without `attach` it gets no message of the
        SDK's event manager: "ODP event send failed", a full or stopped queue, debug
        lines. The logger ``odp_logging`` has a warning for each of these cases.

        Args:
            optimizely_client: A client that was created with this bridge.
            decisions: Whether to send an event ``experimentation`` / ``decision`` for
                each flag decision, too, that Optimizely counts as an impression.

        Raises:
            ConfigurationError: The client was not created with this bridge.
        """
        manager = getattr(optimizely_client, "odp_manager", None)
        if getattr(manager, "event_manager", None) is not self:
            raise ConfigurationError(
                "attach() takes a valid client that was created with this bridge; give"
                " Optimizely settings=OptimizelySdkSettings(odp_event_manager=bridge)"
            )
        if manager is None or not manager.enabled:
            return  # the application has set odp_disabled=True
        self._is_attached = True
        self._add_datafile_listener(optimizely_client)
        # On the object: the SDK calls no hook before it validates and drops.
        optimizely_client.send_odp_event = self.send_odp_event
        if decisions:
            optimizely_client.notification_center.add_notification_listener(
                NotificationTypes.DECISION, self._on_decision
            )

    def send_odp_event(
        self,
        action: str,
        identifiers: Any,
        type: str | None = "fullstack",
        data: Any = None,
    ) -> None:
        """Send an event; replaces the SDK's method of that name; see `OdpClient`."""
        self._put(action, identifiers, type, data)

    def _add_datafile_listener(self, optimizely_client: Any) -> None:
        """Check each datafile: the SDK passes on none without an ODP integration."""
        configs = optimizely_client.config_manager
        center = getattr(configs, "notification_center", None)
        (center or optimizely_client.notification_center).add_notification_listener(
            NotificationTypes.OPTIMIZELY_CONFIG_UPDATE,
            partial(self._check_datafile, configs),
        )
        odp_config = optimizely_client.odp_manager.odp_config
        if odp_config.odp_state() == OdpConfigState.NOT_INTEGRATED:
            self._drop_events()

    def _check_datafile(self, configs: Any) -> None:
        # get_config() would wait for this callback to return: the SDK itself reads this
        # attribute in its callbacks.
        is_polling = isinstance(configs, PollingConfigManager)
        config = configs._config if is_polling else configs.get_config()
        if config is not None and _read_project_config(config) is None:
            self._drop_events()

    def _on_decision(
        self, kind: str, user_id: str, attributes: object, decision: dict[str, Any]
    ) -> None:
        # Decisions of the SDK's older methods lack the field that marks an impression.
        is_impression = decision.get("decision_event_dispatched")
        if kind == DecisionNotificationTypes.FLAG and is_impression:
            data = {key: decision[key] for key in _DECISION_FIELDS if key in decision}
            self._put("decision", {"fs_user_id": user_id}, "experimentation", data)

    def _put(self, action: Any, identifiers: Any, type: Any, data: Any) -> None:
        fields = {
            "odp_action": action,
            "odp_identifiers": identifiers,
            "odp_type": type,
            "odp_data": data,
        }
        self.client._put(
            fields, time=time.time(), origin=find_caller(_is_library_module)
        )

    def _apply_config(self) -> None:
        config = self._odp_config
        if config is None:
            return
        found = _read_odp_config(config)
        if self._has_own_key:
            self._warn_about_other_account(found)
        elif found is None:
            self._drop_events()
        else:
            self._use_integration(found)

    def _use_integration(self, found: Integration) -> None:
        try:
            self.client.configure(
                datafile=build_datafile(found), api_host=self._own_host
            )
        except ConfigurationError as error:
            # Not raised: the SDK is processing the datafile.
            self.client._keep_until_configured(f"{error}; up to {{bound}} are kept")
            self._diagnostics.warn("datafile", f"{error}; later events wait")

    def _drop_events(self) -> None:
        if self._has_own_key:
            return
        self.client._drop_until_configured("not_integrated", _NOT_INTEGRATED)
        if not self._is_attached:
            self._diagnostics.warn(
                "not_integrated",
                "the Optimizely datafile names no ODP integration any more; the SDK"
                " drops the events of send_odp_event. Call OdpBridge.attach() to have"
                " them counted",
            )

    def _warn_about_other_account(self, found: Integration | None) -> None:
        used = self.client._destinations.current
        used_key = getattr(used, "api_key", None)  # a queue has none
        if found is not None and used_key not in (None, found.api_key):
            self._diagnostics.warn(
                "other_account",
                "the Optimizely datafile names another ODP key than the one that was"
                " set; events are sent with the latter. Remove api_key and ODP_API_KEY"
                " to use the datafile's",
            )


def settings_from(client_or_datafile: Any) -> dict[str, Any]:
    """
    Return ``api_key`` and ``api_host`` of an Optimizely client or datafile.

    For `OdpClient`, handler and processor: ``OdpHandler(**settings_from(datafile))``.
    Only `OdpBridge` applies later changes. The result is empty if there is no ODP
    integration: events then wait until a key is set. If a client has no datafile yet,
    this waits for it, for as long as the SDK does: 10 s by default.

    Args:
        client_or_datafile: An `Optimizely` client or one of its config managers; or a
            datafile: a path, its JSON text, or a dict.

    Raises:
        ConfigurationError: The datafile cannot be read.
    """
    # Only the wrapped datafile is a local variable where this raises: some tracebacks
    # show local variables, and a datafile holds a key.
    wrapped_source, client_or_datafile = Secret(client_or_datafile), None
    source = wrapped_source.get_secret_value()
    manager = getattr(source, "config_manager", source)
    if hasattr(manager, "get_config"):
        del source
        found = _read_project_config(manager.get_config())
    else:
        del source, manager
        found = read_datafile(wrapped_source)
    return {} if found is None else dict(found._asdict())


def bind_user(user_context: Any, **attributes: str) -> None:
    """
    Bind the identifiers of a user context to later events of this task or thread.

    The user id is bound as ``fs_user_id``, and the attribute ``vuid``, if there is one,
    as ``vuid``.

    Args:
        user_context: What `Optimizely.create_user_context` returned.
        attributes: More identifiers, by name, each with the attribute that holds it:
            ``bind_user(user, email="email_address")``.
    """
    bind_identifiers(**_collect_identifiers(user_context, attributes))


@contextmanager
def bound_user(user_context: Any, **attributes: str) -> Generator[None, None, None]:
    """Bind the identifiers of a user context within a ``with`` block."""
    with bound_identifiers(**_collect_identifiers(user_context, attributes)):
        yield


def _collect_identifiers(user_context: Any, names: dict[str, str]) -> dict[str, Any]:
    values = user_context.get_user_attributes()
    found = {name: values.get(a) for name, a in {"vuid": "vuid", **names}.items()}
    known = {name: value for name, value in found.items() if value not in (None, "")}
    return {"fs_user_id": user_context.user_id, **known}


def _is_library_module(module: str) -> bool:
    return module == __name__ or module.partition(".")[0] == "optimizely"


class OdpConfig(Protocol):
    """The methods of the SDK's `OdpConfig` that are used here."""

    def get_api_key(self) -> str | None: ...

    def get_api_host(self) -> str | None: ...


def _read_odp_config(config: OdpConfig) -> Integration | None:
    return _build_integration(Secret(config.get_api_key()), config.get_api_host())


def _read_project_config(config: Any) -> Integration | None:
    key = Secret(getattr(config, "public_key_for_odp", None))
    return _build_integration(key, getattr(config, "host_for_odp", None))


def _build_integration(key: Secret, host: str | None) -> Integration | None:
    # Only the wrapped key is a local variable: some tracebacks show local variables.
    return Integration(key, host) if key.get_secret_value() and host else None


def _find_own_settings(client: OdpClient) -> tuple[bool, str | None]:
    """Return whether *client* has a key, and its host, not from a datafile."""
    config = client._config
    if config.api_key is None:
        return client._destinations.current is not None, config.api_host
    found = read_datafile(config.datafile) if config.datafile is not None else None
    if found is None:
        return True, config.api_host
    is_same_host = found.api_host.rstrip("/") == config.api_host
    own_host = None if is_same_host else config.api_host
    return found.api_key != config.api_key, own_host
