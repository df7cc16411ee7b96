"""A Flask application."""

import os

from flask import Flask, request

from odp_logging import bind_identifiers
from odp_logging.wsgi import init_app

from . import events

app = Flask(__name__)


@app.before_request
def log_early():
    events.log_event("checked", request.args.get("user"))


init_app(app, identify=lambda asked: {"fs_user_id": asked.args.get("user")})
app.wsgi_app = events.log_outside(app.wsgi_app)


@app.get("/ready")
def ready():
    return str(os.getpid())


@app.get("/buy")
def buy():
    events.log_in_thread(request.args.get("user"))
    return str(os.getpid())


@app.get("/stream")
def stream():
    return app.response_class(events.iterate_parts(request.args.get("user")))


@app.get("/fail")
def fail():
    events.log_event("failed", request.args.get("user"))
    bind_identifiers(fs_user_id="left-behind")
    raise LookupError("a test asks for this")
