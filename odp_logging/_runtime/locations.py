"""
Says where in the application's code a call, a function or an error is.

For messages about the functions that an application passes, such as `before_send`. They
never quote the text of an exception, which may hold an identifier.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_DEFERRED = 0x20 | 0x80 | 0x200
"""Flags of the code of generators and coroutines, which return no value themselves; see
`inspect.CO_GENERATOR`, `CO_COROUTINE` and `CO_ASYNC_GENERATOR`."""

_PACKAGE = __name__.partition(".")[0]


def find_caller(
    is_skipped: Callable[[str], bool] | None = None,
) -> tuple[str, int] | None:
    """
    Return file and line of the call of the function that calls this.

    Args:
        is_skipped: Whether to go on to the caller of a module of this name.
    """
    try:
        frame = sys._getframe(2)  # past this function and the one that calls it
    except (AttributeError, ValueError):  # not CPython, or called from C
        return None
    while (
        is_skipped is not None
        and frame.f_back is not None
        and is_skipped(str(frame.f_globals.get("__name__")))
    ):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def format_location(location: tuple[str, int] | None) -> str:
    """Return file and line as one text; empty if they are not known."""
    return f"{location[0]}:{location[1]}" if location else ""


def find_function(callback: Any) -> Any:
    """Return the Python function that *callback* runs; None if there is none."""
    for _ in range(10):  # a partial of a method of an object, for example
        if hasattr(callback, "__code__"):
            return callback
        if hasattr(callback, "func"):  # functools.partial
            callback = callback.func
        elif hasattr(callback, "__func__"):
            callback = callback.__func__
        else:
            kind: Any = type(callback)
            return kind.__call__ if hasattr(kind.__call__, "__code__") else None
    return None


def format_callback(setting: str, callback: Any) -> str:
    """Return setting, name, file and line of *callback*, as far as they are known."""
    function = find_function(callback)
    named = callback if function is None else function
    name = getattr(named, "__qualname__", type(callback).__qualname__)
    text = f"{setting}={name}"
    if function is None:
        return text
    code = function.__code__
    return f"{text} ({code.co_filename}:{code.co_firstlineno})"


def format_error(setting: str, callback: Any, error: BaseException) -> str:
    """Return what *callback* raised, and at which line of the application."""
    location = find_location(error)
    if not location:  # raised by a function in C
        return f"{format_callback(setting, callback)} raised {type(error).__name__}"
    named = find_function(callback) or callback
    name = getattr(named, "__qualname__", type(callback).__qualname__)
    return f"{setting}={name} raised {type(error).__name__} at {location}"


def find_location(error: BaseException) -> str:
    """Return file and line of the first frame outside this library; empty if none."""
    # Not the last frame: it may be in a library that the application called.
    trace = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__") or "")
        if module.partition(".")[0] != _PACKAGE:
            return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return ""


def never_returns_value(callback: Any) -> bool:
    """
    Whether *callback* certainly returns None, such as for lack of a ``return``.

    False if it has a branch: the value then depends on the event.
    """
    code = getattr(find_function(callback), "__code__", None)
    if code is None or code.co_flags & _DEFERRED:
        return False
    import dis  # 2 ms; needed with a before_send only

    returns = previous = None
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if "_IF_" in name:
            return False
        if name.startswith("RETURN_"):
            # CPython 3.12 and 3.13 have RETURN_CONST for a constant.
            source = instruction if name == "RETURN_CONST" else previous
            if source is None or not _is_none(source):
                return False
            returns = instruction
        previous = instruction
    return returns is not None


def _is_none(instruction: Any) -> bool:
    is_load = instruction.opname in ("LOAD_CONST", "RETURN_CONST")
    return is_load and instruction.argval is None
