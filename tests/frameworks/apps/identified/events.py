"""Events of the shops, and what surrounds them in each server."""

import logging
import logging.config
import threading
from urllib.parse import parse_qs

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "odp": {"class": "odp_logging.OdpHandler"},
            "null": {"class": "logging.NullHandler"},
        },
        "loggers": {"shop": {"level": "INFO", "handlers": ["odp"]}},
        # Tracebacks of failed requests would fill the pipe of the server's stderr.
        "root": {"handlers": ["null"]},
    }
)
logger = logging.getLogger("shop")


def log_event(action, user):
    """Log an event that belongs to *user*, or to no user if it is empty."""
    logger.info(
        action,
        extra={
            "odp_action": action,
            "odp_identifiers": {"vuid": "v1"},
            "odp_data": {"user": user or ""},
        },
    )


def read_user(query):
    """Return the user that a query string names."""
    return parse_qs(query).get("user", [""])[0]


def identify_environ(environ):
    user = read_user(environ["QUERY_STRING"])
    return {"fs_user_id": user} if user else None


def identify_scope(scope):
    user = read_user(scope["query_string"].decode())
    return {"fs_user_id": user} if user else None


def iterate_parts(user):
    """Yield the parts of a streamed response; each logs an event."""
    for _ in range(3):
        log_event("streamed", user)
        yield b"part\n"


def log_outside(app):
    """Return *app* within a middleware that answers health checks by itself."""

    def answer(environ, start_response):
        log_event("arrived", "")
        if environ["PATH_INFO"] != "/health":
            return app(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"healthy"]

    return answer


def log_outside_async(app):
    """Return an ASGI *app* within a middleware that answers health checks."""

    async def answer(scope, receive, send):
        if scope["type"] != "http":
            return await app(scope, receive, send)
        log_event("arrived", "")
        if scope["path"] != "/health":
            return await app(scope, receive, send)
        headers = [(b"content-length", b"7")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"healthy"})

    return answer


def log_in_thread(user):
    """Log on another thread, where nothing is bound."""
    thread = threading.Thread(target=log_event, args=("swept", ""))
    thread.start()
    thread.join()
    log_event("sold", user)
