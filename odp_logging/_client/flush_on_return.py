"""`flush_on_return`: a decorator and context manager that delivers before it returns.

For functions after which the process may not run any more: AWS Lambda freezes it when
the function returns, and a task queue may kill it when the task is done.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar, overload

from .._runtime.diagnostics import Diagnostics
from .._runtime.text import pluralize
from ..exceptions import ConfigurationError
from .client import OdpClient
from .flushing import aflush, clamp_timeout, flush, list_flushers

P = ParamSpec("P")
R = TypeVar("R")

_diagnostics = Diagnostics()


class FlushOnReturn:
    """The decorator and context manager that `flush_on_return` returns."""

    __slots__ = ("_client", "_timeout")

    def __init__(self, timeout: float, client: OdpClient | None) -> None:
        self._timeout = timeout
        self._client = client

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]:
        # Written above them: what they wrap is the function.
        if isinstance(function, (classmethod, staticmethod)):
            return type(function)(self(function.__func__))
        _check_function(function)
        return (
            self._wrap_async(function) if _is_async(function) else self._wrap(function)
        )

    def _wrap(self, function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                result = function(*args, **kwargs)
            except BaseException:
                self._flush()
                raise
            if inspect.iscoroutine(result):  # a plain function around an async one
                return self._await_and_flush(result)  # type: ignore[return-value]
            self._flush()
            return result

        return call

    def _wrap_async(self, function: Callable[P, Any]) -> Callable[P, Any]:
        @wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            async with self:
                return await function(*args, **kwargs)

        return call

    async def _await_and_flush(self, result: Coroutine[Any, Any, Any]) -> Any:
        async with self:
            return await result

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        self._flush()

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, *error: object) -> None:
        # A coroutine that is being closed may not await anything.
        if kind is not GeneratorExit:
            await self._aflush()

    def _flush(self) -> None:
        try:
            self._warn_on_timeout(
                (self._client.flush if self._client else flush)(self._timeout)
            )
        except Exception as error:  # must not replace the function's result
            _warn_of_failure(error)

    async def _aflush(self) -> None:
        try:
            wait = self._client.aflush if self._client else aflush
            self._warn_on_timeout(await wait(self._timeout))
        except Exception as error:  # must not replace the function's result
            _warn_of_failure(error)

    def _warn_on_timeout(self, in_time: bool) -> None:
        if in_time:
            return
        waiting = sum(
            [
                flusher.count_waiting()
                for flusher in list_flushers()
                if flusher.has_destination()
            ]
        )
        if waiting:
            failures = [flusher.get_failure() for flusher in list_flushers()]
            failure = next(filter(None, failures), "raise timeout=")
            _diagnostics.warn(
                "returning",
                f"flush_on_return: {waiting} {pluralize('event', waiting)} had not left"
                f" after {self._timeout:g} s; sending goes on while the process runs;"
                f" {failure}",
            )


@overload
def flush_on_return(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def flush_on_return(
    *, timeout: float = 2.0, client: OdpClient | None = None
) -> FlushOnReturn: ...
def flush_on_return(
    function: Callable[..., Any] | None = None,
    /,
    *,
    timeout: float = 2.0,
    client: OdpClient | None = None,
) -> Any:
    """
    Deliver events before a function returns, or before a ``with`` block ends.

    ``@flush_on_return``, ``@flush_on_return(timeout=2)``, ``with flush_on_return():``
    and ``async with flush_on_return():``. It also delivers when an error is raised. It
    raises nothing itself and changes neither result nor error. An async function waits
    without blocking its event loop.

    Args:
        timeout: Seconds to wait at most. Events that are not delivered by then are
            kept, and a warning is logged.
        client: The client to deliver for; None for every client of the process.

    Raises:
        ConfigurationError: *timeout* is not a number of seconds.
        TypeError: The decorated object is not a function, or is a generator function,
            whose body runs after it returned.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise ConfigurationError(
            f"timeout= takes seconds, not {type(timeout).__name__}; try timeout=2"
        )
    flusher = FlushOnReturn(clamp_timeout(timeout), client)
    return flusher if function is None else flusher(function)


def _check_function(function: object) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            "flush_on_return cannot wrap a generator, whose body runs after it"
            " returned; write `with flush_on_return():` inside it"
        )
    if not callable(function) or inspect.isclass(function):
        raise TypeError(
            f"flush_on_return takes a function, not {type(function).__name__}; seconds"
            " go to timeout="
        )


def _is_async(function: object) -> bool:
    call = getattr(type(function), "__call__", None)  # noqa: B004, its type is inspected
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _warn_of_failure(error: Exception) -> None:
    _diagnostics.warn(
        "returning_failed",
        f"flush_on_return failed with {type(error).__name__}; the events are sent"
        " for as long as the process runs; please report this",
    )


flush_on_return.__module__ = "odp_logging"
