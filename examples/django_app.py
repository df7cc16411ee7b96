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

settings.configure(
    SECRET_KEY="an example's",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["odp_logging.django.IdentifierMiddleware"],
    ODP_IDENTIFY=f"{__name__}.find_user",  # by default, the user who is logged in
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "console": {"class": "logging.StreamHandler"},
            "odp": {"class": "odp_logging.OdpHandler"},  # the key is in ODP_API_KEY
        },
        "root": {"level": "INFO", "handlers": ["console", "odp"]},
    },
)
logger = logging.getLogger("shop")


def find_user(request):
    """Return the identifiers of the user whose request it is."""
    return {"fs_user_id": request.GET.get("user")}


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
