"""The paths of the emulator, and the response to a request for each.

`_http` calls `route` once a request has been read and its access checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from urllib.parse import parse_qs

from ._api import Response, build_error_response
from ._faults import Fault, FaultError
from ._http import Handler
from ._ledger import EVENTS_PATH, LIBRARY_PATH
from ._lint import CHECKS
from ._page import build_page
from ._sse import Stream
from ._validation import parse_json

# The Feature Experimentation SDKs fetch segments from the same host.
SEGMENTS_PATH = "/v3/graphql"

_MAX_METHOD_CHARACTERS = 20
_MAX_PATH_CHARACTERS = 200


def route(handler: Handler) -> None:
    """Answer the request that *handler* has read."""
    methods = _ROUTES.get(handler.url_path)
    if methods is None:
        response = build_error_response(404, "There is nothing at this path.")
        return _send_path_error(handler, response)
    endpoint = methods.get(handler.command)
    if endpoint is None:
        response = build_error_response(405, "This path does not take this method.")
        allow = {"Allow": ", ".join(sorted(methods))}
        return _send_path_error(handler, response, allow)
    endpoint(handler)


def _send_path_error(
    handler: Handler, response: Response, headers: dict[str, str] | None = None
) -> None:
    """Answer a request for an unknown path; record it unless a browser sent it."""
    is_browser = handler.command in ("GET", "HEAD")
    if handler.url_path.startswith("/v3") or not is_browser:
        handler.server.api.record_path_error(
            handler.lower_headers(),
            response,
            method=handler.command[:_MAX_METHOD_CHARACTERS],
            path=handler.url_path[:_MAX_PATH_CHARACTERS],
            size=len(handler.body),
            connection=handler.serial,
        )
    handler.send(response, headers)


# ODP's own paths.


def _receive_events(handler: Handler) -> None:
    response = handler.server.api.receive(
        handler.lower_headers(), handler.body, connection=handler.serial
    )
    handler.release_body()  # a fault's latency may be long
    is_ending = response.latency > 0 and handler.server.ending.wait(response.latency)
    if response.status == 0 or is_ending:
        return handler.reset()
    handler.send(response)


def _receive_query(handler: Handler) -> None:
    handler.send(
        handler.server.api.receive_query(
            handler.lower_headers(),
            handler.body,
            path=handler.url_path,
            connection=handler.serial,
        )
    )


# The page, and what it shows.


def _send_page(handler: Handler) -> None:
    document, policy = build_page()
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
    handler.send(Response(200, document, "text/html; charset=utf-8"), headers)


def _send_health(handler: Handler) -> None:
    handler.send(Response(200, b"ok\n", "text/plain; charset=utf-8"))


def _send_stats(handler: Handler) -> None:
    handler.send_json(handler.server.api.get_stats())


def _send_entries(handler: Handler) -> None:
    _send_range(handler, handler.server.api.list_raw_entries)


def _send_requests(handler: Handler) -> None:
    _send_range(handler, handler.server.api.list_raw_requests)


def _send_range(handler: Handler, read: Callable[[int, int], Iterator[bytes]]) -> None:
    since = _parse_number(handler, "since", "0")
    limit = _parse_number(handler, "limit", "10000")
    if since is None or limit is None:
        return handler.send_api_error(
            400, "since and limit must be whole numbers, such as 100"
        )
    handler.send_list(read(since, limit))


def _send_checks(handler: Handler) -> None:
    handler.send_json({name: asdict(check) for name, check in CHECKS.items()})


def _clear_ledger(handler: Handler) -> None:
    handler.server.api.clear()
    handler.send(Response(204))


def _open_stream(handler: Handler) -> None:
    since = _parse_since(handler)
    since_request = _parse_number(handler, "requests", "0")
    if since is None or since_request is None:
        return handler.send_api_error(
            400, "since and requests must be whole numbers, such as 100"
        )
    server = handler.server
    if not server.streams.acquire(blocking=False):
        response = build_error_response(503, "Too many pages are open: close one.")
        return handler.send(response, {"Retry-After": "10"})
    try:
        handler.start_stream()
        stream = Stream(
            server.api,
            handler.write,
            since=since,
            since_request=since_request,
            ping_interval=server.ping_interval,
        )
        stream.run(server.ending, handler.is_closed_by_client)
    finally:
        server.streams.release()


def _parse_since(handler: Handler) -> int | None:
    # A browser that reconnects repeats the address; the header is newer.
    last = handler.headers.get("Last-Event-ID", "")
    if last.isascii() and last.isdigit() and len(last) < 19:
        return int(last)
    return _parse_number(handler, "since", "0")


def _list_library(handler: Handler) -> None:
    handler.send_json(handler.server.api.diagnostics.list_lines())


def _receive_report(handler: Handler) -> None:
    if not _is_json(handler):
        return handler.send_api_error(415, "Content-Type must be application/json.")
    handler.send(
        handler.server.api.receive_report(handler.lower_headers(), handler.body)
    )


def _is_json(handler: Handler) -> bool:
    # A form on a page of another site cannot send this type without a preflight (CORS).
    content_type = handler.headers.get("Content-Type", "")
    return content_type.partition(";")[0].strip().lower() == "application/json"


# Faults.


def _list_faults(handler: Handler) -> None:
    handler.send_json(handler.server.api.faults.list_active())


def _add_faults(handler: Handler) -> None:
    if not _is_json(handler):
        return handler.send_api_error(415, "Content-Type must be application/json.")
    try:
        given = parse_json(handler.body)
        fields = given if isinstance(given, list) else [given]
        faults = [Fault.read(values) for values in fields]
    except FaultError as error:
        return handler.send_api_error(400, str(error))
    except ValueError:
        return handler.send_api_error(
            400, "the body must be JSON: one fault or a list of faults"
        )
    handler.server.api.faults.add(*faults)
    handler.server.api.ledger.notify_all()
    _list_faults(handler)


def _clear_faults(handler: Handler) -> None:
    faults = handler.server.api.faults
    if "id" not in parse_qs(handler.query, keep_blank_values=True):
        faults.clear()
    elif (serial := _parse_number(handler, "id", "")) is None:
        return handler.send_api_error(400, "id must be a whole number, such as 1")
    elif not faults.remove(serial):
        return handler.send_api_error(404, "No fault with this id is set.")
    handler.server.api.ledger.notify_all()
    handler.send(Response(204))


def _parse_number(handler: Handler, name: str, default: str) -> int | None:
    text = parse_qs(handler.query).get(name, [default])[0]
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


_ROUTES: dict[str, dict[str, Callable[[Handler], None]]] = {
    EVENTS_PATH: {"POST": _receive_events},
    SEGMENTS_PATH: {"POST": _receive_query},
    "/": {"GET": _send_page},
    "/healthz": {"GET": _send_health},
    "/stats": {"GET": _send_stats},
    "/_emulator/stats": {"GET": _send_stats},
    "/_emulator/stream": {"GET": _open_stream},
    "/_emulator/events": {"GET": _send_entries, "DELETE": _clear_ledger},
    "/_emulator/requests": {"GET": _send_requests},
    "/_emulator/checks": {"GET": _send_checks},
    LIBRARY_PATH: {"GET": _list_library, "POST": _receive_report},
    "/_emulator/faults": {
        "GET": _list_faults,
        "POST": _add_faults,
        "DELETE": _clear_faults,
    },
}
