"""The command ``emulator``: addresses, variables, and a line for each request."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from ..waiting import until
from .conftest import COMMAND, Start, fetch_stats

EVENT = {"type": "order", "action": "sold", "identifiers": {"email": "a@example.com"}}


def post_events(
    url: str, *events: Any, key: str = "any", path: str = "/v3/events"
) -> int:
    """Send *events*; return the status of the answer."""
    headers = {"x-api-key": key, "content-type": "application/json"}
    body = json.dumps(events).encode()
    request = urllib.request.Request(f"{url}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def read_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """Return the next *count* lines on stdout."""
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(count)]


def test_it_prints_the_variables_of_the_shell(start: Start) -> None:
    """After both addresses come the lines to paste into the application's shell."""
    process = start("emulator", "--port", "0")
    url, page, key, host = read_lines(process, 4)
    address = url.removeprefix("ODP emulator ")

    assert page.startswith(f"ODP emulator page {address}/?token=")
    assert (key, host) == ("export ODP_API_KEY=test", f"export ODP_API_HOST={address}")


def test_a_chosen_key_is_not_printed(start: Start) -> None:
    """With ``--key`` the line for the shell has a placeholder."""
    process = start("emulator", "--port", "0", "--key", "SECRET-KEY")
    lines = read_lines(process, 4)

    assert lines[2] == "export ODP_API_KEY=KEY    # KEY: the one that --key names"
    assert "SECRET-KEY" not in "".join(lines)


def test_it_prints_a_line_for_each_request(start: Start) -> None:
    """The line has path, answer, events, and why it failed, but no identifier."""
    process = start("emulator", "--port", "0")
    url = read_lines(process, 4)[0].removeprefix("ODP emulator ")
    post_events(url, EVENT)
    post_events(url, EVENT, {"type": 3})
    post_events(url, EVENT, key="")
    post_events(url, path="/v3/evnts")
    lines = [line.partition("  ")[2] for line in read_lines(process, 4)]

    assert lines == [
        "POST /v3/events  202  1 event",
        "POST /v3/events  400  2 events, 1 rejected, 1 not taken",
        "POST /v3/events  403  (x-api-key was empty)",
        "POST /v3/evnts  404  (events go to POST /v3/events)",
    ]


def test_json_has_a_line_for_each_request(start: Start) -> None:
    """With ``--json`` every line is an object; the first has the addresses."""
    process = start("emulator", "--port", "0", "--json")
    (first,) = read_lines(process, 1)
    addresses = json.loads(first)
    post_events(addresses["url"], EVENT)
    (second,) = read_lines(process, 1)
    request = json.loads(second)

    assert addresses["page"].startswith(f"{addresses['url']}/?token=")
    assert (request["status"], request["events"], request["reason"]) == (202, 1, "")
    assert "example.com" not in second


def test_a_reader_that_reads_nothing_holds_up_no_answer(start: Start) -> None:
    """Requests are answered, and the end is clean, while no line can be written."""
    process = start("emulator", "--port", "0")
    url, page = [line.split()[-1] for line in read_lines(process, 4)[:2]]
    # A pipe holds 64 KiB, and a line of the emulator has a long path here.
    path = "/v3/" + "x" * 2000
    for _ in range(60):
        assert post_events(url, path=path) == 404
    assert fetch_stats(page)["other_requests"] == 60

    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_quiet_prints_no_request(start: Start) -> None:
    """With ``--quiet`` nothing follows the four lines."""
    process = start("emulator", "--port", "0", "--quiet")
    url = read_lines(process, 4)[0].split()[-1]
    post_events(url, EVENT)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=20)

    assert (out, errors) == ("", "")


def test_a_browser_opens_the_page(tmp_path: Path) -> None:
    """``--open`` runs the browser of the environment with the page's address."""
    opened, browser = tmp_path / "opened", tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\necho "$1" > {opened}.new\nmv {opened}.new {opened}\n'
    )
    browser.chmod(browser.stat().st_mode | stat.S_IEXEC)
    process = subprocess.Popen(
        [*COMMAND, "emulator", "--port", "0", "--open"],
        env={**os.environ, "BROWSER": str(browser)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        page = read_lines(process, 2)[1].split()[-1]
        until(opened.exists)
    finally:
        process.terminate()
        process.communicate(timeout=20)

    assert opened.read_text().strip() == page


@pytest.mark.parametrize("words", [["--host", "0.0.0.0"], ["--host", "example.com"]])
def test_a_host_that_cannot_be_used_has_status_2(words: list[str]) -> None:
    """It is one line on stderr."""
    ended = subprocess.run(
        [*COMMAND, "emulator", *words], capture_output=True, text=True, timeout=60
    )

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
