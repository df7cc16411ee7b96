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
    BAD,
    GOOD,
    QUIET,
    STRONG,
    WARNING,
    has_colour,
    print_block,
    print_parts,
)
from .application import search_current_directory, set_up_application
from .finding import Finding, Kind
from .loggers import check_logging, find_clients
from .network import check_answer, check_network
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
    findings: list[Finding] = []
    known = frozenset(sys.modules)
    with nullcontext() if application == "not_named" else search_current_directory():
        # What the application prints must not mix with the JSON on stdout.
        with redirect_stdout(sys.stderr):
            findings += set_up_application(names, django=django)
        if any(finding.kind == "problem" for finding in findings):
            application = "failed"
        findings += [
            finding
            for finding in check_process(application, send=send, seconds=seconds)
            # A variable that cannot be used has made the import fail, too.
            if not any(finding.found in earlier.found for earlier in findings)
        ]
        if application == "imported":
            findings += check_sources(known, [name.partition(":")[0] for name in names])
    problems = sum(finding.kind == "problem" for finding in findings)
    if as_json:
        content = [asdict(finding) for finding in findings]
        print(json.dumps({"findings": content, "problems": problems}))
    else:
        _print_findings(findings)
    return 1 if problems else 0


def check_process(
    application: Application, *, send: bool, seconds: float
) -> Iterator[Finding]:
    """Check everything that can be seen from within this process."""
    from_environment, findings = check_environment()
    yield from findings
    configs = [(location, client._config) for location, client in find_clients()]
    # Without an application: what a client with no keywords would use.
    if not configs and from_environment is not None:
        configs = [("", from_environment)]
    checked: set[Destination] = set()
    for location, config in configs:
        for finding in check_settings(
            config, is_complete=application != "failed", send=send
        ):
            yield finding.add_location(location if len(configs) > 1 else "")
        # With a queue, it is the relay that sends to ODP.
        destination = None if config.queue_url else config.destination()
        if destination is not None and destination not in checked:
            checked.add(destination)
            yield from _check_delivery(destination, send=send, seconds=seconds)
    if application == "failed":
        # Their findings would be consequences of the failure.
        yield Finding(
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
            yield _summarize_stats(stats).add_location(location)


def _check_delivery(
    destination: Destination, *, send: bool, seconds: float
) -> Iterator[Finding]:
    # The test event would only repeat a failure that is found here.
    findings = list(check_network(destination, seconds=seconds))
    yield from findings
    if send and not any(finding.kind == "problem" for finding in findings):
        yield check_answer(destination, seconds=seconds)


def _summarize_stats(stats: Stats) -> Finding:
    """Return what a client of this process has sent so far."""
    failed = sum(stats.rejected.values()) + sum(stats.dropped.values())
    text = (
        f"{format_count(stats.accepted, 'event')} so far: {stats.delivered} delivered,"
        f" {failed} rejected or dropped, {stats.pending + stats.spooled} waiting"
    )
    if not failed and not stats.last_error:
        return Finding("ok", "counts", text)
    counts = {**stats.rejected, **stats.dropped}
    if counts:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        text += f" ({reasons})"
    if stats.last_error:
        text += f"; the last error: {stats.last_error}"
    return Finding("hint", "counts", text, "see the warnings of the logger odp_logging")


def _print_findings(findings: Sequence[Finding]) -> None:
    counts = Counter(finding.kind for finding in findings)
    # Sorting keeps the order of the checks: the first problem may cause the others.
    for finding in sorted(findings, key=lambda found: list(_STYLES).index(found.kind)):
        _print_finding(finding)
    print_parts(
        (format_count(counts["problem"], "problem"), BAD if counts["problem"] else ""),
        (f", {format_count(counts['hint'], 'hint')}, {counts['ok']} ok", ""),
    )


_STYLES: dict[Kind, str] = {"problem": BAD, "hint": WARNING, "ok": GOOD}
"""The kinds of findings, those to look at first before the others, and their styles."""


def _print_finding(finding: Finding) -> None:
    found = f"{finding.check}: {finding.found}"
    if has_colour(sys.stdout):
        label = (finding.kind, _STYLES[finding.kind])
        if finding.advice:
            # What to do comes first.
            print_block(label, (finding.advice, STRONG), (found, QUIET))
        else:
            print_block(label, (found, ""))
        return
    print_line(f"{finding.kind:<8} {found}")
    if finding.advice:
        print_line(f"{'':<8} -> {finding.advice}")
