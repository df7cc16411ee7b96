"""A WSGI application without a framework."""

import os

from odp_logging import bind_identifiers
from odp_logging.wsgi import IdentifierMiddleware

from . import events


def shop(environ, start_response):
    user = events.read_user(environ["QUERY_STRING"])
    action = environ["PATH_INFO"].strip("/")
    if action == "fail":
        events.log_event("failed", user)
        bind_identifiers(fs_user_id="left-behind")
        raise LookupError("a test asks for this")
    start_response("200 OK", [("Content-Type", "text/plain")])
    if action == "stream":
        return events.iterate_parts(user)
    if action == "buy":
        events.log_in_thread(user)
    return [str(os.getpid()).encode()]


app = events.log_outside(IdentifierMiddleware(shop, identify=events.identify_environ))
