"""A Django project in one file, for WSGI and for ASGI."""

import os

import django
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from odp_logging import bind_identifiers

from . import events

settings.configure(
    SECRET_KEY="test",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["odp_logging.django.IdentifierMiddleware"],
    ODP_IDENTIFY=f"{__name__}.identify",
    LOGGING_CONFIG=None,
)


def identify(request):
    return {"fs_user_id": request.GET.get("user")}


def ready(request):
    return HttpResponse(str(os.getpid()))


def buy(request):
    events.log_in_thread(request.GET.get("user"))
    return HttpResponse(str(os.getpid()))


def stream(request):
    return StreamingHttpResponse(events.iterate_parts(request.GET.get("user")))


async def buy_async(request):
    events.log_event("sold", request.GET.get("user"))
    return HttpResponse(str(os.getpid()))


async def stream_async(request):
    async def iterate():
        for part in events.iterate_parts(request.GET.get("user")):
            yield part

    return StreamingHttpResponse(iterate())


def fail(request):
    events.log_event("failed", request.GET.get("user"))
    bind_identifiers(fs_user_id="left-behind")
    raise LookupError("a test asks for this")


urlpatterns = [
    path("ready", ready),
    path("buy", buy),
    path("stream", stream),
    path("buy_async", buy_async),
    path("stream_async", stream_async),
    path("fail", fail),
]
django.setup()


def create_wsgi():
    from django.core.handlers.wsgi import WSGIHandler

    return events.log_outside(WSGIHandler())


def create_asgi():
    from django.core.handlers.asgi import ASGIHandler

    return events.log_outside_async(ASGIHandler())
