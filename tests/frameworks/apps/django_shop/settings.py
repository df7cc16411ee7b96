"""A Django project; LOGGING is all that it has of ours."""

import os

SECRET_KEY = "test"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "django_shop.urls"
WSGI_APPLICATION = "django_shop.wsgi.application"
MIDDLEWARE = ["django_shop.urls.bind_user"]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": "SHOP_DISABLES" in os.environ,
    "handlers": {"odp": {"class": "odp_logging.OdpHandler"}},
    "root": {"level": "INFO", "handlers": ["odp"]},
}
