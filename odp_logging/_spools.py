"""The commands that look after a spool: status, dead letters, replay."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._client import OdpClient
from ._config import load
from ._event import OdpEvent, restored
from ._reports import masked
from .exceptions import ConfigurationError
from .stores import _directory
from .stores._spoolfile import SpoolError, SpoolFile
from .stores._visit import DeadLetter, Visit

_POLL = 0.1


class Failed(Exception):
    """A command cannot do what it was asked to; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Buried:
    """A dead letter, the file it is in, and the id by which commands name it."""

    id: str
    path: Path
    letter: DeadLetter


def home(given: str | None) -> Path:
    """
    Return the directory that was *given*, or that of ``ODP_SPOOL``.

    Raises:
        Failed: There is neither.
    """
    try:
        found = load({"spool": given}, warn=lambda kind, message: None).spool
    except ConfigurationError as error:
        raise Failed(str(error)) from None
    if found is None:
        raise Failed("which spool? name its directory with --spool, or set ODP_SPOOL")
    return found


def status(home: Path, *, as_json: bool) -> int:
    """Print what waits in the spool *home*; return the exit status."""
    found = [_state(path) for path in _files(home)]
    if as_json:
        print(json.dumps({"spool": str(home), "files": found}))
        return 0
    for each in found:
        print(
            f"{each['file']}: {each['events']} events, {each['dead']} dead letters,"
            f" {each['bytes']:,} bytes, {each['state']}"
            + (f", oldest event {each['oldest']}" if each["oldest"] else "")
        )
    print(
        f"{home}: {sum(each['events'] for each in found)} events,"
        f" {sum(each['dead'] for each in found)} dead letters in {len(found)} files"
    )
    return 0


def _files(home: Path) -> list[Path]:
    if not home.is_dir():
        raise Failed(f"there is no spool at {home}; name its directory with --spool")
    return _directory.spools(home)


