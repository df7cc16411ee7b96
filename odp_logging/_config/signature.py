"""The signature of a class that takes settings, with a keyword for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inspect import Parameter, Signature


class SettingsSignature:
    """
    Expands ``**settings`` for `inspect.signature`, `help` and completion in IPython.

    A descriptor for ``__signature__``. It is computed when it is read: `inspect` takes
    longer to import than the package and a handler together.
    """

    def __get__(self, instance: object, owner: type[Any]) -> Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        import inspect

        signature = inspect.signature(owner.__init__)
        parameters = list(signature.parameters.values())[1:]
        if parameters and parameters[-1].name == "settings":
            known = {parameter.name for parameter in parameters}
            parameters[-1:] = [
                parameter
                for parameter in _list_settings()
                if parameter.name not in known
            ]
        return signature.replace(parameters=parameters)


def _list_settings() -> list[Parameter]:
    from inspect import Parameter

    from .settings import ALIASES, SETTINGS
    from .typed import SettingsWithKey

    return [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=_copy_default(SETTINGS[name].default),
            # Annotations are texts (PEP 563), which a TypedDict wraps.
            annotation=annotation.__forward_arg__,
        )
        for name, annotation in sorted(
            SettingsWithKey.__annotations__.items(),
            key=lambda item: item[0] != "api_key",
        )
        if name not in ALIASES
    ]


def _copy_default(default: Any) -> Any:
    return dict(default) if isinstance(default, Mapping) else default
