"""Bind the identifiers of the current user for each request of a WSGI application."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ._capture.scope import Scope, ScopedIterator, bind_found

__all__ = ["IdentifierMiddleware", "init_app"]


class IdentifierMiddleware:
    """
    WSGI middleware: events logged for a request have the identifiers of its user.

    They are bound while the application is called and while a streamed response is
    made, for this request alone. Outside of it nothing is bound, whatever the
    application binds or raises.

        application = IdentifierMiddleware(application, identify=find_user)

    Args:
        app: The WSGI application.
        identify: Called with the WSGI environ. Returns a dict of identifiers, such as
            ``{"fs_user_id": "user123"}``, or None. If it raises, the error is reported
            and the request goes on.
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        identify: Callable[[dict[str, Any]], Mapping[str, Any] | None],
    ) -> None:
        self._app = app
        self._identify = identify

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer one request."""
        scope = Scope(environ)
        with scope.enter():
            bind_found(self._identify, environ)
            response = self._app(environ, start_response)
        return _wrap_response(scope, response, environ)


def _wrap_response(
    scope: Scope, response: Iterable[bytes], environ: Mapping[str, Any]
) -> Iterable[bytes]:
    # No code of the application runs while these are read. A server sends a file with
    # sendfile() only if it recognizes the object.
    file_wrapper = environ.get("wsgi.file_wrapper")
    is_file = isinstance(file_wrapper, type) and isinstance(response, file_wrapper)
    if is_file or isinstance(response, (list, tuple)):
        return response
    return ScopedIterator(scope, response)


def init_app(app: Any, identify: Callable[[Any], Mapping[str, Any] | None]) -> None:
    """
    Bind the identifiers of the current user for each request of a Flask application.

        odp_logging.wsgi.init_app(app, identify=find_user)

    Args:
        app: The `flask.Flask` object.
        identify: Called with `flask.request` before the other ``before_request``
            functions. Returns a dict of identifiers or None. `flask.session` and
            Flask-Login's ``current_user`` can be used in it.
    """
    # For the scope alone: Flask's request does not exist yet.
    app.wsgi_app = IdentifierMiddleware(app.wsgi_app, lambda environ: None)

    def bind_user() -> None:
        from flask import request

        bind_found(identify, request)

    # First, so that events of the other functions have the identifiers, too.
    app.before_request_funcs.setdefault(None, []).insert(0, bind_user)
