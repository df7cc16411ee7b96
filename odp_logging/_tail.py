"""The command ``tail``: what arrives in a spool, and what becomes of it."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._event import restored
from ._finding import counted
from ._reports import masked
from ._spools import event_shown
from .stores import _directory
from .stores._spoolfile import SpoolError
from .stores._visit import Glance

POLL = 0.1
"""Seconds between two looks; what comes and goes in between is only counted."""

Tell = Callable[[dict[str, Any]], None]


class Enough(Exception):
    """As many lines as were asked for are printed."""


def tail(
    home: Path,
    *,
    as_json: bool,
    show: bool,
    seconds: float | None = None,
    lines: int | None = None,
) -> int:
    """
    Print a line for each event that arrives in *home* or leaves it, until Ctrl-C.

    Args:
        show: Whether to show identifiers.
        seconds: When to stop, if not at Ctrl-C.
        lines: After how many lines to stop, likewise.
    """
    if not home.is_dir():
        print(f"there is no spool at {home} yet; waiting for it", file=sys.stderr)
    printed = [0]

    def tell(told: dict[str, Any]) -> None:
        print(json.dumps(told) if as_json else _line(told), flush=True)
        printed[0] += 1
        if lines is not None and printed[0] >= lines:
            raise Enough

    deadline = None if seconds is None else time.monotonic() + seconds
    follower = Follower(home, tell, show=show)
    pause = threading.Event()
    try:
        waiting = follower.begin()
        print(f"{counted(waiting, 'event')} waiting in {home}", file=sys.stderr)
        while deadline is None or time.monotonic() < deadline:
            pause.wait(POLL)
            follower.look()
        follower.end()
    except Enough:
        pass
    except KeyboardInterrupt:
        try:
            follower.end()
        except Enough:
            pass
    return 0


class Follower:
    """
    Looks at every file of a spool, again and again, and tells what has changed.

    It opens each file for reading alone, and lets it go after each look: no writer
    waits for it, and a file may come and go.
    """

    def __init__(self, home: Path, tell: Tell, *, show: bool) -> None:
        self._home = home
        self._tell = tell
        self._show = show
        self._here: dict[Path, dict[int, dict[str, Any]]] = {}
        self._dead: dict[Path, set[int]] = {}
        self._highest: dict[Path, int] = {}

    def begin(self) -> int:
        """Note what is there without a word on it; return how many events that are."""
        told, self._tell = self._tell, lambda told: None
        self.look()
        self._tell = told
        return sum(map(len, self._here.values()))

    def look(self) -> None:
        """Tell what has changed since the last look."""
        paths = _directory.spools(self._home)
        for path in paths:
            try:
                with Glance(path) as glance:
                    self._compare(path, glance)
            except SpoolError:
                continue  # gone meanwhile, or being made: the next look will tell
        for path in [path for path in self._here if path not in paths]:
            # Its last event has left it, or somebody removed it.
            for told in self._here.pop(path).values():
                self._say("delivered", told)
            self._dead.pop(path, None)
            self._highest.pop(path, None)

    def end(self) -> None:
        """Tell what is left."""
        for known in self._here.values():
            for told in known.values():
                self._say("left", told)

    def _compare(self, path: Path, glance: Glance) -> None:
        here = self._here.setdefault(path, {})
        buried = self._dead.setdefault(path, set())
        numbers, dead = glance.numbers(), glance.dead_numbers()
        fresh = sorted(numbers - here.keys())
        newly = sorted(dead - buried)
        highest = self._highest.get(path)
        self._highest[path] = max((highest or 0), *numbers, *dead, 0)
        for number in fresh:
            here[number] = told = self._told(path, number, glance.event(number))
            self._say("arrived", told)
        for number in newly:
            buried.add(number)
            letter = glance.letter(number)
            known = here.pop(number, None)
            if letter is not None:
                told = known or self._told(path, number, letter[0])
                self._say("rejected", told, reason=self._reason(*letter))
        for number in sorted(here.keys() - numbers):
            self._say("delivered", here.pop(number))
        buried &= dead
        if highest is not None:
            unseen = set(range(highest + 1, self._highest[path] + 1)) - numbers - dead
            if unseen:
                self._say("unseen", {"file": path.name, "count": len(unseen)})

    def _say(self, what: str, told: dict[str, Any], **more: Any) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._tell({"at": now, "what": what, **told, **more})

    def _told(self, path: Path, number: int, body: bytes | None) -> dict[str, Any]:
        told = {"id": f"{path.stem.rpartition('-')[2]}-{number}", "file": path.name}
        try:
            event = restored(body or b"")
        except ValueError:  # gone, or damaged
            return {**told, "event": None}
        return {**told, "event": event_shown(event, show=self._show)}

    def _reason(self, body: bytes, reason: str) -> str:
        try:
            return reason if self._show else masked(reason, restored(body))
        except ValueError:
            return "***"


def _line(told: dict[str, Any]) -> str:
    start = f"{told['at'][11:19]}  {told['what']:<9} "
    if told["what"] == "unseen":
        return f"{start} {counted(told['count'], 'event')} came and went in between"
    event = told["event"] or {"type": "?", "action": "?", "identifiers": {}}
    who = ", ".join(f"{name}={each}" for name, each in event["identifiers"].items())
    reason = f"  {told['reason']}" if "reason" in told else ""
    what = f"{event['type']}/{event['action']}"
    text = f"{start} {told['id']}  {what}  {who}{reason}"
    return "".join(c if c.isprintable() else "?" for c in text)
