"""The command line of ``odp-logging``: help, exit statuses and messages."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from odp_logging import __version__
from odp_logging._cli.main import main
from odp_logging._cli.parser import COMMANDS, build_parser

from .conftest import COMMAND, Start, fetch_stats


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` names the program and its version."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"odp-logging {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["sell"], "there is no command 'sell'; see odp-logging --help"),
        (["dead", "liist"], "did you mean list? See odp-logging dead --help"),
        (["demo", "--events", "0"], "from 1 to 100000"),
        (["demo", "--events", "many"], "'many'"),
        (["demo", "--port", "65536"], "from 0 to 65535"),
        (["emulator", "--port", "-1"], "--port"),
        (["emulator", "--key", ""], "--key"),
        (["emulator", "--colour", "red"], "--colour"),
        (["doctor", "--timeout", "0"], "from 1 to 300"),
        (["doctor", "--import", ""], "--import"),
        (["send"], "ACTION"),
        (["send", "sold", "--identifier", "ada"], "--identifier"),
        (["tail", "--lines", "0"], "--lines"),
        (["tail", "--lines", "9" * 5000], "from 1 to 1000000000"),
        (["relay", "--grace", "soon"], "'soon' cannot be used; give seconds"),
    ],
)
def test_a_wrong_command_line_is_reported(
    arguments: list[str], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is one line on stderr that names the mistake, with status 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    shown = capsys.readouterr()

    assert ended.value.code == 2
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert wrong in shown.err


@pytest.mark.parametrize("words", [[], ["spool"], ["dead"]])
def test_a_command_line_without_a_command_prints_the_help(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The help is printed, with the status of a wrong command line."""
    assert main(words) == 2
    shown = capsys.readouterr()

    assert shown.out.startswith(" ".join(["usage: odp-logging", *words]))
    assert "commands:" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["send", "sold", "--identifer", "fs_user_id=ada"],
            "odp-logging send: unknown option --identifer; did you mean --identifier?"
            " See odp-logging send --help",
        ),
        (
            ["relay", "status", "--jsn"],
            "odp-logging relay status: unknown option --jsn; did you mean --json? See"
            " odp-logging relay status --help",
        ),
        (
            ["relay", "--from", "status", "--workesr", "3"],
            "odp-logging relay: unknown option --workesr; did you mean --workers? See"
            " odp-logging relay --help",
        ),
        (
            ["send", "sold", "email=ada@example.com"],
            "odp-logging send: unexpected argument email=***; did you mean"
            " --identifier? See odp-logging send --help",
        ),
        (
            ["send", "sold", "order"],
            "odp-logging send: unexpected argument order; see odp-logging send --help",
        ),
        (
            ["tail", "email=ada@example.com"],
            "odp-logging tail: unexpected argument email=***; see odp-logging tail"
            " --help",
        ),
        (
            ["relat"],
            "odp-logging: there is no command 'relat'; did you mean relay? See"
            " odp-logging --help",
        ),
        (
            ["completion", "bsh"],
            "odp-logging completion: 'bsh' is none of bash, zsh; did you mean bash? See"
            " odp-logging completion --help",
        ),
        (["demo", "-x"], "odp-logging demo: unknown option -x; see odp-logging demo"),
    ],
)
def test_a_misspelt_word_is_reported_with_what_was_meant(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the nearest word, and the help of the command in use."""
    with pytest.raises(SystemExit) as ended:
        main(words)

    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(message)


def test_the_beginning_of_an_option_is_understood(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A shortened option is the option that begins with it."""
    with pytest.raises(SystemExit):
        main(["doctor", "--time", "0"])

    assert "--timeout" in capsys.readouterr().err


def list_help_texts(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the texts in the help of *parser* and of its subcommands."""
    yield parser.description or ""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from (choice.help or "" for choice in action._choices_actions)
            for command in action.choices.values():
                yield from list_help_texts(command)
        else:
            yield action.help or ""


def test_help_texts_are_sentences() -> None:
    """Each begins with a capital letter or a quotation mark, and ends with a stop."""
    texts = list(list_help_texts(build_parser(list(COMMANDS))))
    wrong = [text for text in texts if not re.fullmatch(r"[A-Z].*[.?]\"?", text)]

    assert len(texts) > 60
    assert wrong == []


def test_the_emulator_runs_until_a_signal(start: Start) -> None:
    """``odp-logging emulator`` answers until SIGTERM, and ends with status 0."""
    process = start("emulator", "--port", "0", "--key", "secret")
    assert process.stdout is not None
    _, page = [process.stdout.readline().split()[-1] for _ in range(2)]

    assert fetch_stats(page)["received"] == 0

    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.parametrize("command", ["emulator", "demo"])
def test_a_used_port_is_named(command: str, used_port: int) -> None:
    """A port that cannot be used is named in one line, without a traceback."""
    ended = subprocess.run(
        [*COMMAND, command, "--port", str(used_port)],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert str(used_port) in ended.stderr


def test_the_status_of_the_emulator_is_returned(
    used_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command returns the exit status of the emulator."""
    assert main(["emulator", "--port", str(used_port)]) == 1
    assert str(used_port) in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["emulator", "--help"]])
