"""Identifiers that apply to one request or task, for middleware to bind."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, MutableMapping
from contextlib import contextmanager
from inspect import isawaitable
from typing import Any

from .._events.normalize import freeze_identifier
from .._runtime.diagnostics import Diagnostics
from .._runtime.locations import find_location
from .context import Bound, bind_identifiers, read_own_context, restore_context

_KEY = "odp_logging.identifiers"
"""Key in a WSGI environ or an ASGI scope: a middleware has opened a scope for it."""

_diagnostics = Diagnostics()


class Scope:
    """
    What is bound while the code of one request runs.

    A request runs in steps: a call of the application, then one for each part of a
    streamed response. `enter` binds for one step, and keeps for the next one what the
    step has bound. Between the steps nothing of the request is bound, so that other
    code of the same thread never sends events with its identifiers.

    What was bound outside does not apply inside, except in a nested scope of the same
    request. A thread may still carry what another request bound. And uvicorn starts the
    next request of a connection in the context of the one before it.

    Used by one thread or task at a time.

    Args:
        request: The WSGI environ or ASGI scope; None where there is none.
    """

    def __init__(self, request: MutableMapping[str, Any] | None = None) -> None:
        self._bound: Bound | None = None
        if request is not None:
            # A nested scope: what the outer one bound for this request applies here,
            # too.
            if request.get(_KEY):
                self._bound = read_own_context()
            request[_KEY] = True

    @contextmanager
    def enter(self) -> Generator[None, None, None]:
        """Bind within a ``with`` block, which is one step of the request."""
        previous = read_own_context()
        restore_context(self._bound)
        try:
            yield
        finally:
            self._bound = read_own_context()
            restore_context(previous)


class ScopedIterator:
    """Iterates over the parts of a response, each of which is a step of *scope*."""

    def __init__(self, scope: Scope, parts: Any) -> None:
        self._scope = scope
        self._parts = parts
        self._iterator: Iterator[Any] | None = None

    def __iter__(self) -> ScopedIterator:
        return self

    def __next__(self) -> Any:
        with self._scope.enter():
            if self._iterator is None:
                self._iterator = iter(self._parts)
            return next(self._iterator)

    def close(self) -> None:
        """Close the response, as WSGI servers do at the end of a request."""
        close = getattr(self._parts, "close", None)
        if close is not None:
            with self._scope.enter():
                close()


class ScopedAsyncIterator:
    """Iterates over the parts of an asynchronous response, as `ScopedIterator` does."""

    def __init__(self, scope: Scope, parts: Any) -> None:
        self._scope = scope
        self._parts = parts
        self._iterator: Any = None

    def __aiter__(self) -> ScopedAsyncIterator:
        return self

    async def __anext__(self) -> Any:
        with self._scope.enter():
            if self._iterator is None:
                self._iterator = aiter(self._parts)
            return await anext(self._iterator)


Identify = Callable[[Any], Any]
"""Returns the identifiers of a request's user as a dict, or None."""


def bind_found(identify: Identify, request: Any) -> None:
    """
    Bind the identifiers that *identify* returns for *request*.

    A request must be answered even if its user cannot be found, so errors are reported
    and not raised.
    """
    try:
        found = identify(request)
    except Exception as error:
        _report_failure(identify, error)
    else:
        _bind_result(identify, found)


async def bind_found_async(
    identify: Identify, request: Any, *, call: Identify | None = None
) -> None:
    """
    Do the same as `bind_found`, and await what *identify* returns if it can be awaited.

    Args:
        call: Called in place of *identify*, which messages name.
    """
    try:
        found = (call or identify)(request)
        if isawaitable(found):
            found = await found
    except Exception as error:
        _report_failure(identify, error)
    else:
        _bind_result(identify, found)


def _bind_result(identify: Identify, found: Any) -> None:
    """Bind the identifiers that *identify* returned, or report what is wrong."""
    if found is None:
        return
    try:
        identifiers = {
            name: freeze_identifier(value) for name, value in dict(found).items()
        }
        bind_identifiers(**identifiers)
    except Exception:
        _warn(identify, f"it returned {type(found).__name__}, not a dict of text")


def _report_failure(identify: Identify, error: BaseException) -> None:
    """Report that *identify* raised *error*: class and line, but not its text."""
    location = find_location(error)
    suffix = f" at {location}" if location else ""
    _warn(identify, f"it raised {type(error).__name__}{suffix}")


def _warn(identify: Identify, cause: str) -> None:
    name = getattr(identify, "__qualname__", type(identify).__name__)
    _diagnostics.warn(
        f"identify:{name}",
        f"identify={name} found no user: {cause}. The events of this request have only"
        ' the identifiers of their log calls. Return a dict such as {"fs_user_id": ...}'
        " or None",
    )
