"""The doctor's checks of settings and environment: switches, queue, key, region."""

from __future__ import annotations

from collections.abc import Iterator

from ..._config.checks import is_placeholder
from ..._config.destination import Destination, check_region
from ..._config.environment import find_environment_errors
from ..._config.load import load
from ..._config.settings import Config
from ...exceptions import ConfigurationError
from ..options import KEY_HINT
from .check_result import CheckResult, Kind

_ENVIRONMENT_PREFIX = "environment:"
"""How `load` marks a warning about a variable that it cannot read."""


def check_environment() -> tuple[Config | None, list[CheckResult]]:
    """Return what the environment alone configures, and its mistakes."""
    errors: list[str] = []

    def collect(kind: str, message: str) -> None:
        if kind.startswith(_ENVIRONMENT_PREFIX):
            errors.append(message)

    try:
        # Without keywords, which only the application knows.
        config = load({}, warn=collect)
    except ConfigurationError as error:
        config = None
        errors.append(str(error))
    results = [
        CheckResult("problem", "environment", text, "fix the variable, or unset it")
        for text in errors
    ]
    results += map(_report_variable, find_environment_errors().values())
    return config, results


def _report_variable(text: str) -> CheckResult:
    """Return the result for a variable that is empty or no setting."""
    # "did you mean ...?": a misspelt name is a mistake, an unknown one may be another
    # program's.
    kind: Kind = "problem" if text.endswith("?") else "hint"
    advice = "the table in examples/settings/README.md has the names that are read"
    if "empty" in text:
        advice = "give it a value, or unset it"
    return CheckResult(kind, "environment", text, advice)


def check_settings(
    config: Config, *, is_complete: bool = True, send: bool = False
) -> Iterator[CheckResult]:
    """
    Check the configuration of one client.

    Args:
        is_complete: Whether no application is left that may add a key to it.
        send: Whether a test event will show if ODP accepts the key.
    """
    if not config.enabled:
        yield CheckResult(
            "problem",
            "enabled",
            f"enabled is off, from {config.find_source('enabled')}: nothing is sent",
            "set ODP_ENABLED=true, or leave it out",
        )
    if config.queue_url is not None:
        yield CheckResult(
            "ok",
            "queue",
            f"events are handed to {config.queue_url.display_url}, from"
            f" {config.find_source('queue_url')};"
            " `odp-logging relay status` looks there",
        )
    else:
        yield from _check_destination(config, is_complete=is_complete, send=send)
    if config.spool is not None:
        yield from _check_spool(config)


def _check_destination(
    config: Config, *, is_complete: bool, send: bool
) -> Iterator[CheckResult]:
    destination = config.destination()
    if destination is None and not is_complete:
        text = "ODP_API_KEY is not set; the application may pass api_key="
        yield CheckResult("hint", "key", text, KEY_HINT)
        return
    if destination is None:
        yield CheckResult(
            "problem",
            "key",
            "ODP_API_KEY is not set, and neither api_key= nor a datafile names a key",
            KEY_HINT,
        )
        return
    source = config.find_source("api_key")
    text = f"{destination.api_key.format_masked('the key')} is from {source}"
    yield _check_key(text, config, send=send)
    yield _check_region(config, destination)


def _check_key(text: str, config: Config, *, send: bool) -> CheckResult:
    if config.api_key is not None and is_placeholder(config.api_key):
        return CheckResult(
            "problem",
            "key",
            f"{text}, and looks like a placeholder that was not filled in",
            "give the public key itself; ${NAME} is filled in where NAME is set",
        )
    if not send:
        text += "; whether ODP accepts it is asked with --send"
    return CheckResult("ok", "key", text)


def _check_region(config: Config, destination: Destination) -> CheckResult:
    conflict = check_region(destination.api_key, destination.api_host)
    if conflict is not None:
        return CheckResult("problem", "region", *conflict)
    # Without api_host, the key's suffix selects the host.
    source = "the key's region"
    if config.api_host is not None:
        source = config.find_source("api_host")
    text = f"events go to {destination.api_host}, from {source}"
    return CheckResult("ok", "region", text)


def _check_spool(config: Config) -> Iterator[CheckResult]:
    try:
        from .spool import check_spool
    except ImportError as error:  # a Python built without sqlite3
        text = f"this Python has no module {error.name}, which a spool needs"
        yield CheckResult("problem", "spool", text, "use a Python that has it")
        return
    assert config.spool is not None
    target = config.target()
    account = None if target is None else target.fingerprint
    yield from check_spool(config.spool, account, max_bytes=config.spool_max_bytes)
