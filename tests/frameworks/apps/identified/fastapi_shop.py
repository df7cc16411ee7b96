"""A FastAPI application."""

import asyncio
import os

from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import PlainTextResponse, StreamingResponse

from odp_logging import bind_identifiers
from odp_logging.asgi import IdentifierMiddleware

from . import events

shop = FastAPI()
shop.add_middleware(IdentifierMiddleware, identify=events.identify_scope)
started = set()


@shop.get("/ready", response_class=PlainTextResponse)
def ready():
    return str(os.getpid())


@shop.get("/buy")
def buy(tasks: BackgroundTasks, user: str = ""):
    """Run on a thread of a pool."""
    events.log_in_thread(user)
    tasks.add_task(events.log_event, "background", user)


@shop.get("/buy_async")
async def buy_async(user: str = ""):
    await asyncio.sleep(0)
    events.log_event("sold", user)
    task = asyncio.create_task(log_later(user))
    started.add(task)
    task.add_done_callback(started.discard)


async def log_later(user):
    """Log when the request has probably ended."""
    await asyncio.sleep(0.001)
    events.log_event("later", user)


@shop.get("/stream")
async def stream(user: str = ""):
    return StreamingResponse(events.iterate_parts(user))


@shop.get("/fail")
async def fail(user: str = ""):
    events.log_event("failed", user)
    bind_identifiers(fs_user_id="left-behind")
    raise LookupError("a test asks for this")


app = events.log_outside_async(shop)
