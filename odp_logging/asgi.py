"""Bind the identifiers of the current user for each request of an ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from ._capture.scope import Scope, bind_found_async

__all__ = ["IdentifierMiddleware"]


class IdentifierMiddleware:
    """
    ASGI middleware: events logged for a request have the identifiers of its user.

    They are bound for one HTTP request or WebSocket connection, streamed responses
    included. Tasks that the request starts keep them until their end. Starlette and
    FastAPI:

        app.add_middleware(IdentifierMiddleware, identify=find_user)

    Args:
        app: The ASGI application.
        identify: A function or coroutine function, called with the ASGI scope. Returns
            a dict of identifiers, such as ``{"fs_user_id": "user123"}``, or None. If it
            raises, the error is reported and the request goes on.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        identify: Callable[
            [MutableMapping[str, Any]],
            Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None,
        ],
    ) -> None:
        self._app = app
        self._identify = identify

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[..., Any],
        send: Callable[..., Any],
    ) -> None:
        """Answer one request."""
        # The scope "lifespan" belongs to no user.
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        with Scope(scope).enter():
            await bind_found_async(self._identify, scope)
            await self._app(scope, receive, send)
