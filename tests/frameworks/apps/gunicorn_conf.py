"""gunicorn configures logging by itself, before the application does it again."""

logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"odp": {"class": "odp_logging.OdpHandler"}},
    "root": {"level": "INFO", "handlers": ["odp"]},
    # gunicorn adds loggers of its own, which name a handler "console".
    "loggers": {},
}
