"""Sends one batch to ODP's events API as one POST request.

`Retry` calls it. The connection is in `session`, the meaning of a response in
`responses`; here errors become deliveries. Source of the hosts: ODP's Node SDK.
"""

from __future__ import annotations

import re
import sys
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING

from .._events.batch import Batch
from .._events.delivery import Cause, Delivery
from .._runtime.lock import monotonic
from .._runtime.secret import Secret
from .._version import VERSION
from .base import BaseTransport
from .request_state import RequestState
from .responses import read_response

if TYPE_CHECKING:
    from .session import HttpSession, Response

PATH = "/v3/events"

_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": f"odp-logging/{VERSION}",
    # A compressed response could decompress to any size.
    "Accept-Encoding": "identity",
}


_MIN_TIMEOUT_SECONDS = 0.05


class Http(BaseTransport):
    """
    A `Transport`: one request per batch, over a connection that is kept open.

    Redirects are not followed: `requests` would send ``x-api-key`` to the other host.

    Args:
        host: For example ``"https://api.zaius.com"``.
        api_key: ODP's public key.
        timeout: Seconds for a request, from connecting to the end of the response.
        ignore_proxy: Whether to ignore the proxies of the environment (loopback hosts).
    """

    def __init__(
        self,
        host: str,
        api_key: Secret,
        *,
        timeout: float = 10.0,
        ignore_proxy: bool = False,
    ) -> None:
        self._url = host + PATH
        self._host = host
        self._api_key = api_key
        self._timeout = timeout
        self._ignore_proxy = ignore_proxy
        self._state = RequestState()
        self._session: HttpSession | None = None

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        """Send *batch* once; once more if a kept connection turns out to be stale."""
        handled = sys.exc_info()[1]
        try:
            return self._send(batch, deadline, handled)
        except BaseException as interruption:
            # A response to this request may still come on the connection.
            self.close()
            _clear_locals(interruption, handled)
            raise

    def _send(
        self, batch: Batch, deadline: float | None, handled: BaseException | None
    ) -> Delivery:
        first, stale = self._post_timed(batch, deadline, handled)
        if not stale:
            return first
        second, _ = self._post_timed(batch, deadline, handled)
        return _join_deliveries(first, second)

    def prepare(self) -> None:
        """Import what a request needs, which takes longer than a log call may."""
        try:
            self._get_session()
        except Exception:  # a bad host or proxy: `send` reports it
            pass

    def close(self) -> None:
        """Close the connection; a later `send` opens a new one."""
        if self._session is not None:
            self._session.close()
        self._session = None

    def after_fork(self) -> None:
        """Discard the parent's connection in a forked child, without sending on it."""
        if self._session is not None:
            self._session.discard_in_child()
        self._session = None

    def _get_session(self) -> HttpSession:
        if self._session is None:
            from .session import HttpSession

            self._session = HttpSession(
                self._url,
                _HEADERS,
                self._api_key,
                self._state,
                ignore_proxy=self._ignore_proxy,
            )
        return self._session

    def _post_timed(
        self, batch: Batch, deadline: float | None, handled: BaseException | None
    ) -> tuple[Delivery, bool]:
        start = monotonic()
        delivery, is_stale = self._post(batch, deadline, handled)
        return replace(delivery, durations=(monotonic() - start,)), is_stale

    def _post(
        self, batch: Batch, deadline: float | None, handled: BaseException | None
    ) -> tuple[Delivery, bool]:
        """Return the delivery of one request, and whether to repeat it at once."""
        size = len(batch.events)
        self._state.start(self._compute_timeout(deadline))
        try:
            response = self._get_session().post(batch)
        except Exception as error:  # the flusher must survive any error of a library
            result = self._build_failure(error, handled, size)
            self.close()
            return result
        self._state.record_success()
        return self._read_response(response, size), False

    def _read_response(self, response: Response, size: int) -> Delivery:
        return read_response(
            response.status,
            response.headers,
            response.content,
            size,
            self._host,
            key=self._api_key,
        )

    def _compute_timeout(self, deadline: float | None) -> float:
        """Return the seconds that a request that starts now may take."""
        if deadline is None:
            return self._timeout
        return max(_MIN_TIMEOUT_SECONDS, min(self._timeout, deadline - monotonic()))

    def _build_failure(
        self, error: Exception, handled: BaseException | None, size: int
    ) -> tuple[Delivery, bool]:
        # Imported here, since http.client takes 10 ms. A session has imported it, too.
        from .failures import find_root_cause

        root = find_root_cause(error, handled)
        # No request can be built from a bad host, key or proxy address. The error of a
        # rejected certificate is a ValueError, too, but also an OSError.
        is_misconfigured = isinstance(error, ValueError) and not isinstance(
            error, OSError
        )
        is_misconfigured = is_misconfigured and not self._state.request_sent
        message, advice = self._report_failure(error, root)
        delivery = Delivery.all_pending(
            size,
            Cause.MISCONFIGURED if is_misconfigured else Cause.TRANSIENT,
            message,
            in_doubt=self._state.request_sent,
            advice=advice,
        )
        # The peer closed a kept connection while our request was on its way.
        is_stale = self._state.is_connection_stale() and isinstance(
            root, ConnectionError
        )
        if not is_stale:
            self._state.record_failure()
        return delivery, is_stale

    def _report_failure(self, error: Exception, root: BaseException) -> tuple[str, str]:
        """Return message and advice; the message names the proxy if there is one."""
        from .failures import CHECK_PROXY, InvalidSetting, format_failure

        session = self._session
        if session is None:
            if isinstance(error, InvalidSetting):
                return f"{self._host} cannot be reached: {error}", error.advice
            # A library may be missing, or `ssl` itself.
            return f"{self._host} cannot be reached ({type(root).__name__})", ""
        reason = format_failure(root, *session.peer, seconds=self._state.seconds)
        if session.proxy is None:
            return reason, ""
        refusal = re.search(r"Tunnel connection failed: (\d{3})\b", f"{root}")
        if refusal is not None:
            reason = f"it answered {refusal[1]} to CONNECT"
        text = f"{self._host} gave no answer through {session.proxy.name}: {reason}"
        return text, CHECK_PROXY


def _clear_locals(error: BaseException | None, handled: BaseException | None) -> None:
    """
    Clear the local variables of the frames below `send` in *error* and its contexts.

    Ctrl-C, or a time limit of the application, passes through here on the thread of a
    log call with ``background=False``. Its frames hold the text of a response and the
    login of a proxy in local variables, which some tracebacks show.

    Args:
        handled: The exception the application was handling before; it is not changed.
    """
    for _ in range(10):  # a chain of exceptions may be a cycle
        if error is None or error is handled:
            break
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def _join_deliveries(first: Delivery, second: Delivery) -> Delivery:
    """Return the delivery of a batch that was sent twice in a row."""
    # The server may have accepted the first request, though it closed the connection.
    in_doubt = second.in_doubt | first.in_doubt.intersection(second.pending)
    return replace(
        second,
        in_doubt=in_doubt,
        requests=2,
        resent=second.size,
        durations=first.durations + second.durations,
    )
