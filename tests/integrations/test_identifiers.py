"""Middleware that binds the identifiers of the current user."""

from __future__ import annotations

import asyncio
import json
import logging
import textwrap
from collections.abc import Iterator
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest

from odp_logging import ConfigurationError, OdpHandler, asgi, bind_identifiers, wsgi

from ..interpreter import run_code


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger with an OdpHandler of its own."""
    found = logging.getLogger("identified")
    found.setLevel(logging.INFO)
    handler = OdpHandler("test")
    found.addHandler(handler)
    yield found
    found.removeHandler(handler)
    handler.close()


def log_event(logger: logging.Logger) -> None:
    logger.info("x", extra={"odp_action": "seen", "odp_identifiers": {"vuid": "v1"}})


def users(events) -> list[str | None]:
    return [event.identifiers.get("fs_user_id") for event in events]


def ask(app, **environ):
    """Call a WSGI *app* as a server does, and return its body."""
    setup_testing_defaults(environ)
    response = app(environ, lambda status, headers: None)
    try:
        return list(response)
    finally:
        getattr(response, "close", lambda: None)()


def find_user(environ):
    return {"fs_user_id": environ.get("REMOTE_USER")}


class TestWsgi:
    def test_what_a_part_binds_holds_for_the_next_one(self, logger, odp_events):
        """A generator keeps what it binds between its parts, and only there."""

        def app(environ, start_response):
            yield b"1"
            bind_identifiers(fs_user_id="second")
            yield b"2"
            log_event(logger)

        response = wsgi.IdentifierMiddleware(app, find_user)(
            {"REMOTE_USER": "first"}, None
        )
        parts = iter(response)
        next(parts), next(parts)
        log_event(logger)  # between the parts
        list(parts)
        log_event(logger)

        assert users(odp_events) == [None, "second", None]

    def test_closing_a_response_has_the_identifiers(self, logger, odp_events):
        """What the application logs while its response is closed is its user's."""

        class Response:
            def __iter__(self):
                return iter([b"1"])

            def close(self):
                log_event(logger)

        app = wsgi.IdentifierMiddleware(lambda *_: Response(), find_user)
        assert ask(app, REMOTE_USER="u1") == [b"1"]
        assert users(odp_events) == ["u1"]

    def test_a_response_without_code_is_returned_as_it_is(self, tmp_path):
        """A server sends a file with sendfile() only if it gets its own object."""
        path = tmp_path / "file"
        path.write_bytes(b"content")
        with open(path, "rb") as file:
            for response in ([b"1"], (b"1",), FileWrapper(file)):
                environ = {"wsgi.file_wrapper": FileWrapper, "response": response}
                app = wsgi.IdentifierMiddleware(
                    lambda env, _: env["response"], find_user
                )
                assert app(environ, None) is response

    def test_an_outer_middleware_adds_its_identifiers(self, odp_events, logger):
        """Two middlewares of one request add up; a later request has its own."""

        def app(environ, start_response):
            log_event(logger)
            return []

        inner = wsgi.IdentifierMiddleware(app, find_user)
        outer = wsgi.IdentifierMiddleware(inner, lambda _: {"email": "a@example.com"})
        ask(outer, REMOTE_USER="u1")
        ask(inner)
        bind_identifiers(fs_user_id="of the thread")
        ask(inner)

        assert [dict(event.identifiers) for event in odp_events] == [
            {"vuid": "v1", "email": "a@example.com", "fs_user_id": "u1"},
            {"vuid": "v1"},
            {"vuid": "v1"},
        ]

    @pytest.mark.parametrize("found", [{"fs_user_id": None}, {}, None])
    def test_no_user(self, logger, odp_events, caplog, found):
        """A request may have no user, which is no mistake."""
        app = wsgi.IdentifierMiddleware(lambda *_: [log_event(logger)], lambda _: found)
        ask(app)
        assert users(odp_events) == [None]
        assert "identify" not in caplog.text

    @pytest.mark.parametrize(
        ("identify", "cause"),
        [
            (lambda environ: environ["NO_SUCH"], "it raised KeyError at "),
            (lambda environ: "user1", "it returned str, not a dict"),
            (lambda environ: {1: "user1"}, "it returned dict, not a dict of text"),
        ],
    )
    def test_a_failure_is_told_and_the_request_goes_on(
        self, logger, odp_events, caplog, identify, cause
    ):
        """The line names function, class and place, and no value."""
        identify.__qualname__ = f"find_{abs(hash(cause))}"  # each kind once a minute
        app = wsgi.IdentifierMiddleware(lambda *_: [log_event(logger)], identify)
        ask(app)
        assert users(odp_events) == [None]
        [line] = [
            record.getMessage()
            for record in caplog.records
            if "identify" in record.getMessage()
        ]
        assert cause in line
        assert "user1" not in line

    def test_flask_can_use_its_session(self, logger, odp_events):
        """`identify` runs with Flask's request and session, before other functions."""
        flask = pytest.importorskip("flask")
        app = flask.Flask("shop")
        app.secret_key = "test"

        @app.before_request
        def check():
            log_event(logger)

        @app.get("/login")
        def login():
            flask.session["user"] = "u1"
            return "in"

        @app.get("/buy")
        def buy():
            log_event(logger)
            return "sold"

        wsgi.init_app(app, lambda _: {"fs_user_id": flask.session.get("user")})
        client = app.test_client()
        assert client.get("/login").status_code == 200
        assert client.get("/buy").status_code == 200
        assert users(odp_events) == [None, "u1", "u1"]


