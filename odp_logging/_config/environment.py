"""
Settings in environment variables, and ``${NAME}`` in the values of settings.

`load` reads both here. `odp-logging doctor` reports the variables that mean nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from .._runtime.secret import Secret
from ..exceptions import ConfigurationError
from .settings import SETTINGS

_PREFIX = "ODP_"
_MIN_RATIO = 0.8
"""Of difflib, from which on a name is a misspelt one. ``MAX_QUEUE_SIZE`` has 0.83 with
``QUEUE_SIZE``, and ``ENVIRONMENT`` has 0.44 with ``TIMEOUT``."""

# The last two are those of ODP's own Node SDK.
_KEY_VARIABLES = ("ODP_API_KEY", "ODP_SDK_API_KEY", "ZAIUS_SDK_API_KEY")


class OpaqueEnvironment(Mapping[str, str]):
    """An environment whose values a traceback with local variables does not show."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        return self._environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


def find_variable(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the environment variable with a value for *name*; None if none has."""
    # An empty variable counts as not set, as a mounted but empty secret does.
    names = _KEY_VARIABLES if name == "api_key" else (f"ODP_{name.upper()}",)
    return next((variable for variable in names if environ.get(variable)), None)


def read_secret(
    variable: str, environ: Mapping[str, str] = os.environ
) -> Secret | None:
    """Return the value of *variable* without blanks around it; None if it is empty."""
    value = Secret(environ.get(variable, "").strip())
    return value if value.get_secret_value() else None


def expand_variables(name: str, value: Any, environ: Mapping[str, str]) -> Any:
    """Return *value* with each ``${NAME}`` in it replaced by that variable's value."""
    if isinstance(value, dict):
        return {
            key: expand_variables(name, item, environ) for key, item in value.items()
        }
    if isinstance(value, Secret):
        missing = _find_missing(value.get_secret_value(), environ)
    else:
        missing = _find_missing(value, environ)
    if missing:
        raise ConfigurationError(
            f"{name} refers to ${{{missing}}}, which is not set; export {missing}, or"
            f" leave {name} out"
        )
    if isinstance(value, Secret):
        return type(value)(_substitute(value.get_secret_value(), environ))
    return _substitute(value, environ)


_VARIABLE = r"\$\{(\w+)\}"


def _find_missing(value: object, environ: Mapping[str, str]) -> str | None:
    if not isinstance(value, str) or "${" not in value:
        return None
    names = re.findall(_VARIABLE, value)
    return next((name for name in names if name not in environ), None)


def _substitute(value: Any, environ: Mapping[str, str]) -> Any:
    if not isinstance(value, str) or "${" not in value:
        return value
    return re.sub(_VARIABLE, lambda match: environ[match[1]], value)


def is_quoted(value: object) -> bool:
    """Whether *value* is a text in quotes, as .env files have them."""
    text = value.get_secret_value() if isinstance(value, Secret) else value
    if not isinstance(text, str):
        return False
    return re.fullmatch(r"\s*(['\"]).*\1\s*", text, re.DOTALL) is not None


def check_quotes(variable: str, value: object) -> None:
    """
    Check that *value* is not in quotes.

    Raises:
        ConfigurationError: It is.
    """
    # As a part of the value, quotes would make "false" an unknown word, and a redact of
    # "card" would redact nothing.
    if is_quoted(value):
        raise ConfigurationError(
            f"{variable} has quotes around its value, and they are part of it; remove"
            " the quotes where the variable is set"
        )


def find_environment_errors(
    environ: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """Return a message for each empty or unknown ``ODP_...`` variable, by its name."""
    errors = {
        variable: f"{variable} is set, but empty: it counts as not set"
        for variable in _list_known()
        if variable in environ and not environ[variable].strip()
    }
    for variable in _find_unknown(environ):
        errors[variable] = f"{variable} is no setting"
    return {**errors, **find_misspelt_variables(environ)}


def find_misspelt_variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """
    Return a message for each ``ODP_...`` variable that is much like a setting's.

    Others may be another program's, such as ``ODP_ENVIRONMENT``.
    """
    unknown = _find_unknown(environ)
    if not unknown:
        return {}
    import difflib  # 3 ms; needed for a mistake only

    # Without the prefix, which makes any two names similar.
    known = [variable.removeprefix(_PREFIX) for variable in _list_known()]
    found = {}
    for variable in unknown:
        name = variable[len(_PREFIX) :].upper()
        matches = difflib.get_close_matches(name, known, n=1, cutoff=_MIN_RATIO)
        if matches:
            expected = (
                matches[0] if matches[0] in _KEY_VARIABLES else f"{_PREFIX}{matches[0]}"
            )
            found[variable] = f"{variable} is no setting; did you mean {expected}?"
    return found


def _find_unknown(environ: Mapping[str, str]) -> list[str]:
    known = _list_known()
    return sorted(
        variable
        for variable in environ
        if variable[: len(_PREFIX)].upper() == _PREFIX and variable not in known
    )


@cache
def _list_known() -> tuple[str, ...]:
    settings = (f"{_PREFIX}{name.upper()}" for name in SETTINGS)
    # The last one is read in _capture/network_block.py.
    return (*_KEY_VARIABLES, *settings, f"{_PREFIX}BLOCK_NETWORK")
