"""Find the engine of a queue by the scheme of its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..._config.queue_url import QueueUrl
    from .base import QueueEngine


def find_engine(url: QueueUrl) -> type[QueueEngine]:
    """
    Return the class `Engine` for *url*, ready to be instantiated.

    All its imports happen here. At interpreter exit, when the last events are sent, a
    thread cannot import: `redis` loads `concurrent.futures`, which raises then.

    Raises:
        ImportError: A module that the engine needs is not installed.
    """
    engine = import_engine(url)
    engine.load()
    return engine


def import_engine(url: QueueUrl) -> type[QueueEngine]:
    """
    Return the class `Engine` of the module that is named after the scheme of *url*.

    Its client library need not be installed: for methods of the class alone.
    """
    from importlib import import_module

    module: Any = import_module(f"{__package__}.{url.engine}")
    engine: type[QueueEngine] = module.Engine
    return engine


def _build_engines(url: QueueUrl) -> list[QueueEngine]:  # pragma: no cover
    """
    Name every engine; not called.

    PyInstaller looks for import statements. mypy reports a missing method where a class
    is instantiated.
    """
    from . import postgresql, redis

    return [postgresql.Engine(url), redis.Engine(url)]