class TestAsgi:
    def test_identify_may_be_a_coroutine_function(self, logger, odp_events):
        """A session store is asked without blocking the loop."""

        async def find(scope):
            await asyncio.sleep(0)
            return {"fs_user_id": scope["user"]}

        async def app(scope, receive, send):
            log_event(logger)

        async def serve():
            shop = asgi.IdentifierMiddleware(app, find)
            await asyncio.gather(
                *(shop({"type": "http", "user": f"u{n}"}, None, None) for n in range(5))
            )
            log_event(logger)

        asyncio.run(serve())
        assert sorted(users(odp_events), key=str) == [
            None,
            "u0",
            "u1",
            "u2",
            "u3",
            "u4",
        ]

    def test_only_requests_have_a_user(self, logger, odp_events):
        """The lifespan of a server is no request; a WebSocket connection is one."""

        async def app(scope, receive, send):
            log_event(logger)

        shop = asgi.IdentifierMiddleware(app, lambda scope: {"fs_user_id": "u1"})
        for kind in ("lifespan", "websocket", "http"):
            asyncio.run(shop({"type": kind}, None, None))
        assert users(odp_events) == [None, "u1", "u1"]

    def test_a_request_that_starts_within_another_has_its_own_user(
        self, logger, odp_events
    ):
        """Servers start the next request of a connection in the context of the last."""

        async def app(scope, receive, send):
            log_event(logger)
            if "next" in scope:
                await asyncio.create_task(shop(scope["next"], receive, send))

        shop = asgi.IdentifierMiddleware(
            app, lambda scope: {"fs_user_id": scope.get("user")}
        )
        second = {"type": "http"}
        asyncio.run(shop({"type": "http", "user": "u1", "next": second}, None, None))
        assert users(odp_events) == ["u1", None]

    def test_an_error_is_told(self, logger, odp_events, caplog):
        """A coroutine that raises is reported, and the request goes on."""

        async def find_nobody(scope):
            raise LookupError("secret")

        async def app(scope, receive, send):
            log_event(logger)

        asyncio.run(
            asgi.IdentifierMiddleware(app, find_nobody)({"type": "http"}, None, None)
        )
        assert users(odp_events) == [None]
        assert "find_nobody found no user: it raised LookupError at " in caplog.text
        assert "secret" not in caplog.text


def run_program(text: str) -> Any:
    """Run a program in a process of its own; return what it printed as JSON."""
    return json.loads(" ".join(run_code(textwrap.dedent(text))))