def test_help_does_not_load_what_sends_events(words):
    """A command is imported only when its name is on the command line."""
    program = f"""
import sys
from odp_logging._cli.main import main
try:
    main({words})
finally:
    print(*sys.modules, file=sys.stderr)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    loaded = set(ended.stderr.split())

    assert "odp_logging._cli.main" in loaded
    assert not loaded & {
        "odp_logging._cli.send",
        "odp_logging._client.client",
        "requests",
        "sqlite3",
        "structlog",
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_describes_itself(name, capsys):
    """``--help`` of each command has usage, description and options."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])

    assert ended.value.code == 0
    assert len(capsys.readouterr().out.split("\n\n")) >= 3


@pytest.mark.parametrize("words", [["doctor"], ["doctor", "--json"], ["--help"]])
def test_a_closed_pipe_prints_no_error(words):
    """Writing to a closed pipe, also at exit, ends with status 1 and no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    try:
        ended = subprocess.run(
            [*COMMAND, *words],
            env={**environ, "ODP_API_HOST": "http://127.0.0.1:9"},
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    finally:
        os.close(writer)

    assert (ended.returncode, ended.stderr) == (1, b"")


@pytest.mark.parametrize(
    "words", [["dead", "list"], ["spool", "status"], ["replay"], ["send", "sold"]]
)
def test_a_wrong_setting_is_reported(words, monkeypatch, capsys):
    """A contradiction in the environment gives status 2, without a traceback."""
    monkeypatch.setenv("ODP_DURABILITY", "crash")

    assert main(words) == 2
    assert capsys.readouterr().err.startswith("odp-logging: durability=")


SECRET = "PASSW0RD"
QUEUE = f"redis://shop:{SECRET}@127.0.0.1:9/0"


@pytest.mark.parametrize(
    "arguments",
    [
        ["relay", QUEUE],
        ["relay", "--form", QUEUE],
        ["relay", f"--form={QUEUE}"],
        ["relay", "status", QUEUE],
        ["relay", "--workers", QUEUE],
        ["relay", "--grace", QUEUE],
        ["relay", f"--m={QUEUE}"],
        ["relay", "--from", QUEUE.replace("/0", "/0?password=x")],
        ["relay", "--from", f"redis://127.0.0.1:9/0?password={SECRET}"],
        ["relay", "--from", f"redis://shop:a'b{SECRET}@/0@127.0.0.1:9/0"],
        ["relay", f"--f//x:{SECRET}@orm={QUEUE}"],
        [QUEUE],
        ["dead", QUEUE],
        ["dead", "list", QUEUE],
        ["dead", "show", "--from", "redis://127.0.0.1:9/0", "1", QUEUE],
        ["dead", "list", "--spool", QUEUE],
        ["spool", "status", "--spool", QUEUE],
        ["replay", "events.jsonl", QUEUE],
        ["replay", "--spool", QUEUE],
        ["replay", "--timeout", QUEUE],
        ["doctor", "--timeout", QUEUE],
        ["send", "sold", QUEUE],
        ["send", "sold", "--api-key", SECRET],
        ["send", "sold", f"-p{SECRET}"],
        ["emulator", "--kee", SECRET],
        ["emulator", "--port", QUEUE],
    ],
)
def test_an_error_contains_no_password(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A URL or a key in a wrong place of the command line is not printed."""
    try:
        status: Any = main(arguments)
    except SystemExit as ended:
        status = ended.code
    shown = capsys.readouterr()

    assert status == 2
    assert shown.err.startswith("odp-logging")
    assert shown.err.count("\n") == 1
    assert SECRET not in shown.out + shown.err


def test_an_error_names_unknown_options(capsys: pytest.CaptureFixture[str]) -> None:
    """The options that are not known are named, without their values."""
    with pytest.raises(SystemExit):
        main(["relay", "--workers", "2", "--form=redis://a:bcd@h/0", "--slow"])

    assert capsys.readouterr().err == (
        "odp-logging relay: unknown options --form=*** --slow; did you mean --from? See"
        " odp-logging relay --help\n"
    )
