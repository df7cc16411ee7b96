"""
FastAPI under uvicorn: purchases become ODP events, and a stop loses none.

Run it:

    pip install fastapi uvicorn
    python examples/fastapi_app.py

You will see uvicorn serve this file, answer three requests, be stopped by SIGTERM, and
that the three events were delivered: to an emulator, always. So it is with `--workers`
and `--reload`. To your account they go when you start it yourself, in this folder:

    ODP_API_KEY=... uvicorn fastapi_app:app
    curl -X POST 'http://127.0.0.1:8000/buy/shirt?user=user1'
"""

from __future__ import annotations

import logging.config
from collections.abc import Awaitable, Callable

try:
    from fastapi import FastAPI, Request, Response
except ImportError:
    raise SystemExit("this example needs: pip install fastapi uvicorn") from None

from odp_logging import bound_identifiers

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "console": {"class": "logging.StreamHandler"},
            "odp": {"class": "odp_logging.OdpHandler"},  # the key is in ODP_API_KEY
        },
        "loggers": {"shop": {"level": "INFO", "handlers": ["console", "odp"]}},
    }
)
logger = logging.getLogger("shop")
app = FastAPI()


@app.middleware("http")
async def bind_user(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Whatever is logged for this request is this user's."""
    with bound_identifiers(fs_user_id=request.query_params.get("user")):
        return await call_next(request)


@app.get("/")
async def home() -> str:
    """Say that the shop is open."""
    return "open"


@app.post("/buy/{item}")
async def buy(item: str) -> str:
    """Sell *item*."""
    logger.info(
        "purchase", extra={"odp_action": "purchased", "odp_data": {"item": item}}
    )
    return "sold"


if __name__ == "__main__":
    from serving import tried

    raise SystemExit(tried("-m uvicorn fastapi_app:app --port {port}"))
