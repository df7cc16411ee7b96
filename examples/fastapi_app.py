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

try:
    from fastapi import FastAPI, Request
except ImportError:
    raise SystemExit("this example needs: pip install fastapi uvicorn") from None

from odp_logging.asgi import IdentifierMiddleware

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


def find_user(scope):
    """Return the identifiers of the user whose request it is."""
    return {"fs_user_id": Request(scope).query_params.get("user")}


app.add_middleware(IdentifierMiddleware, identify=find_user)


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
