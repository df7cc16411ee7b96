"""What the Django project does: a view that logs an event, and a middleware."""

import logging
import os
import threading

from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from odp_logging import bound_identifiers

logger = logging.getLogger(__name__)
all_here = threading.Barrier(4)


def bind_user(get_response):
    def middleware(request):
        known = {"fs_user_id": request.GET["user"]} if "user" in request.GET else {}
        with bound_identifiers(**known):
            return get_response(request)

    return middleware


def ready(request):
    return HttpResponse(str(os.getpid()))


def buy(request, number):
    logger.info(
        "sold",
        extra={
            "request": request,  # as Django's own records have it
            "odp_action": "sold",
            "odp_identifiers": {"vuid": "v1"},
            "odp_data": {"n": number},
        },
    )
    return HttpResponse(str(os.getpid()))


def buy_together(request, number):
    """Log once four requests are in the middle of it."""
    all_here.wait(10)
    return buy(request, number)


def stream(request, number):
    """Log in the middle of a response, when the middleware is done."""

    def parts():
        with bound_identifiers(fs_user_id=request.GET["user"]):
            yield " "
            yield buy(request, number).content

    return StreamingHttpResponse(parts())


urlpatterns = [
    path("stream/<int:number>", stream),
    path("ready", ready),
    path("buy/<int:number>", buy),
    path("together/<int:number>", buy_together),
]
