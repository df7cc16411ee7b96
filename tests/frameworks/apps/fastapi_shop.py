"""A FastAPI application; SHOP_CONFIGURES says where logging is configured."""

import asyncio
import contextlib
import logging
import logging.config
import os

from fastapi import FastAPI, Request, Response

from odp_logging import bound_identifiers

WHERE = os.environ.get("SHOP_CONFIGURES", "import")
logger = logging.getLogger("shop")
waiting = 0
all_here = asyncio.Event()


def configure():
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"odp": {"class": "odp_logging.OdpHandler"}},
            "loggers": {"shop": {"level": "INFO", "handlers": ["odp"]}},
        }
    )


if WHERE == "import":
    configure()


def sell(number):
    who, data = {"vuid": "v1"}, {"n": number}
    logger.info(
        "sold", extra={"odp_action": "sold", "odp_identifiers": who, "odp_data": data}
    )


@contextlib.asynccontextmanager
async def lifespan(app):
    if WHERE == "lifespan":
        configure()
    yield
    sell(-os.getpid())  # the last one, when all requests are done


app = FastAPI(lifespan=lifespan)


@app.middleware("http")
async def bind_user(request: Request, call_next):
    users = request.query_params.getlist("user")
    with bound_identifiers(**({"fs_user_id": users[0]} if users else {})):
        return await call_next(request)


@app.get("/ready")
async def ready():
    return Response(str(os.getpid()))


@app.get("/buy/{number}")
async def buy(number: int):
    sell(number)
    return Response(str(os.getpid()))


@app.get("/slow/{number}")
def buy_in_a_thread(number: int):
    sell(number)
    return Response(str(os.getpid()))


@app.get("/together/{number}")
async def buy_together(number: int, count: int):
    """Log once *count* requests are in the middle of it."""
    global waiting
    waiting += 1
    if waiting == count:
        all_here.set()
    await asyncio.wait_for(all_here.wait(), 10)
    sell(number)
    return Response(str(os.getpid()))
