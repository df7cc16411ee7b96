"""A decorator and context manager that delivers before it returns.

For code that nothing runs after: a function on AWS Lambda is frozen when it returns, a
task of a queue may be killed once it is done.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar, overload

from ._client import OdpClient, aflush, bounded, flush, lines
from ._diagnostics import Diagnostics
from .exceptions import ConfigurationError

P = ParamSpec("P")
R = TypeVar("R")

_diagnostics = Diagnostics()


class Returning:
    """What `flush_on_return` returns where it was given no function."""

    __slots__ = ("_client", "_timeout")

    def __init__(self, timeout: float, client: OdpClient | None) -> None:
        self._timeout = timeout
        self._client = client

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]:
        if isinstance(function, (classmethod, staticmethod)):
            return type(function)(self(function.__func__))
        _check(function)
        return (
            self._around_async(function)
            if _is_async(function)
            else self._around(function)
        )

    def _around(self, function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def returning(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                result = function(*args, **kwargs)
            except BaseException:
                self._flush()
                raise
            if inspect.iscoroutine(result):  # a plain function around an async one
                return self._awaited(result)  # type: ignore[return-value]
            self._flush()
            return result

        return returning

    def _around_async(self, function: Callable[P, Any]) -> Callable[P, Any]:
        @wraps(function)
        async def returning(*args: P.args, **kwargs: P.kwargs) -> Any:
            async with self:
                return await function(*args, **kwargs)

        return returning

    async def _awaited(self, result: Coroutine[Any, Any, Any]) -> Any:
        async with self:
            return await result

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        self._flush()

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, *error: object) -> None:
        # A coroutine that is closed, not awaited, may not wait for anything.
        if kind is not GeneratorExit:
            await self._aflush()

    def _flush(self) -> None:
        try:
            self._note((self._client.flush if self._client else flush)(self._timeout))
        except Exception as error:  # the result is not harmed by it
            _failed(error)

    async def _aflush(self) -> None:
        try:
            wait = self._client.aflush if self._client else aflush
            self._note(await wait(self._timeout))
        except Exception as error:  # the result is not harmed by it
            _failed(error)

    def _note(self, in_time: bool) -> None:
        if in_time:
            return
        waiting = sum([line.waiting() for line in lines() if line.has_destination()])
        if waiting:
            _diagnostics.warn(
                "returning",
                f"flush_on_return: {waiting} event{'s' * (waiting != 1)} had not left"
                f" after {self._timeout:g} s; sending goes on while the process runs;"
                " raise timeout= or find out why ODP does not answer",
            )


@overload
def flush_on_return(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def flush_on_return(
    *, timeout: float = 2.0, client: OdpClient | None = None
) -> Returning: ...
def flush_on_return(
    function: Callable[..., Any] | None = None,
    /,
    *,
    timeout: float = 2.0,
    client: OdpClient | None = None,
) -> Any:
    """
    Deliver what was logged before a function returns, or a ``with`` block ends.

    ``@flush_on_return``, ``@flush_on_return(timeout=2)``, ``with flush_on_return():``
    and ``async with flush_on_return():``. It delivers when an error is raised as well.
    It raises nothing and changes neither result nor error. An async function waits
    without holding up its event loop.

    Args:
        timeout: Seconds to wait at most; what has not left by then is kept, and said.
        client: The one client to deliver for; every one of the process if None.

    Raises:
        ConfigurationError: *timeout* is no number of seconds.
        TypeError: What is decorated is a generator, whose body runs after it returned,
            or no function.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise ConfigurationError(
            f"timeout= takes seconds, not {type(timeout).__name__}; try timeout=2"
        )
    made = Returning(bounded(timeout), client)
    return made if function is None else made(function)


def _check(function: object) -> None:
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
    call = getattr(type(function), "__call__", None)  # noqa: B004, to look at it
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _failed(error: Exception) -> None:
    _diagnostics.warn(
        "returning_failed",
        f"flush_on_return failed with {type(error).__name__}; the events are sent"
        " for as long as the process runs; please report this",
    )
