"""Every example runs as a program of its own, and what it prints is true."""

from __future__ import annotations

import ast
import csv
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from ..conftest import KEY
from ..emulated import list_events

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DAY = "online_retail_2010-12-01.csv"
HEADER = (
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
)

DIRTY = f"""\
{HEADER}
536365,85123A,WHITE HANGING HEART ,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
536366,22752,"SET 7 ""BABUSHKA"", BOXES",2,2010-12-01 08:28:00,7.65,17850,United Kingdom
C536367,71053,LANTERN,-1,2010-12-01 09:41:00,27.5,14527.0,EIRE
536368,21777,,56,2010-12-01 11:52:00,0.0,,United Kingdom
536369,21777,POUND \N{REPLACEMENT CHARACTER},1,2010-12-01 12:00:00,1.25,15311,EIRE
536370,1,"NEVER CLOSED,1,2010-12-01 12:01:00,1.25,15311.0,France
536371,1,NO NUMBER,six,2010-12-01 12:01:00,1.25,15311.0,France
536372,1,NO DATE,1,yesterday,1.25,15311.0,France
536373,1,NO PRICE,1,2010-12-01 12:01:00,nan,15311.0,France
536374,1,HALF A CUSTOMER,1,2010-12-01 12:01:00,1.25,15311.5,France
536375,1,TOO SHORT

536376,1,HUGE,{"9" * 400},2010-12-01 12:01:00,1.25,15311.0,France
536377,21777,THE LAST ONE,1,2010-12-01 12:02:00,1.25,15311.0,France
"""
UNREADABLE = [7, 8, 9, 10, 11, 12, 13, 14]


def run(
    name: str, *arguments: object, odp: Emulator | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one example with a clean environment, sending to *odp* if there is one."""
    environment = os.environ.copy()  # conftest took our settings out
    if odp is not None:
        environment |= {"ODP_API_KEY": KEY, "ODP_API_HOST": odp.url}
    return subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        timeout=90,
    )


@pytest.fixture
def dirty(tmp_path: Path) -> Path:
    """A file of the dataset's shape with all that can be wrong with a line."""
    path = tmp_path / "dirty.csv"
    text = DIRTY.encode().replace("\N{REPLACEMENT CHARACTER}".encode(), b"\xa3")
    path.write_bytes(text)
    return path


@pytest.fixture
def real_day() -> Path:
    """A real day of the dataset, which this repository does not hold."""
    given = os.environ.get("TEST_RETAIL_CSV")
    path = Path(given) if given else ROOT.parent / "shared" / "data" / DAY
    if not path.exists():
        pytest.skip("no real day: set TEST_RETAIL_CSV to a file of the dataset")
    return path


@pytest.mark.parametrize(
    ("name", "count"),
    [("quickstart.py", 1), ("structlog_quickstart.py", 2), ("dict_config.py", 1)],
)
def test_without_an_account(name: str, count: int) -> None:
    """With no key set, an example starts an emulator, names it, and delivers to it."""
    if name == "dict_config.py":
        pytest.importorskip("yaml")
    ended = run(name)

    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False)
    assert re.match(r"ODP emulator http://127\.0\.0\.1:\d+/\?token=\S+\n", ended.stdout)
    assert ended.stdout.endswith(f"delivered {count} of {count}\n")


def test_quickstart(emulator: Emulator) -> None:
    """With a key set, the tagged line arrives, and the ordinary one is printed only."""
    ended = run("quickstart.py", odp=emulator)
    [event] = list_events(emulator)

    assert ended.stdout == "delivered 1 of 1\n"
    assert ended.stderr.count("INFO") == 2
    assert (event["type"], event["action"]) == ("fullstack", "purchased")
    assert event["identifiers"] == {"fs_user_id": "user123", "email": "a@example.com"}
    assert event["data"]["price"] == 50.0


def test_structlog_quickstart(emulator: Emulator) -> None:
    """Identifiers bound once reach both events, and no address is printed."""
    ended = run("structlog_quickstart.py", odp=emulator)
    view, purchase = list_events(emulator)

    assert ended.stdout.endswith("delivered 2 of 2\n")
    assert '"order": 17' in ended.stdout
    assert "@" not in ended.stdout + ended.stderr
    assert [view["action"], purchase["action"]] == ["viewed", "purchased"]
    assert view["identifiers"] == purchase["identifiers"]
    assert "order" not in purchase["data"]


