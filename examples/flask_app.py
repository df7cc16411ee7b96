"""
Flask: the purchases of a web shop become ODP events, and a stop loses none.

Run it:

    pip install Flask
    python examples/flask_app.py

You will see Flask's own server serve this file, answer three requests, be stopped by
SIGTERM, and that the three events were delivered: to an emulator, always. To your
account they go when you start it yourself, in this folder:

    ODP_API_KEY=... flask --app flask_app run
    curl -X POST 'http://127.0.0.1:5000/buy/shirt?user=user1'
"""

from __future__ import annotations

import logging.config

try:
    from flask import Flask
except ImportError:
    raise SystemExit("this example needs Flask: pip install Flask") from None

from odp_logging.wsgi import init_app

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "console": {"class": "logging.StreamHandler"},
            "odp": {"class": "odp_logging.OdpHandler"},  # the key is in ODP_API_KEY
        },
        "root": {"level": "INFO", "handlers": ["console", "odp"]},
    }
)
app = Flask(__name__)


# The events of each request have the identifiers of its user.
init_app(app, identify=lambda request: {"fs_user_id": request.args.get("user")})


@app.get("/")
def home() -> str:
    """Say that the shop is open."""
    return "open\n"


@app.post("/buy/<item>")
def buy(item: str) -> str:
    """Sell *item*."""
    app.logger.info(
        "purchase", extra={"odp_action": "purchased", "odp_data": {"item": item}}
    )
    return "sold\n"


if __name__ == "__main__":
    from serving import tried

    raise SystemExit(tried("-m flask --app flask_app run --port {port}"))
