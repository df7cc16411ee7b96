"""The command ``completion``, with the scripts that it prints in real shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from odp_logging._cli.main import main

from .conftest import COMMAND

COMPLETE = """
eval "$(cat)"
COMP_WORDS=({words}) COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
$(complete -p odp-logging | sed 's/.*-F //; s/ .*//') 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def print_script(shell: str) -> str:
    """Return what the command prints for *shell*."""
    ended = subprocess.run(
        [*COMMAND, "completion", shell], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def complete_in_bash(words: str, directory: Path) -> set[str]:
    """Return what bash suggests for the last of *words* in *directory*."""
    # Not the interpreter's environment: BASH_ENV would be read.
    ended = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE.format(words=words)],
        input=print_script("bash"),
        env={"PATH": os.environ["PATH"]},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return set(ended.stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("odp-logging re", {"replay", "relay"}),
        ("odp-logging dead li", {"list"}),
        ("odp-logging relay --max", {"--max-deliveries"}),
        ("odp-logging dead list --show", {"--show-identifiers"}),
        ("odp-logging spool status --spool ev", {"events"}),
    ],
)
def test_bash_completes_words(words: str, expected: set[str], tmp_path: Path) -> None:
    """Commands, subcommands, options and directories are completed."""
    (tmp_path / "events").mkdir()
    (tmp_path / "event.txt").touch()

    assert complete_in_bash(words, tmp_path) == expected


def test_zsh_takes_the_script() -> None:
    """The function for the command is known to zsh's completion."""
    if shutil.which("zsh") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("zsh is not installed")
        pytest.skip("zsh is not installed")
    program = (
        'autoload -Uz compinit; compinit -D; eval "$(cat)"; print $_comps[odp-logging]'
    )
    ended = subprocess.run(
        ["zsh", "-fc", program],
        input=print_script("zsh"),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (ended.stdout, ended.stderr) == ("_shtab_odp_logging\n", "")


def test_a_missing_module_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the extra, one line says what to install."""
    monkeypatch.setitem(sys.modules, "shtab", None)

    assert main(["completion", "bash"]) == 2
    assert capsys.readouterr().err == (
        "odp-logging: the module shtab is missing; pip install 'shtab>=1.7'"
        " (odp-logging's extra cli)\n"
    )
