"""`Stats` as text and as a table, and the sum over all clients."""

from __future__ import annotations

import odp_logging
from odp_logging import OdpClient, Stats


def test_text() -> None:
    """One line: the state, the counts, the reasons of losses, the last error."""
    stats = Stats(
        accepted=9,
        delivered=5,
        rejected={"no identifiers": 1},
        dropped={"overflow": 2, "in_doubt": 0},
        pending=1,
        last_error="h answered 503",
        state="retrying",
    )
    assert str(stats) == (
        "retrying: accepted 9, delivered 5, rejected 1 (no identifiers 1),"
        " dropped 2 (overflow 2), pending 1; last error: h answered 503"
    )
    assert str(Stats()) == "idle: accepted 0, delivered 0, pending 0"


def test_table_of_a_notebook() -> None:
    """Every field is a row, and text cannot be markup."""
    html = Stats(last_error="<b>")._repr_html_()
    assert html.count("<tr>") == len(Stats._fields)
    assert "&lt;b&gt;" in html and "<b>" not in html


def test_stats_of_all_clients(client: OdpClient) -> None:
    """`odp_logging.stats` counts every client, as `odp_logging.flush` waits for all."""
    before = odp_logging.stats()
    client.send_odp_event("seen", {"email": "a@example.com"})
    assert odp_logging.flush(10)
    after = odp_logging.stats()
    assert after.delivered == before.delivered + 1
    assert isinstance(after, Stats)
