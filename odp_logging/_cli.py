"""The command ``odp-logging``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ._version import VERSION

MOST_EVENTS = 100_000
"""Events of one demo: they all must fit into the buffer while the emulator fails."""


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command that *argv* asks for; return its exit status.

    Raises:
        SystemExit: 2 for a command line that cannot be read, after one line on stderr;
            0 after ``--help`` and ``--version``.
    """
    try:
        try:
            options = _parser().parse_args(argv)
            status: int = options.run(options)
        finally:
            # What waits in a buffer is else written, and complained of, after the end.
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        return 130  # what a shell reports of a program that Ctrl-C ended
    except BrokenPipeError:  # `odp-logging demo | head -1`
        # The interpreter flushes stdout once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="odp-logging",
        description="ODP events from the log calls an application already has.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True
    )
    _add_demo(commands.add_parser("demo", help="see it work, with no account: 6 s"))
    _add_emulator(
        commands.add_parser("emulator", help="run a stand-in for ODP on this machine")
    )
    _add_spool(commands.add_parser("spool", help="see what waits in a spool"))
    _add_dead(commands.add_parser("dead", help="look after events that ODP rejected"))
    _add_replay(
        commands.add_parser(
            "replay", help="send what earlier processes left in a spool"
        )
    )
    _add_doctor(commands.add_parser("doctor", help='answer "why do I see nothing?"'))
    _add_send(commands.add_parser("send", help="send an event from the shell"))
    _add_tail(commands.add_parser("tail", help="watch events come to a spool and go"))
    _add_relay(
        commands.add_parser("relay", help="deliver what applications left in a queue")
    )
    return parser


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Starts the emulator, runs a small shop that logs through logging and"
        " structlog, lets the emulator fail for a while, and counts what arrived."
        " Exit status 0 only if nothing was lost."
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave the emulator up afterwards, until Ctrl-C",
    )
    parser.add_argument(
        "--events",
        type=_whole(1, MOST_EVENTS),
        default=300,
        metavar="N",
        help="how many events the shop logs (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=_whole(0, 65535),
        default=0,
        help="port of the emulator (default: a free one)",
    )
    parser.set_defaults(run=_run_demo)


def _add_emulator(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Answers on 127.0.0.1 as ODP's events API does, and shows on a page what"
        " arrives, until Ctrl-C. To send to it, set ODP_API_KEY=test and"
        " ODP_API_HOST to the address it prints."
    )
    parser.add_argument(
        "--port",
        type=_whole(0, 65535),
        default=8181,
        help="port to listen on, 0 for a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--key",
        type=_text,
        help="the only API key to accept (default: any that is not empty)",
    )
    parser.set_defaults(run=_run_emulator)


def _add_spool(parser: argparse.ArgumentParser) -> None:
    parser.description = "What waits in a spool, file by file."
    (status,) = _subcommands(parser, {"status": "count events and dead letters"})
    status.set_defaults(
        run=_on_spool(lambda s, o: s.status(o.spool, as_json=o.json)),
    )


def _add_dead(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Dead letters: events that ODP rejected, with its reason. Identifiers are"
        " masked unless --show-identifiers is given."
    )
    listing, show, retry, drop = _subcommands(
        parser,
        {
            "list": "a line for each",
            "show": "one of them, whole",
            "retry": "have them sent again, by the next process or by a relay",
            "drop": "delete them",
        },
    )
    for each in (listing, show, retry, drop):
        _add_from(each)
    for each in (listing, show):
        each.add_argument(
            "--show-identifiers", action="store_true", help="do not mask identifiers"
        )
    show.add_argument("id", metavar="ID", help="as `dead list` shows it")
    for each in (retry, drop):
        which = each.add_mutually_exclusive_group(required=True)
        which.add_argument("--all", action="store_true", help="all of them")
        which.add_argument(
            "id", metavar="ID", nargs="*", default=[], help="as `dead list` shows it"
        )
    listing.set_defaults(
        run=_on_either(
            lambda s, o: s.dead_list(o.where, as_json=o.json, show=o.show_identifiers)
        )
    )
    show.set_defaults(
        run=_on_either(
            lambda s, o: s.dead_show(
                o.where, o.id, as_json=o.json, show=o.show_identifiers
            )
        )
    )
    retry.set_defaults(
        run=_on_either(lambda s, o: s.dead_retry(o.where, o.id, as_json=o.json))
    )
    drop.set_defaults(
        run=_on_either(lambda s, o: s.dead_drop(o.where, o.id, as_json=o.json))
    )


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Sends what processes that are gone left in a spool, with ODP_API_KEY and"
        " ODP_API_HOST. Or puts the events of FILE, a file of a spool or one with an"
        " event's JSON on each line, into a queue, and leaves FILE as it is. Exit"
        " status 0 only if nothing is left."
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="events for a queue")
    parser.add_argument(
        "--to",
        dest="queue",
        type=_text,
        metavar="URL",
        help="the queue for those of FILE (default: that of ODP_QUEUE_URL)",
    )
    _add_spool_options(parser)
    parser.add_argument(
        "--timeout",
        type=_whole(1, 86_400),
        default=300,
        metavar="SECONDS",
        help="when to stop (default: %(default)s)",
    )
    parser.set_defaults(run=_run_replay)


