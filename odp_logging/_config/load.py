"""
`load` finds and checks the value of every setting once, and makes the `Config`.

Every client, and every command, begins here. A value comes from a keyword, an
environment variable, the datafile or the default, in this order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .._runtime.hosts import is_loopback
from ..exceptions import ConfigurationError
from . import parsers
from .destination import REGION_HOSTS, check_region
from .environment import (
    OpaqueEnvironment,
    check_quotes,
    expand_variables,
    find_variable,
    is_quoted,
)
from .secrets import strip_secret, wrap_secret
from .settings import ALIASES, SETTINGS, Config

_STRICT = frozenset(
    {"api_host", "before_send", "enabled", "hash_identifiers", "hash_salt"}
    | {"queue_url", "redact", "reject_placeholders"}
)
"""Invalid variables raise: with the default, too much could be sent, or elsewhere."""


def load(
    settings: Mapping[str, Any],
    *,
    warn: Callable[[str, str], object],
    environ: Mapping[str, str] = os.environ,
    use_environment: bool = True,
) -> Config:
    """
    Find and check every setting, and return the configuration.

    A keyword has precedence over the environment, the environment over the datafile.

    Args:
        settings: The keywords, as the caller got them.
        warn: Called with kind and message for environment values that are not used.
        environ: The environment; ``${NAME}`` in values always refers to it.
        use_environment: Whether settings are read from the environment.

    Raises:
        ConfigurationError: A keyword is unknown, or a value cannot be used.
    """
    environ = OpaqueEnvironment(environ)
    found = _Found({}, {}, warn)
    _add_keywords(found, settings, environ)
    if use_environment:
        _add_environment(found, environ)
    values, sources = found.values, found.sources
    if values.get("api_host") is not None:
        name = "ODP_API_HOST" if sources["api_host"] == "ODP_API_HOST" else "api_host"
        _check_http(name, values["api_host"], values)
    _add_datafile(found, in_keywords="datafile" in settings)
    _warn_of_http(values, warn)
    _warn_of_region(values, warn)
    _check_durability(values)
    # None means "not set": `Config` then has the default.
    given = {name: value for name, value in values.items() if value is not None}
    return Config(**given).record_sources(sources)


class _Found(NamedTuple):
    """The values found so far by setting, and where each was found."""

    values: dict[str, Any]
    sources: dict[str, str]
    warn: Callable[[str, str], object]


def _add_keywords(
    found: _Found, settings: Mapping[str, Any], environ: Mapping[str, str]
) -> None:
    for given, value in _resolve_settings(settings).items():
        name = ALIASES.get(given, given)
        if name not in SETTINGS:
            raise ConfigurationError(_format_unknown(given, [*SETTINGS, *ALIASES]))
        value = expand_variables(name, value, environ)
        value = strip_secret(name, name, value, found.warn)
        found.values[name] = _parse(name, value, SETTINGS[name].parse)
        found.sources[name] = f"the keyword {given}="


def _add_environment(found: _Found, environ: Mapping[str, str]) -> None:
    for name, setting in SETTINGS.items():
        variable = find_variable(name, environ)
        if found.values.get(name) is not None or not variable:
            continue
        # Wrapped like a keyword's value: a traceback may show local variables.
        text = wrap_secret(name, environ[variable])
        try:
            text = expand_variables(variable, text, environ)
            check_quotes(variable, text)
            text = strip_secret(name, variable, text, found.warn)
            found.values[name] = _parse(variable, text, setting.parse)
            found.sources[name] = variable
        except ConfigurationError as error:
            if name in _STRICT or is_quoted(text):
                raise
            found.warn(f"environment:{variable}", f"{error}; the default is used")


def _resolve_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: parsers.resolve_containers(settings[name]) for name in settings}


def _parse(name: str, value: object, parse: Callable[[object], Any]) -> Any:
    # None means "not set", in code and in YAML.
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError as error:
        shown = "" if parse in _SECRET_PARSERS else f"={_format_value(value)}"
        if parse is parsers.parse_host and not parsers.is_safe_to_show(str(value)):
            shown = ""  # perhaps a key in the wrong place
        raise ConfigurationError(
            f"{name}{shown} cannot be used: expected {error}"
        ) from None


_SECRET_PARSERS = (
    parsers.parse_key,
    parsers.parse_datafile,
    parsers.parse_queue,
    parsers.parse_salt,
)


def _format_value(value: object) -> str:
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return f"<{type(value).__name__}>"
    text = repr(value)
    if "@" in text:  # a URL with a password, or an email address
        return "…"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _format_unknown(name: object, known: list[str]) -> str:
    import difflib  # needed for this error only

    matches = difflib.get_close_matches(str(name), known, n=1)
    hint = (
        f'; did you mean "{matches[0]}"?' if matches else f"; known: {', '.join(known)}"
    )
    return f'unknown setting "{name}"{hint}'


def _add_datafile(found: _Found, *, in_keywords: bool) -> None:
    values, sources = found.values, found.sources
    if values.get("datafile") is None:
        return
    from .datafile import read_datafile

    try:
        integration = read_datafile(values["datafile"])
        if integration is None:
            return
        name = "publicKey in the datafile"
        key = strip_secret("api_key", name, integration.api_key, found.warn)
        key = _parse(name, key, parsers.parse_key)
        host = _parse("host in the datafile", integration.api_host, parsers.parse_host)
        _check_http("host in the datafile", host, values)
    except ConfigurationError as error:
        if in_keywords:
            raise
        found.warn("environment:ODP_DATAFILE", f"ODP_DATAFILE: {error}; it is not used")
        return
    if values.get("api_key") is None:
        values["api_key"] = key
        sources["api_key"] = f"the datafile of {sources['datafile']}"
    # Only with the datafile's own key: another one may belong to another region.
    if values["api_key"] == key and values.get("api_host") is None:
        values["api_host"] = host
        sources["api_host"] = f"the datafile of {sources['datafile']}"


def _check_http(name: str, host: str, values: Mapping[str, Any]) -> None:
    """
    Check that *host* has https, or is this machine, or ``allow_http`` is set.

    Raises:
        ConfigurationError: None of these holds.
    """
    if values.get("allow_http") or not _is_remote_http(host):
        return
    raise ConfigurationError(
        f"{name}={host!r} cannot be used: expected a URL such as https://api.zaius.com:"
        " plain http would show the key to the network, and is allowed only for"
        " loopback hosts such as http://127.0.0.1:8181; for an emulator on another"
        " machine or in a container, set allow_http (ODP_ALLOW_HTTP=true)"
    )


def _warn_of_http(
    values: Mapping[str, Any], warn: Callable[[str, str], object]
) -> None:
    host = values.get("api_host")
    if host is not None and _is_remote_http(host):
        warn(
            "http",
            f"api_host is {host}: the network can read the key and the events, which"
            " allow_http permits; use https for anything but an emulator",
        )


def _is_remote_http(host: str) -> bool:
    return host.startswith("http:") and not is_loopback(parsers.extract_host_name(host))


def _check_durability(values: Mapping[str, Any]) -> None:
    if values.get("durability") == "crash" and values.get("spool") is None:
        raise ConfigurationError(
            'durability="crash" needs a directory to write to; pass spool=DIR as well'
        )


def _warn_of_region(
    values: Mapping[str, Any], warn: Callable[[str, str], object]
) -> None:
    key, host = values.get("api_key"), values.get("api_host")
    if key is None or host is None or host not in REGION_HOSTS.values():
        return
    conflict = check_region(key, host)
    if conflict:
        warn("region", "; ".join(conflict))
