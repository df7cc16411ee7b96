"""optimizely-sdk's ODP events, delivered by this library.

    bridge = OdpBridge()
    optimizely = Optimizely(sdk_key=..., settings=OptimizelySdkSettings(
        odp_event_manager=bridge))
    bridge.attach(optimizely)

What the SDK would have sent (`send_odp_event`, ``identified``) then goes through an
`OdpClient`, to the key and host that its datafile names, and follows when they change.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ._client import OdpClient, client_of
from ._config import sealed
from ._context import bind_identifiers, bound_identifiers
from ._datafile import Integration, read_datafile
from ._diagnostics import Diagnostics
from ._identifiers import canonical_identifiers
from ._integration import (
    OdpConfig,
    ProjectConfig,
    integration,
    own,
    sealed_datafile,
)
from ._lock import OwnedLock
from ._secret import Secret
from .exceptions import ConfigurationError, InvalidEventError

try:
    import optimizely.odp  # noqa: F401 - it came with 5.0
    from optimizely.helpers.enums import DecisionNotificationTypes, NotificationTypes
except ImportError as error:
    if error.name is None or error.name.partition(".")[0] != "optimizely":
        raise
    raise ImportError(
        "odp_logging.optimizely needs optimizely-sdk 5.1 or newer; pip install"
        " 'odp-logging[optimizely]'"
    ) from None

__all__ = ["OdpBridge", "bind_user", "bound_user", "settings_from"]

_PATIENCE = 10.0
"""Seconds one change of the datafile waits for another one to be followed."""

_NOT_INTEGRATED = (
    "the Optimizely datafile names no ODP integration, or has not come yet; up to"
    " {count} events are kept until it does. Switch the integration on in Optimizely,"
    " or set ODP_API_KEY"
)

_FLAG = DecisionNotificationTypes.FLAG
_DECIDED = ("flag_key", "rule_key", "variation_key", "enabled")


class OdpBridge:
    """
    Takes the place of optimizely-sdk's ODP event manager; one for each of its clients.

    Pass it as ``OptimizelySdkSettings(odp_event_manager=...)``. Its events have this
    library's delivery, and the identifiers and data bound here. Any thread may call any
    method, and none raises but `attach`.

    Events go where the SDK's datafile says, now and after each change of it; what was
    put before a change still goes where it was meant to go. A key or host that was set
    for the client, by keyword or environment, beats the datafile's.

    Args:
        client: A client to share, a handler's for one; else one is made of *settings*.
        settings: As for `OdpClient`.

    Raises:
        ConfigurationError: A setting is unknown, or its value cannot be used.
    """

    def __init__(self, client: OdpClient | None = None, **settings: Any) -> None:
        settings = sealed(None, settings)
        self.client = client_of(client, settings)
        self._has_key, self._own_host = own(self.client)
        self._lock = OwnedLock()
        self._diagnostics = Diagnostics()
        self._odp_config: OdpConfig | None = None
        self._is_running = False
        self._is_attached = False
        if self.client.destination is None:
            self.client.hold(_NOT_INTEGRATED)

    # What the SDK calls.

    @property
    def is_running(self) -> bool:
        """Whether the SDK has started it, and not stopped it since."""
        return self._is_running

    def start(self, odp_config: OdpConfig) -> None:
        """Send to where *odp_config* says; called when the datafile is there."""
        self._odp_config = odp_config
        self.update_config()
        self._is_running = True

    def update_config(self) -> None:
        """Follow a change of the datafile."""
        # One after the other, each with what the datafile says by then.
        self._lock.run(self._follow, _PATIENCE)

    def send_event(self, type: str, action: str, identifiers: Any, data: Any) -> None:
        """Send an event that the SDK has looked at."""
        self._put(action, identifiers, type, data)

    def identify_user(self, identifiers: Any) -> None:
        """
        Tell ODP that *identifiers* are one person's, if there are two or more.

        The SDK calls it for each user context, before 5.6 with the user's id alone.
        One identifier connects nothing: nothing is sent and nothing is said, as in the
        SDK from 5.6 on.
        """
        try:
            named = canonical_identifiers(identifiers)
        except InvalidEventError:  # the user's id alone
            return
        if len(named) > 1:
            self._put("identified", named, None, None)

    def dispatch(self, event: Any) -> None:
        """Send an event that the SDK has made."""
        self._put(event.action, event.identifiers, event.type, event.data)

    def flush(self, timeout: float | None = None) -> bool:
        """Send what is here, and wait for it; see `OdpClient.flush`."""
        return self.client.flush(timeout)

    def stop(self) -> None:
        """
        Deliver what is pending, for at most ``shutdown_timeout`` seconds.

        `Optimizely.close` calls it. A later event is sent all the same.
        """
        self._is_running = False
        self.client.close()

    # What an application calls.

    def attach(self, optimizely_client: Any, *, decisions: bool = False) -> None:
        """
        Take *optimizely_client*'s `send_odp_event` calls before the SDK looks at them.

        Without it the SDK still drops events for a datafile without ODP integration,
        nested data and empty actions, without a word unless it has a logger, and waits
        up to 10 s for the first datafile. With it they wait here, are sent, or are
        counted and named with the place of the call.

        Args:
            optimizely_client: A client that was made with this bridge.
            decisions: Whether to send an event ``experimentation`` / ``decision`` for
                each flag decision, too, that Optimizely counts as an impression.

        Raises:
            ConfigurationError: The client was not made with this bridge.
        """
        manager = getattr(optimizely_client, "odp_manager", None)
        if getattr(manager, "event_manager", None) is not self:
            raise ConfigurationError(
                "attach() takes a valid client that was made with this bridge; give"
                " Optimizely settings=OptimizelySdkSettings(odp_event_manager=bridge)"
            )
        if manager is None or not manager.enabled:  # odp_disabled=True is meant
            return
        self._is_attached = True
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
        """Send an event, as the SDK's method of that name; see `OdpClient`."""
        self._put(action, identifiers, type, data)

    def _on_decision(
        self, kind: str, user_id: str, attributes: object, decision: dict[str, Any]
    ) -> None:
        # Those of the older methods do not say whether they are an impression.
        if kind == _FLAG and decision.get("decision_event_dispatched"):
            data = {key: decision[key] for key in _DECIDED if key in decision}
            self._put("decision", {"fs_user_id": user_id}, "experimentation", data)

    def _put(self, action: Any, identifiers: Any, type: Any, data: Any) -> None:
        fields = {
            "odp_action": action,
            "odp_identifiers": identifiers,
            "odp_type": type,
            "odp_data": data,
        }
        self.client.put(fields, time=time.time(), origin=_caller())

    def _follow(self) -> None:
        config = self._odp_config
        if config is None:
            return
        found = integration(config)
        if self._has_key:
            self._tell_other(found)
        elif found is None:
            self._hold()
        else:
            self._turn_to(found)

    def _turn_to(self, found: Integration) -> None:
        try:
            self.client.configure(
                datafile=sealed_datafile(found), api_host=self._own_host
            )
        except ConfigurationError as error:
            # Not raised: the SDK is in the middle of taking the datafile in.
            self.client.hold(f"{error}; up to {{count}} events are kept")
            self._diagnostics.warn("datafile", f"{error}; later events wait")

    def _hold(self) -> None:
        self.client.hold(_NOT_INTEGRATED)
        if not self._is_attached:
            self._diagnostics.warn(
                "not_integrated",
                "the Optimizely datafile names no ODP integration any more; the SDK"
                " drops what send_odp_event is given, OdpBridge.attach() would keep it",
            )

    def _tell_other(self, found: Integration | None) -> None:
        used = self.client.destination
        used_key = getattr(used, "api_key", None)  # a queue has none
        if found is not None and used_key not in (None, found.api_key):
            self._diagnostics.warn(
                "other_account",
                "the Optimizely datafile names another ODP key than the one that was"
                " set; events go to the latter, leave api_key and ODP_API_KEY out to"
                " follow the datafile",
            )