def _add_relay(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Takes events from a queue and delivers them, with ODP_API_KEY and"
        " ODP_API_HOST, until SIGTERM or Ctrl-C. Exit status 0 if all that was under"
        " way is settled, 1 if a request outlasted --grace, 3 if ODP refuses the key."
    )
    _add_from(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    status = commands.add_parser("status", help="see what waits, and who works on it")
    # Suppressed: it would hide what stands before the word `status`.
    _add_from(status, default=argparse.SUPPRESS)
    status.add_argument("--json", action="store_true", help="for machines")
    status.set_defaults(
        run=_on_queue(lambda q, o: q.status(o.queue, as_json=o.json)),
    )
    parser.add_argument(
        "--workers",
        type=_whole(1, 256),
        default=1,
        metavar="N",
        help="requests under way at the same time (default: %(default)s)",
    )
    parser.add_argument(
        "--grace",
        type=_seconds,
        default=25.0,
        metavar="SECONDS",
        help="how long an end may take (default: %(default)s)",
    )
    parser.add_argument(
        "--lease",
        type=_whole(1, 3600),
        default=30,
        metavar="SECONDS",
        help="how long a worker without a sign of life keeps events; more than a"
        " request takes (default: %(default)s)",
    )
    parser.add_argument(
        "--max-deliveries",
        type=_whole(1, 1000),
        default=10,
        metavar="N",
        help="workers that may have an event before it is buried (default:"
        " %(default)s)",
    )
    parser.add_argument(
        "--metrics-port",
        type=_whole(0, 65535),
        metavar="P",
        help="answer /metrics and /healthz there, 0 for a free port (default: not)",
    )
    parser.add_argument(
        "--metrics-host",
        type=_text,
        default="127.0.0.1",
        metavar="HOST",
        help="and on this address (default: %(default)s)",
    )
    parser.set_defaults(
        run=_on_queue(
            lambda q, o: q.relay(
                o.queue,
                workers=o.workers,
                grace=o.grace,
                metrics=None
                if o.metrics_port is None
                else (o.metrics_host, o.metrics_port),
                lease=o.lease,
                max_deliveries=o.max_deliveries,
            )
        )
    )


def _add_from(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    parser.add_argument(
        "--from",
        dest="queue",
        default=default,
        type=_text,
        metavar="URL",
        help="the queue, as applications have it in queue_url (default: that of"
        " ODP_QUEUE_URL, where other users of the machine do not see its password)",
    )


def _on_either(
    run: Callable[[Any, argparse.Namespace], int],
) -> Callable[[argparse.Namespace], int]:
    """Return a command that *run* carries out on a queue, or else on a spool."""

    def command(options: argparse.Namespace) -> int:
        named = options.spool or options.queue
        if options.queue or (not named and _has_queue_alone()):
            return _on_queue(lambda q, o: run(q, _at(o, o.queue)))(options)
        return _on_spool(lambda s, o: run(s, _at(o, o.spool)))(options)

    return command


def _has_queue_alone() -> bool:
    from ._config import load

    found = load({}, warn=lambda kind, message: None)
    return found.spool is None and found.queue_url is not None


def _at(options: argparse.Namespace, where: object) -> argparse.Namespace:
    options.where = where
    return options


def _run_replay(options: argparse.Namespace) -> int:
    if options.file is None:
        return _on_spool(
            lambda s, o: s.replay(o.spool, timeout=o.timeout, as_json=o.json)
        )(options)
    return _on_queue(
        lambda q, o: q.replay(Path(o.file), o.queue, timeout=o.timeout, as_json=o.json)
    )(options)


def _on_queue(
    run: Callable[[Any, argparse.Namespace], int],
) -> Callable[[argparse.Namespace], int]:
    """Return a command that *run* carries out on the queue that the options name."""

    def command(options: argparse.Namespace) -> int:
        from . import _queues, _spools

        try:
            options.queue = _queues.queue_of(options.queue)
            return run(_queues, options)
        except _spools.Failed as failed:
            return _refused(str(failed))

    return command


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Looks at settings, the way to ODP, loggers and spool, and says what to do."
        " Sends nothing without --send. Exit status 1 if there is a problem, else 0."
    )
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        type=_text,
        metavar="NAME",
        help="what sets up your logging: module, module:function, or module:dict for"
        " dictConfig; may be repeated",
    )
    parser.add_argument(
        "--django",
        action="store_true",
        help="set up Django first, by DJANGO_SETTINGS_MODULE",
    )
    parser.add_argument(
        "--send",
        action="store_true",
        help="send one event, odp_logging/doctor of fs_user_id odp-logging-doctor",
    )
    parser.add_argument(
        "--timeout",
        type=_whole(1, 300),
        default=5,
        metavar="SECONDS",
        help="for each step on the network (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=_run_doctor)


def _add_send(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Sends with ODP_API_KEY and ODP_API_HOST. Exit status 0: delivered; 1:"
        " rejected; 3: not delivered in time; 2: the command cannot be carried out."
    )
    parser.add_argument(
        "action",
        type=_text,
        metavar="ACTION",
        help='what happened; or "-" to read JSON objects with action, type,'
        " identifiers, data from stdin, one or one a line",
    )
    parser.add_argument("--type", type=_text, metavar="TYPE", help="its kind")
    for option, text in {
        "identifier": "who: name=value, may be repeated",
        "data": "more: name=text or name:=JSON, may be repeated",
    }.items():
        parser.add_argument(
            f"--{option}",
            type=_pair,
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help=text,
        )
    parser.add_argument(
        "--timeout",
        type=_whole(1, 86_400),
        default=10,
        metavar="SECONDS",
        help="when to stop (default: %(default)s)",
    )
    parser.add_argument(
        "--spool",
        type=_text,
        metavar="DIR",
        help="keep there what is not delivered (default: that of ODP_SPOOL)",
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=_run_send)


def _add_tail(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Prints a line for each event that arrives in a spool, and one when it leaves:"
        " delivered (or dropped, where the spool is full), or rejected with ODP's"
        " reason; at the end, what is left. Only reads. Ctrl-C ends it."
    )
    _add_spool_options(parser)
    parser.add_argument(
        "--show-identifiers", action="store_true", help="do not mask identifiers"
    )
    parser.add_argument(
        "--seconds", type=_whole(1, 86_400), metavar="N", help="when to stop"
    )
    parser.add_argument(
        "--lines", type=_whole(1, 10**9), metavar="N", help="after how many lines"
    )
    parser.set_defaults(run=_on_spool(_run_tail))


def _subcommands(
    parser: argparse.ArgumentParser, names: dict[str, str]
) -> list[argparse.ArgumentParser]:
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="subcommand", required=True
    )
    made = [commands.add_parser(name, help=text) for name, text in names.items()]
    for each in made:
        _add_spool_options(each)
    return made