DJANGO = """
    import asyncio, json, logging
    import django
    from django.conf import settings
    from django.http import HttpResponse
    from django.urls import path
    settings.configure(
        ALLOWED_HOSTS=["testserver"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": NAME}},
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes",
                        "django.contrib.sessions"],
        LOGGING_CONFIG=None,
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware",
                    "django.contrib.auth.middleware.AuthenticationMiddleware",
                    "odp_logging.django.IdentifierMiddleware"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="test",
    )
    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import AsyncClient, Client
    from odp_logging import OdpHandler
    from odp_logging.testing import capture

    logger = logging.getLogger("shop")
    logger.setLevel("INFO")
    logger.addHandler(OdpHandler("test"))

    def buy(request):
        logger.info("x", extra={"odp_action": "sold",
                                "odp_identifiers": {"vuid": "v1"}})
        return HttpResponse("sold")

    async def buy_async(request):
        return buy(request)

    urlpatterns = [path("buy", buy), path("async", buy_async)]
    call_command("migrate", verbosity=0)
    user = User.objects.create_user("ann")

    async def ask_async():
        client = AsyncClient()
        await client.get("/async")
        await client.aforce_login(user)
        await client.get("/async")

    with capture() as events:
        client = Client()
        client.get("/buy")
        client.force_login(user)
        client.get("/buy")
        asyncio.run(ask_async())
    print(json.dumps([event.identifiers.get("fs_user_id") for event in events]))
"""


def test_django_knows_who_is_logged_in(tmp_path):
    """Without ODP_IDENTIFY, the primary key of Django's user is the fs_user_id."""
    name = repr(str(tmp_path / "shop.sqlite3"))
    assert run_program(DJANGO.replace("NAME}", f"{name}}}")) == [None, "1", None, "1"]


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("no.such.function", "'no.such.function' cannot be imported"),
        (3, "is int, not a function"),
    ],
)
def test_django_setting_that_is_no_function(value, cause):
    """A wrong ODP_IDENTIFY is told when Django starts."""
    found = run_program(
        f"""
        import json
        from django.conf import settings
        settings.configure(ODP_IDENTIFY={value!r})
        from odp_logging import ConfigurationError
        from odp_logging.django import IdentifierMiddleware
        try:
            IdentifierMiddleware(lambda request: None)
        except ConfigurationError as error:
            print(json.dumps(str(error)))
        """
    )
    assert found.startswith("ODP_IDENTIFY")
    assert cause in found
    assert issubclass(ConfigurationError, ValueError)


CELERY = """
    import json, logging
    from celery import Celery
    from celery.contrib.testing.worker import start_worker
    import odp_logging, odp_logging.celery
    from odp_logging.testing import capture

    logger = logging.getLogger("shop")
    logger.setLevel("INFO")
    logger.addHandler(odp_logging.OdpHandler("test"))
    app = Celery(broker="memory://", backend="cache+memory://")
    app.conf.broker_transport_options = {"polling_interval": 0.02}
    odp_logging.celery.connect()
    odp_logging.celery.connect()

    @app.task(bind=True, max_retries=1, default_retry_delay=0)
    def sell(self, name, then=None):
        logger.info("x", extra={"odp_action": name, "odp_identifiers": {"vuid": "v1"}})
        odp_logging.bind_identifiers(email="left@example.com")
        if name == "retried" and not self.request.retries:
            raise self.retry(countdown=0)
        if name == "failed":
            raise LookupError
        if then:
            sell.delay(then).get(disable_sync_subtasks=False)

    with capture() as events, start_worker(
        app, pool="threads", concurrency=2, perform_ping_check=False
    ):
        def call(name, **more):
            sold = sell.delay(name, **more)
            sold.get(timeout=20, interval=0.02, propagate=False)
        call("nobody")
        with odp_logging.bound_identifiers(fs_user_id="u1"):
            call("known")
            call("retried")
            call("failed")
            call("outer", then="inner")
            sell.apply(args=["eager"])
            sell.apply_async(args=["headed"], headers={"x": "y"}).get(timeout=20)
        call("nobody")
    print(json.dumps([[e.action, e.identifiers.get("fs_user_id"),
                       "email" in e.identifiers] for e in events]))
"""


def test_celery_task_has_the_identifiers_of_its_caller():
    """They are bound for one task, its retries and the tasks that it calls."""
    assert run_program(CELERY) == [
        ["nobody", None, False],
        ["known", "u1", False],
        ["retried", "u1", False],
        ["retried", "u1", True],
        ["failed", "u1", False],
        ["outer", "u1", False],
        ["inner", "u1", True],
        ["eager", "u1", False],
        ["headed", "u1", True],  # the eager task has bound it in the caller's context
        ["nobody", None, False],
    ]