def test_dict_config(emulator: Emulator) -> None:
    """The file's settings hold: default data is added, the card number left out."""
    pytest.importorskip("yaml")
    ended = run("dict_config.py", odp=emulator)
    [event] = list_events(emulator)

    assert ended.stdout == "delivered 1 of 1\n"
    assert ended.stderr == "INFO shop.till purchase\n"
    assert event["identifiers"] == {"customer_id": "17850"}
    assert event["data"]["shop"] == "Main Street"
    assert "4111" not in str(event)


def test_outage_and_replay() -> None:
    """What a killed process left in the spool, another one delivers."""
    ended = run("outage_and_replay.py")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "killed (status -9)\nODP has 0 of them" in ended.stdout
    assert ended.stdout.endswith("replayed 5, ODP has 5 of 5\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "delivered", "signals"),
    [
        ("flask_app.py", [3], ["SIGTERM"]),
        ("fastapi_app.py", [3], ["SIGTERM"]),
        ("django_app.py", [3, 3], ["SIGINT", "SIGTERM"]),
        ("gunicorn_app.py", [4], ["SIGTERM"]),
    ],
)
def test_web(
    name: str, delivered: list[int], signals: list[str], emulator: Emulator
) -> None:
    """A web example serves itself, and all is there after the stop; never at ODP."""
    ended = run(name, odp=emulator)
    found = re.findall(r"stopped by (\w+)\ndelivered (\d+) of (\d+)\n", ended.stdout)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert found == [(s, str(n), str(n)) for s, n in zip(signals, delivered)]
    assert list_events(emulator) == []


@pytest.mark.slow
def test_web_with_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A web example whose events do not arrive says so, and fails."""
    monkeypatch.setenv("ODP_ENABLED", "false")
    ended = run("flask_app.py")

    assert ended.returncode == 1
    assert ended.stdout.endswith("delivered 0 of 3\n")


@pytest.mark.parametrize(
    ("name", "count"), [("asyncio_app.py", 8), ("aws_lambda.py", 3), ("script.py", 3)]
)
def test_what_needs_nothing_else(name: str, count: int) -> None:
    """Tasks, a frozen function and a cron job deliver to an emulator of their own."""
    ended = run(name)

    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False)
    assert re.match(r"ODP emulator http://127\.0\.0\.1:\d+/\?token=\S+\n", ended.stdout)
    assert ended.stdout.endswith(f"delivered {count} of {count}\n")


def test_asyncio_app(emulator: Emulator) -> None:
    """Each event names the customer whose task logged it."""
    run("asyncio_app.py", odp=emulator)
    bought = Counter(
        (event["identifiers"]["fs_user_id"], event["data"]["item"])
        for event in list_events(emulator)
        if event["action"] == "purchased"
    )

    expected = [("ann", "shirt"), ("ann", "hat"), ("bob", "scarf"), ("cid", "sock")]
    assert bought == Counter(expected)


def test_aws_lambda() -> None:
    """Each event has arrived by the time its process is frozen."""
    ended = run("aws_lambda.py")

    found = re.findall(r"frozen; delivered so far: (\d)", ended.stdout)
    assert found == ["1", "2", "3"]


@pytest.mark.slow
def test_celery_app() -> None:
    """What five tasks logged last is delivered by the end of their worker."""
    pytest.importorskip("celery")
    ended = run("celery_app.py")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "5 tasks are done; delivered so far: 0\n" in ended.stdout
    assert ended.stdout.endswith("delivered 5 of 5, 0 twice\n")


@pytest.mark.slow
def test_notebook() -> None:
    """The cell that ran twice sends nothing twice."""
    pytest.importorskip("ipykernel")
    pytest.importorskip("nbclient")
    ended = run("notebook.py")

    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False)
    assert ended.stdout.count("In [") == 6
    assert ended.stdout.endswith("delivered 3 of 3\n")


def test_online_retail_without_an_account(dirty: Path) -> None:
    """Of a dirty file every line is delivered, rejected or unreadable, by number."""
    ended = run("online_retail.py", dirty)

    assert ended.returncode == 0
    assert ended.stdout.splitlines()[1:] == [
        "lines 14, delivered 5, unreadable 8",
        "rejected 1 {'no_identifiers': 1}",
        "dropped 0, waiting 0",
        "emulator: {'unique': 5, 'duplicates': 0}",
    ]
    numbers = re.findall(r"dirty\.csv:(\d+): unreadable: ", ended.stderr)
    assert list(map(int, numbers)) == UNREADABLE
    assert "online_retail.py" in ended.stderr
    assert "no identifiers" in ended.stderr


def test_online_retail_fields(dirty: Path, emulator: Emulator) -> None:
    """A line's fields arrive typed: numbers, trimmed texts, its own time in UTC."""
    run("online_retail.py", dirty, odp=emulator)
    first, second, third, pound, _ = list_events(emulator)

    assert (first["type"], first["action"]) == ("order", "purchase")
    assert first["identifiers"] == second["identifiers"] == {"customer_id": "17850"}
    expected = {
        "invoice": "536365",
        "product_id": "85123A",
        "description": "WHITE HANGING HEART",
        "quantity": 6,
        "unit_price": 2.55,
        "total": 15.3,
        "country": "United Kingdom",
        "ts": 1291191960,
    }
    assert {key: first["data"][key] for key in expected} == expected
    assert second["data"]["description"] == 'SET 7 "BABUSHKA", BOXES'
    assert (third["action"], third["data"]["quantity"]) == ("return", 1)
    assert third["data"]["total"] == 27.5
    assert pound["data"]["description"] == "POUND \N{REPLACEMENT CHARACTER}"


