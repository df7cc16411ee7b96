"""What the doctor sees in settings and environment: key, region, switches, spool."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ._config import Config, Destination, load, named_variables, region_advice
from ._finding import Finding, counted
from .exceptions import ConfigurationError

if TYPE_CHECKING:
    from types import ModuleType

_NEARLY_FULL = 0.8
_LITTLE = 100 * 1024 * 1024
"""Bytes free on a disk below which it is worth a word."""


def of_environment() -> tuple[Config | None, list[Finding]]:
    """Return what the environment alone configures, and what is odd about it."""
    warned: list[tuple[str, str]] = []
    try:
        config = load({}, warn=lambda kind, message: warned.append((kind, message)))
    except ConfigurationError as error:
        config = None
        warned.append(("environment:", str(error)))
    unread = [text for kind, text in warned if kind.startswith("environment:")]
    findings = [
        Finding("problem", "environment", text, "mend the variable, or unset it")
        for text in unread
    ]
    findings += [
        Finding("problem" if "?" in text else "hint", "environment", text, advice)
        for text in named_variables().values()
        for advice in [
            "give it a value, or unset it"
            if "empty" in text
            else "README's table of settings has the names that are read"
        ]
    ]
    return config, findings


def of_config(config: Config) -> Iterator[Finding]:
    """Look at what one client was configured with."""
    if not config.enabled:
        yield Finding(
            "problem",
            "enabled",
            f"enabled is off, from {config.source_of('enabled')}: nothing is sent",
            "set ODP_ENABLED=true, or leave it out",
        )
    destination = config.target()
    if config.queue_url is not None:
        yield Finding(
            "ok",
            "queue",
            f"events are handed to {config.queue_url.place}, from"
            f" {config.source_of('queue_url')}; `odp-logging relay status` looks there",
        )
    elif not isinstance(destination, Destination):
        yield Finding(
            "problem",
            "key",
            "ODP_API_KEY is not set, and neither api_key= nor a datafile names a key",
            "find the public key in ODP under Account Settings > APIs, or run"
            " `odp-logging emulator` and set ODP_API_KEY=test"
            " ODP_API_HOST=http://127.0.0.1:8181",
        )
    else:
        source = config.source_of("api_key")
        yield _key(f"the key {destination.api_key} is from {source}", config)
        where = config.source_of("api_host")
        chosen = "the key's region" if config.api_host is None else where
        wrong = region_advice(destination.api_key, destination.api_host)
        if wrong is not None:
            yield Finding("problem", "region", *wrong)
        else:
            text = f"events go to {destination.api_host}, from {chosen}"
            yield Finding("ok", "region", text)
    if config.spool is not None:
        account = destination.account if destination else None
        yield from _spool(config.spool, account, config.spool_max_bytes)


def _key(found: str, config: Config) -> Finding:
    key = config.api_key.reveal() if config.api_key is not None else ""
    if key.startswith("$") or key[:1] in "\"'<":
        return Finding(
            "problem",
            "key",
            f"{found}, and looks like a placeholder that nobody filled in",
            "give the public key itself; ${NAME} is filled in where NAME is set",
        )
    return Finding("ok", "key", found)


# The spool.


def _spool(home: Path, account: str | None, most: int) -> Iterator[Finding]:
    try:
        from .stores import _directory
    except ImportError as error:
        text = f"this Python has no module {error.name}, which a spool needs"
        yield Finding("problem", "spool", text, "use a Python that has it")
        return
    if not home.exists():
        yield _not_there(home)
        return
    odd = _unusable(home, _directory)
    if odd:
        advice = "name a directory of its own that only this user can enter"
        yield Finding("problem", "spool", f"{home} cannot be used: {odd}", advice)
        return
    if _directory.is_network(home):
        text = f"{home} lies on a network file system, where locks are uncertain"
        yield Finding("hint", "spool", text, "use a local disk")
    yield from _contents(home, account, most)


def _not_there(home: Path) -> Finding:
    above = next(each for each in home.parents if each.exists())
    if os.access(above, os.W_OK | os.X_OK):
        return Finding("ok", "spool", f"{home} is made when it is first needed")
    return Finding(
        "problem",
        "spool",
        f"{home} is not there, and {above} is not ours to write to",
        "make it, and give it to the user that the application runs as",
    )


def _unusable(home: Path, _directory: ModuleType) -> str:
    found = os.lstat(home)
    if stat.S_ISLNK(found.st_mode):
        return "it is a symbolic link"
    if not stat.S_ISDIR(found.st_mode):
        return "it is no directory"
    if found.st_uid != os.geteuid():
        return "it belongs to another user"
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return "it is not ours to write to"
    others = stat.S_IMODE(found.st_mode) & 0o077
    if others and any(_directory.SUFFIX not in name for name in os.listdir(home)):
        return "it is open to other users and holds other files"
    return ""


def _contents(home: Path, account: str | None, most: int) -> Iterator[Finding]:
    from .stores import _directory
    from .stores._spoolfile import SpoolError
    from .stores._visit import Glance

    events = dead = size = waiting = 0
    others, unreadable = [], []
    paths = _directory.spools(home)
    for path in paths:
        mine = _directory.account_of(path) in (account, _directory.UNKNOWN)
        if not mine:
            others.append(path)
        try:
            with Glance(path) as glance:
                count, buried, weight = glance.totals()
        except SpoolError:
            unreadable += [path] if path.exists() else []
            continue
        events, dead, size = events + count, dead + buried, size + weight
        if mine and not _directory.is_claimed(path):
            waiting += count
    full = size > most * _NEARLY_FULL
    yield Finding(
        "hint" if full else "ok",
        "spool",
        f"{home} holds {counted(events, 'event')} and {counted(dead, 'dead letter')}"
        f" in {counted(len(paths), 'file')}, {size:,} of {most:,} bytes",
        "nearly full: the oldest are dropped next; see why ODP does not take them"
        if full
        else "",
    )
    if waiting:
        text = f"{counted(waiting, 'event')} of processes that are gone wait there"
        advice = "the next process with this key sends them, or: odp-logging replay"
        yield Finding("hint", "spool", text, advice)
    if dead:
        text = f"ODP rejected {counted(dead, 'event')}, with its reason"
        yield Finding("hint", "spool", text, "see odp-logging dead list")
    if others:
        text = f"{counted(len(others), 'file')} there belong to other keys or hosts"
        advice = "only a process with their key and host sends them"
        yield Finding("hint", "spool", text, advice)
    damaged = len(list(home.glob("*.damaged"))) + len(unreadable)
    if damaged:
        text = f"{counted(damaged, 'file')} there cannot be read"
        yield Finding("hint", "spool", text, "look at them, or delete them")
    free = shutil.disk_usage(home).free
    if free < _LITTLE:
        text = f"its disk has {free:,} bytes left"
        yield Finding("problem", "spool", text, "make room, or move the spool")
