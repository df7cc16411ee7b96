"""
Django: the LOGGING setting makes ODP events of log calls, and a stop loses none.

Run it:

    pip install Django gunicorn
    python examples/django_app.py

You will see Django's development server and then gunicorn serve this file, answer three
requests each, be stopped, and that all events were delivered: to an emulator, always.
To your account they go when you start it yourself, in this folder:

    ODP_API_KEY=... python django_app.py runserver     # or: gunicorn django_app
    curl -X POST 'http://127.0.0.1:8000/buy/shirt?user=user1'
"""

from __future__ import annotations

import logging
import signal
import sys

try:
    from django.conf import settings
    from django.core.management import execute_from_command_line
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path
except ImportError:
    raise SystemExit("this example needs: pip install Django gunicorn") from None

from odp_logging import bound_identifiers

settings.configure(
    SECRET_KEY="an example's",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[f"{__name__}.bind_user"],
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        # The key is in ODP_API_KEY.
        "handlers": {"odp": {"class": "odp_logging.OdpHandler"}},
        "root": {"level": "INFO", "handlers": ["odp"]},
    },
)
logger = logging.getLogger("shop")


def bind_user(get_response):
    """Whatever is logged for a request is its user's."""

    def middleware(request):
        with bound_identifiers(fs_user_id=request.GET.get("user")):
            return get_response(request)

    return middleware


def buy(request, item):
    """Sell *item*."""
    logger.info(
        "purchase", extra={"odp_action": "purchased", "odp_data": {"item": item}}
    )
    return HttpResponse("sold\n")


urlpatterns = [path("", lambda request: HttpResponse()), path("buy/<item>", buy)]
application = get_wsgi_application()

if __name__ == "__main__":
    if sys.argv[1:]:
        raise SystemExit(execute_from_command_line(sys.argv))
    from serving import tried

    runserver = "django_app.py runserver --noreload {port}"
    failed = tried(runserver, stop=signal.SIGINT)
    raise SystemExit(failed or tried("-m gunicorn django_app --bind 127.0.0.1:{port}"))