def test_online_retail_real_day(real_day: Path, emulator: Emulator) -> None:
    """Of a real day each line with a customer arrives once, each other is rejected."""
    with real_day.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    known = [row for row in rows if row["CustomerID"]]
    guests = len(rows) - len(known)
    ended = run("online_retail.py", real_day, odp=emulator)

    assert ended.returncode == 0
    assert ended.stdout.splitlines() == [
        f"lines {len(rows)}, delivered {len(known)}, unreadable 0",
        f"rejected {guests} {{'no_identifiers': {guests}}}",
        "dropped 0, waiting 0",
    ]
    if real_day.name == DAY:
        assert (len(rows), len(known), guests) == (3108, 1968, 1140)
    assert emulator.stats()["unique"] == len(known)
    assert emulator.stats()["duplicates"] == 0
    assert Counter(map(_line_of, known)) == Counter(
        map(_event_of, list_events(emulator))
    )


def _line_of(row: dict[str, str]) -> tuple[object, ...]:
    when = datetime.fromisoformat(row["InvoiceDate"]).replace(tzinfo=timezone.utc)
    return (
        "return" if row["InvoiceNo"].startswith("C") else "purchase",
        str(int(float(row["CustomerID"]))),
        row["InvoiceNo"],
        row["StockCode"],
        row["Description"].strip(),
        abs(int(row["Quantity"])),
        float(row["UnitPrice"]),
        int(when.timestamp()),
        row["Country"],
    )


def _event_of(event: dict[str, Any]) -> tuple[object, ...]:
    names = ("invoice", "product_id", "description", "quantity", "unit_price", "ts")
    return (
        event["action"],
        event["identifiers"]["customer_id"],
        *(event["data"][name] for name in names),
        event["data"]["country"],
    )


def test_online_retail_needs_a_file(tmp_path: Path) -> None:
    """Without a file that exists, one line says how it is called."""
    for arguments in ((), (tmp_path / "missing.csv",)):
        ended = run("online_retail.py", *arguments)

        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1
        assert "online_retail.py PATH" in ended.stderr


def test_form() -> None:
    """Each example has at most 80 lines, starts with its story, and is in the table."""
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    programs = sorted(EXAMPLES.glob("*.py"))

    assert programs
    for program in programs:
        text = program.read_text(encoding="utf-8")
        story = ast.get_docstring(ast.parse(text)) or ""
        assert len(text.splitlines()) <= 80, program.name
        if program.name == "serving.py":  # what others run
            continue
        run = "python -m pytest" if program.name.startswith("test_") else "python"
        assert f"{run} examples/{program.name}" in story
        assert "You will see" in story
        assert f"`{run} examples/{program.name}" in table


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.py")), ids=str)
def test_examples_keep_a_console(path):
    """An OdpHandler alone on a logger ends Python's own output of warnings."""
    text = path.read_text("utf-8")
    if "OdpHandler" not in text or path.name in CONSOLE_OF_THE_PLATFORM:
        return
    console = r"StreamHandler|lastResort|basicConfig\((?!.*handlers=)"
    assert re.search(console, text), path


CONSOLE_OF_THE_PLATFORM = frozenset(
    {"aws_lambda.py", "celery_app.py", "dict_config.py", "test_shop.py"}
)
"""Lambda, Celery's worker and pytest add a handler; logging.yaml has one."""
