"""The command ``doctor``: find out why no events arrive."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict
from typing import Literal

from ..._capture.network_block import block_if_testing
from ..._client.stats import Stats
from ..._config.destination import Destination
from ..._runtime.diagnostics import print_line
from ..._runtime.text import format_count
from ..options import add_json_option, add_timeout_option, parse_text
from ..terminal import (
    DIM,
    FAILURE,
    STRONG,
    SUCCESS,
    WARNING,
    has_color,
    print_block,
    print_parts,
)
from .application import search_cwd, set_up_application
from .check_result import CheckResult, Kind
from .loggers import check_logging, find_clients
from .network import check_network, check_test_event
from .settings import check_environment, check_settings
from .source import check_sources
from .structlog import check_structlog

Application = Literal["not_named", "imported", "failed"]
"""What became of the application that the command line names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``doctor``."""
    parser.description = (
        "Checks settings, the way to ODP, loggers and spool, and says what to do."
        " Sends no event of its own without --send; what the imported module logs is"
        " sent as usual. Exit status 1 if there is a problem, else 0."
    )
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        type=parse_text,
        metavar="NAME",
        help="What sets up your logging: module, module:function, or module:dict for"
        " dictConfig. May be repeated.",
    )
    parser.add_argument(
        "--django",
        action="store_true",
        help="Set up Django first, by DJANGO_SETTINGS_MODULE.",
    )
    parser.add_argument(
        "--send",
        action="store_true",
        help="Send one event, odp_logging/doctor of fs_user_id odp-logging-doctor.",
    )
    add_timeout_option(
        parser, 5, maximum=300, text="Limit for each step on the network"
    )
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check what *options* name; return 1 if there is a problem, else 0."""
    return run_checks(
        options.imports,
        django=options.django,
        send=options.send,
        seconds=options.timeout,
        as_json=options.json,
    )


def run_checks(
    imports: Iterable[str],
    *,
    django: bool,
    send: bool,
    seconds: float,
    as_json: bool,
) -> int:
    """
    Check, print what was found, and return 1 if there is a problem, else 0.

    Args:
        imports: What sets up the application's logging: ``module``, or ``module:name``
            of a function to call or of a dict for dictConfig.
        django: Whether to set up Django, by DJANGO_SETTINGS_MODULE.
        send: Whether to send one event. What the application logs while it is set up
            is sent in any case.
        seconds: Time limit for each step on the network.
        as_json: Whether to print JSON.
    """
    # Tests of an application may start this command; they must not reach ODP.
    block_if_testing()
    names = list(imports)
    application: Application = "imported" if names or django else "not_named"
    results: list[CheckResult] = []
    known = frozenset(sys.modules)
    with nullcontext() if application == "not_named" else search_cwd():
        # What the application prints must not mix with the JSON on stdout.
        with redirect_stdout(sys.stderr):
            results += set_up_application(names, django=django)
        if any(result.kind == "problem" for result in results):
            application = "failed"
        results += [
            result
            for result in check_process(application, send=send, seconds=seconds)
            # A variable that cannot be used has made the import fail, too.
            if not any(result.found in previous.found for previous in results)
        ]
        if application == "imported":
            results += check_sources(known, [name.partition(":")[0] for name in names])
    problems = sum(result.kind == "problem" for result in results)
    if as_json:
        # "findings" and "problems" are keys of the public --json.
        content = [asdict(result) for result in results]
        print(json.dumps({"findings": content, "problems": problems}))
    else:
        _print_results(results)
    return 1 if problems else 0


def check_process(
    application: Application, *, send: bool, seconds: float
) -> Iterator[CheckResult]:
    """Check everything that can be seen from within this process."""
    from_environment, results = check_environment()
    yield from results
    configs = [(location, client._config) for location, client in find_clients()]
    # Without an application: what a client with no keywords would use.
    if not configs and from_environment is not None:
        configs = [("", from_environment)]
    seen: set[Destination] = set()
    for location, config in configs:
        for result in check_settings(
            config, is_complete=application != "failed", send=send
        ):
            yield result.add_location(location if len(configs) > 1 else "")
        # With a queue, it is the relay that sends to ODP.
        destination = None if config.queue_url else config.destination()
        if destination is not None and destination not in seen:
            seen.add(destination)
            yield from _check_delivery(destination, send=send, seconds=seconds)
    if application == "failed":
        # Their results would be consequences of the failure.
        yield CheckResult(
            "hint",
            "handlers",
            "loggers and structlog were not checked: the application is not set up",
            "fix the first problem, and run this command again",
        )
    else:
        yield from check_logging(imported=application == "imported")
        yield from check_structlog()
    for location, client in find_clients():
        stats = client.stats
        if stats.accepted or stats.last_error:
            yield _report_stats(stats).add_location(location)


def _check_delivery(
    destination: Destination, *, send: bool, seconds: float
) -> Iterator[CheckResult]:
    # The test event would only repeat a failure that is found here.
    results = list(check_network(destination, seconds=seconds))
    yield from results
    if send and not any(result.kind == "problem" for result in results):
        yield check_test_event(destination, seconds=seconds)


def _report_stats(stats: Stats) -> CheckResult:
    """Return what a client of this process has sent so far."""
    failed = sum(stats.rejected.values()) + sum(stats.dropped.values())
    text = (
        f"{format_count(stats.accepted, 'event')} so far: {stats.delivered} delivered,"
        f" {failed} rejected or dropped, {stats.pending + stats.spooled} waiting"
    )
    if not failed and not stats.last_error:
        return CheckResult("ok", "counts", text)
    counts = {**stats.rejected, **stats.dropped}
    if counts:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        text += f" ({reasons})"
    if stats.last_error:
        text += f"; the last error: {stats.last_error}"
    return CheckResult(
        "hint", "counts", text, "see the warnings of the logger odp_logging"
    )


def _print_results(results: Sequence[CheckResult]) -> None:
    counts = Counter(result.kind for result in results)
    # Sorting keeps the order of the checks: the first problem may cause the others.
    for result in sorted(results, key=lambda found: list(_STYLES).index(found.kind)):
        _print_result(result)
    print_parts(
        (
            format_count(counts["problem"], "problem"),
            FAILURE if counts["problem"] else "",
        ),
        (f", {format_count(counts['hint'], 'hint')}, {counts['ok']} ok", ""),
    )


_STYLES: dict[Kind, str] = {"problem": FAILURE, "hint": WARNING, "ok": SUCCESS}
"""The kinds of results, those to look at first before the others, and their styles."""


def _print_result(result: CheckResult) -> None:
    found = f"{result.check}: {result.found}"
    if has_color(sys.stdout):
        label = (result.kind, _STYLES[result.kind])
        if result.advice:
            # What to do comes first.
            print_block(label, (result.advice, STRONG), (found, DIM))
        else:
            print_block(label, (found, ""))
        return
    print_line(f"{result.kind:<8} {found}")
    if result.advice:
        print_line(f"{'':<8} -> {result.advice}")