def _state(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {
        "file": path.name,
        "account": _directory.account_of(path),
        "events": 0,
        "dead": 0,
        "bytes": 0,
        "oldest": None,
    }
    found["state"] = "in use" if _in_use(path) else "waiting"
    try:
        with Visit(path) as visit:
            found |= {"events": visit.count, "dead": visit.dead_count}
            found["bytes"] = visit.size + visit.dead_size
            found["oldest"] = _moment(visit.first())
    except SpoolError as error:
        found["state"] = f"unreadable: {error}"
    return found


def _moment(body: bytes | None) -> str | None:
    """Return when the event of *body* was logged."""
    try:
        stamp = restored(body or b"").data.get("ts")
    except ValueError:
        return None
    return at(stamp) if isinstance(stamp, (int, float)) else stamp


def at(seconds: float) -> str:
    """Return epoch *seconds* as people read a moment."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


# Dead letters.


def dead_list(home: Path, *, as_json: bool, show: bool) -> int:
    """Print the dead letters of the spool *home*, a line each."""
    return listed([_told(each, show=show) for each in _buried(home)], as_json=as_json)


def listed(found: Sequence[dict[str, Any]], *, as_json: bool) -> int:
    """Print dead letters as `told` describes them, a line each."""
    if as_json:
        print(json.dumps(found))
        return 0
    for each in found:
        who = ", ".join(f"{k}={v}" for k, v in each["event"]["identifiers"].items())
        what = f"{each['event']['type']}/{each['event']['action']}"
        print(f"{each['id']}  {each['buried']}  {what}  {who}  {each['reason']}")
    if not found:
        print("no dead letters")
    return 0


def dead_show(home: Path, name: str, *, as_json: bool, show: bool) -> int:
    """Print one dead letter whole."""
    (found,) = _chosen(home, [name])
    told = _told(found, show=show)
    print(json.dumps(told) if as_json else json.dumps(told, indent=2))
    return 0


def dead_retry(home: Path, names: Sequence[str], *, as_json: bool) -> int:
    """Have dead letters sent again, by the next process that uses the spool."""
    chosen = _chosen(home, names)
    accounts = {_directory.account_of(each.path) for each in chosen}
    for account in sorted(accounts):
        mine = [each for each in chosen if _directory.account_of(each.path) == account]
        # First there, then gone here: rather twice than never.
        file = SpoolFile(_directory.create(home, account))
        file.add([each.letter.body for each in mine], 1)
        file.close()
        _exhume(mine)
    return said("retried", len(chosen), as_json=as_json)


def dead_drop(home: Path, names: Sequence[str], *, as_json: bool) -> int:
    """Delete dead letters."""
    chosen = _chosen(home, names)
    _exhume(chosen)
    return said("dropped", len(chosen), as_json=as_json)


def said(what: str, count: int, *, as_json: bool) -> int:
    """Print how many dead letters were retried or dropped."""
    letters = f"{count} dead letter{'s' * (count != 1)} {what}"
    print(json.dumps({what: count}) if as_json else letters)
    return 0


def _exhume(chosen: Sequence[Buried]) -> None:
    for path in {each.path for each in chosen}:
        with Visit(path) as visit:
            visit.exhume([each.letter.number for each in chosen if each.path == path])
            empty = not (visit.count or visit.dead_count - len(chosen))
        claim = _directory.claim_file(path) if empty else None
        if claim is not None:
            SpoolFile(claim).close()  # which removes it if it is void


def _buried(home: Path) -> list[Buried]:
    found = []
    for path in _files(home):
        # account-pid-token.spool
        token = path.stem.rpartition("-")[2]
        try:
            with Visit(path) as visit:
                letters = visit.dead_letters()
        except SpoolError as error:
            print(f"odp-logging: {path.name}: {error}; left out", file=sys.stderr)
            continue
        found += [Buried(f"{token}-{each.number}", path, each) for each in letters]
    return sorted(found, key=lambda each: each.letter.buried)


def _chosen(home: Path, names: Sequence[str]) -> list[Buried]:
    """Return the dead letters with *names*, all of them if there are none."""
    found = {each.id: each for each in _buried(home)}
    for name in names:
        if name not in found:
            raise Failed(f"there is no dead letter {name}; see odp-logging dead list")
    return [found[name] for name in names] if names else list(found.values())


def _told(found: Buried, *, show: bool) -> dict[str, Any]:
    letter = found.letter
    known = {"id": found.id, "file": found.path.name, "buried": at(letter.buried)}
    return {**known, **told(letter.body, letter.reason, show=show)}


def told(body: bytes, reason: str, *, show: bool) -> dict[str, Any]:
    """Return reason and event of a dead letter; *show* whom it is about, or mask it."""
    try:
        event = restored(body)
    except ValueError:
        nothing: dict[str, Any] = {"type": "?", "action": "?", "identifiers": {}}
        return {"reason": reason, "event": nothing}
    reason = reason if show else masked(reason, event)
    return {"reason": reason, "event": event_shown(event, show=show)}


def event_shown(event: OdpEvent, *, show: bool) -> dict[str, Any]:
    """Return the body of *event*; unless *show*, with identifiers masked."""
    if show:
        return event.to_dict()
    # Wherever it stands: data often repeats whom it is about.
    who = sorted(event.identifiers.values(), key=len, reverse=True)
    body = {**event.to_dict(), "data": _without(event.to_dict()["data"], who)}
    return {**body, "identifiers": dict.fromkeys(event.identifiers, "***")}


def _without(value: Any, who: Sequence[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(each, who) for key, each in value.items()}
    if isinstance(value, list):
        return [_without(each, who) for each in value]
    if isinstance(value, str):
        for each in who:
            value = re.sub(re.escape(each), "***", value, flags=re.IGNORECASE)
        return value
    return "***" if json.dumps(value) in who else value


# Replay.


def replay(home: Path, *, timeout: float, as_json: bool) -> int:
    """Send what processes that are gone left in the spool *home*."""
    paths = _files(home)
    try:
        found = load({}, warn=lambda kind, message: None).target()
    except ConfigurationError as error:
        raise Failed(str(error)) from None
    if found is None:
        raise Failed("ODP_API_KEY is not set; set it to the key the events are for")
    names = {found.account, _directory.UNKNOWN}
    theirs = [path for path in paths if _directory.account_of(path) not in names]
    mine = [path for path in paths if path not in theirs and not _in_use(path)]
    total = _left(mine)
    client = OdpClient(spool=str(home), background=True)
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    with progress(total, as_json=as_json) as show:
        left = total
        while left and time.monotonic() < deadline:
            pause.wait(_POLL)
            left = _left(mine)
            show(total - left)
    client.close(5.0)
    sent = client.stats.replayed
    told = {"found": total, "sent": sent, "left": _left(mine), "other": len(theirs)}
    told["in_use"] = len(paths) - len(mine) - len(theirs)
    if as_json:
        print(json.dumps(told))
    else:
        print(f"{sent} of {total} events sent, {told['left']} left", end="")
        print(f"; {told['other']} files of other keys" if theirs else "", end="")
        print(f"; {told['in_use']} files in use" if told["in_use"] else "")
    return 0 if not told["left"] else 1


def _in_use(path: Path) -> bool:
    """Whether a living process has the file, and sends what is in it."""
    claim = _directory.claim_file(path)
    if claim is not None:
        claim.release()
    return claim is None


def _left(paths: Sequence[Path]) -> int:
    total = 0
    for path in paths:
        try:
            with Visit(path) as visit:
                total += visit.count
        except SpoolError:
            continue  # sent and removed meanwhile, or set aside and said so
    return total


@contextmanager
def progress(total: int, *, as_json: bool) -> Iterator[Callable[[int], None]]:
    """Yield what shows how many are done: a bar on a terminal, or a line a second."""
    if as_json or not total:
        yield lambda done: None
        return
    if sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.progress import Progress
        except ImportError:
            pass
        else:
            with Progress(console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task("replay", total=total)
                yield lambda done: bar.update(task, completed=done)
            return
    last = [time.monotonic()]

    def line(done: int) -> None:
        if time.monotonic() - last[0] >= 1:
            last[0] = time.monotonic()
            print(f"{done} of {total} events sent", file=sys.stderr, flush=True)

    yield line