def settings_from(client_or_datafile: Any) -> dict[str, Any]:
    """
    Return ``api_key`` and ``api_host`` as an Optimizely client or datafile names them.

    For `OdpClient`, handler and processor: ``OdpHandler(**settings_from(datafile))``.
    Later changes are followed by `OdpBridge` only. Empty if there is no ODP
    integration: events then wait until there is a key. A client that still fetches its
    datafile is waited for, 10 s unless it was told otherwise.

    Args:
        client_or_datafile: An `Optimizely` client or one of its config managers; or a
            datafile: a path, its JSON text, or a dict.

    Raises:
        ConfigurationError: The datafile cannot be read.
    """
    sealed_source, client_or_datafile = Secret(client_or_datafile), None
    source = sealed_source.reveal()
    manager = getattr(source, "config_manager", source)
    if hasattr(manager, "get_config"):
        del source
        found = integration(ProjectConfig(manager.get_config()))
    else:
        del source, manager
        found = read_datafile(sealed_source)
    return {} if found is None else dict(found._asdict())


def bind_user(user_context: Any, **attributes: str) -> None:
    """
    Bind who a user context is about, for every later event of this task or thread.

    Its user id is bound as ``fs_user_id``, and its attribute ``vuid``, if it has one,
    as that.

    Args:
        user_context: What `Optimizely.create_user_context` returned.
        attributes: More identifiers, by name, each with the attribute that holds it:
            ``bind_user(user, email="email_address")``.
    """
    bind_identifiers(**_identifiers(user_context, attributes))


@contextmanager
def bound_user(user_context: Any, **attributes: str) -> Generator[None, None, None]:
    """Do as `bind_user` within a ``with`` block."""
    with bound_identifiers(**_identifiers(user_context, attributes)):
        yield


def _identifiers(user_context: Any, names: dict[str, str]) -> dict[str, Any]:
    given = user_context.get_user_attributes()
    wanted = {"vuid": "vuid", **names}
    found = {name: given.get(attribute) for name, attribute in wanted.items()}
    known = {name: value for name, value in found.items() if value not in (None, "")}
    return {"fs_user_id": user_context.user_id, **known}


def _caller() -> tuple[str, int] | None:
    """Return file and line of whoever called the SDK, or the bridge."""
    try:
        frame = sys._getframe(2)
    except (AttributeError, ValueError):  # not CPython, or called from C
        return None
    while frame.f_back and _is_between(str(frame.f_globals.get("__name__"))):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _is_between(module: str) -> bool:
    return module == __name__ or module.partition(".")[0] == "optimizely"