def _add_spool_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--spool",
        type=_text,
        metavar="DIR",
        help="the directory (default: that of ODP_SPOOL)",
    )
    parser.add_argument("--json", action="store_true", help="for machines")


def _on_spool(
    run: Callable[[Any, argparse.Namespace], int],
) -> Callable[[argparse.Namespace], int]:
    """Return a command that *run* carries out on the spool that the options name."""

    def command(options: argparse.Namespace) -> int:
        from . import _spools

        try:
            options.spool = _spools.home(options.spool)
            return run(_spools, options)
        except _spools.Failed as failed:
            return _refused(str(failed))

    return command


def _run_demo(options: argparse.Namespace) -> int:
    # Imported here: `odp-logging emulator` needs nothing of what sends events.
    from . import _demo

    return _demo.run(events=options.events, port=options.port, keep=options.keep)


def _run_emulator(options: argparse.Namespace) -> int:
    from . import emulator

    return emulator.run(port=options.port, key=options.key)


def _run_doctor(options: argparse.Namespace) -> int:
    from . import _doctor

    return _doctor.run(
        options.imports,
        django=options.django,
        send=options.send,
        seconds=options.timeout,
        as_json=options.json,
    )


def _run_send(options: argparse.Namespace) -> int:
    from . import _sending
    from ._spools import Failed

    if options.action == "-" and (options.type or options.identifier or options.data):
        return _refused('"-" takes all of each event from stdin')
    try:
        described = [
            {
                "action": options.action,
                "type": options.type,
                "identifiers": dict(options.identifier),
                "data": dict(options.data),
            }
        ]
        if options.action == "-":
            described = _sending.read(_given())
        return _sending.send(
            described,
            seconds=options.timeout,
            spool=options.spool,
            as_json=options.json,
        )
    except Failed as failed:
        return _refused(str(failed))


def _given() -> str:
    from ._spools import Failed

    try:
        return sys.stdin.read() if sys.stdin is not None else ""
    except UnicodeDecodeError:
        raise Failed("the input is no text in UTF-8; nothing was sent") from None


def _run_tail(_: Any, options: argparse.Namespace) -> int:
    from . import _tail

    return _tail.tail(
        options.spool,
        as_json=options.json,
        show=options.show_identifiers,
        seconds=options.seconds,
        lines=options.lines,
    )


def _refused(message: str) -> int:
    print(f"odp-logging: {message}", file=sys.stderr)
    return 2


def _pair(text: str) -> tuple[str, Any]:
    from ._sending import pair

    try:
        return pair(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}") from None


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isdecimal() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {least} to {most}"
            )
        return int(text)

    return read


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
        if not 0 <= seconds <= 86_400:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds, such as 25"
        ) from None
    return seconds


def _text(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("it is empty, give any text")
    return text
