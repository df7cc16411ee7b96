"""
gunicorn with `--preload`: each event once, from the process that logged it.

Run it:

    pip install gunicorn
    python examples/gunicorn_app.py

You will see gunicorn serve this file with two workers, answer three requests, be
stopped by SIGTERM, and that four events were delivered: the first one was logged while
this file was imported, before the workers were forked, and is sent once. They go to an
emulator, always; to your account when you start it yourself, in this folder:

    ODP_API_KEY=... gunicorn --preload --workers 2 gunicorn_app
    curl -X POST 'http://127.0.0.1:8000/buy/shirt?user=user1'
"""

from __future__ import annotations

import logging.config
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from odp_logging import bound_identifiers

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
logger = logging.getLogger("shop")


def application(
    environ: dict[str, Any], start_response: Callable[..., object]
) -> Iterable[bytes]:
    """Sell what the path names to whom the query names."""
    _, action, item = f"{environ['PATH_INFO']}/".split("/")[:3]
    [user] = parse_qs(environ["QUERY_STRING"]).get("user", [None])
    with bound_identifiers(fs_user_id=user):
        if action == "buy":
            logger.info(
                "purchase",
                extra={"odp_action": "purchased", "odp_data": {"item": item}},
            )
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"sold\n" if action == "buy" else b"open\n"]


if __name__ == "__main__":
    from serving import tried

    command = "-m gunicorn --preload --workers 2 gunicorn_app --bind 127.0.0.1:{port}"
    raise SystemExit(tried(command, more=1))

# While gunicorn imports this file: in its master, before that forks.
logger.info(
    "open",
    extra={"odp_action": "opened", "odp_identifiers": {"fs_user_id": "the shop"}},
)
