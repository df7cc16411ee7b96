"""Bind the identifiers of the current user for each request of a Django project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.utils.module_loading import import_string

from ._capture.scope import (
    Scope,
    ScopedAsyncIterator,
    ScopedIterator,
    bind_found,
    bind_found_async,
)
from .exceptions import ConfigurationError

__all__ = ["IdentifierMiddleware", "identify_user"]


class IdentifierMiddleware:
    """
    Django middleware: events logged for a request have the identifiers of its user.

    They are bound for one request, streamed responses included. In the settings, after
    the middleware that sets ``request.user``:

        MIDDLEWARE = [..., "odp_logging.django.IdentifierMiddleware"]
        ODP_IDENTIFY = "shop.users.find_identifiers"   # optional

    ``ODP_IDENTIFY`` is a function, or its dotted path. It is called with the request
    and returns a dict of identifiers or None. Under ASGI it may be a coroutine
    function; another function runs in Django's thread for synchronous code. The default
    is `identify_user`.

    Raises:
        ConfigurationError: ``ODP_IDENTIFY`` is neither a function nor its path.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response
        self._identify = _load_identify()
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Answer one request."""
        if self._is_async:
            return self._call_async(request)
        scope = _open_scope(request)
        with scope.enter():
            bind_found(self._identify, request)
            response = self._get_response(request)
        return _scope_stream(scope, response)

    async def _call_async(self, request: Any) -> Any:
        scope = _open_scope(request)
        with scope.enter():
            await bind_found_async(
                self._identify, request, call=self._choose_async_call()
            )
            response = await self._get_response(request)
        return _scope_stream(scope, response)

    def _choose_async_call(self) -> Callable[[Any], Any]:
        if self._identify is identify_user:
            return _identify_user_async
        if iscoroutinefunction(self._identify):
            return self._identify
        # It may query the database.
        return sync_to_async(self._identify)


def identify_user(request: Any) -> dict[str, Any] | None:
    """
    Return ``{"fs_user_id": <primary key>}`` of the user who is logged in, or None.

    Django loads the session and the user from the database for it, if the view does not
    do so anyway.
    """
    return _identify(getattr(request, "user", None))


async def _identify_user_async(request: Any) -> dict[str, Any] | None:
    load_user = getattr(request, "auser", None)
    if load_user is None:
        return await sync_to_async(identify_user)(request)
    return _identify(await load_user())


def _identify(user: Any) -> dict[str, Any] | None:
    if user is None or not user.is_authenticated:
        return None
    return {"fs_user_id": str(user.pk)}


def _load_identify() -> Callable[[Any], Any]:
    identify = getattr(settings, "ODP_IDENTIFY", None)
    if identify is None:
        return identify_user
    try:
        found = import_string(identify) if isinstance(identify, str) else identify
    except ImportError as error:
        raise ConfigurationError(
            f"ODP_IDENTIFY={identify!r} cannot be imported: {error}. Set it to the path"
            ' of a function, such as "shop.users.find_identifiers"'
        ) from None
    if not callable(found):
        raise ConfigurationError(
            f"ODP_IDENTIFY is {type(found).__name__}, not a function. Set it to a"
            ' function or its path, such as "shop.users.find_identifiers"'
        )
    return found  # type: ignore[no-any-return]


def _open_scope(request: Any) -> Scope:
    # An ASGI request has the scope, a WSGI request the environ. META of the former is a
    # new dict in each request.
    return Scope(getattr(request, "scope", None) or request.META)


def _scope_stream(scope: Scope, response: Any) -> Any:
    if getattr(response, "streaming", False):
        is_async = getattr(response, "is_async", False)
        wrap = ScopedAsyncIterator if is_async else ScopedIterator
        response.streaming_content = wrap(scope, response.streaming_content)
    return response
