"""A Flask application, configured as Flask's own pages say: before it is made."""

import logging.config
import os

from flask import Flask, request

from odp_logging import bind_identifiers, clear_identifiers

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"odp": {"class": "odp_logging.OdpHandler"}},
        "root": {"level": "INFO", "handlers": ["odp"]},
    }
)
app = Flask(__name__)


@app.before_request
def bind_user():
    clear_identifiers()
    if "user" in request.args:
        bind_identifiers(fs_user_id=request.args["user"])


@app.get("/ready")
def ready():
    return str(os.getpid())


@app.get("/buy/<int:number>")
def buy(number):
    app.logger.info(
        "sold",
        extra={
            "odp_action": "sold",
            "odp_identifiers": {"vuid": "v1"},
            "odp_data": {"n": number},
        },
    )
    return str(os.getpid())
