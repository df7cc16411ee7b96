"""
A shop's whole day, or year: each line of a CSV file is logged and accounted for.

Run it on a file of the UCI "Online Retail" dataset (DOI 10.24432/C5BW33):

    python examples/online_retail.py PATH

You will see how many lines were delivered, rejected (guests: without a customer, no
event) or unreadable. With no ODP_API_KEY set, an emulator on this machine takes them.
"""

from __future__ import annotations

import csv
import logging
import math
import os
import sys
from contextlib import ExitStack
from datetime import datetime, timezone

from odp_logging import OdpHandler
from odp_logging.emulator import Emulator


def fields_of(row: dict[str, str]) -> dict[str, object]:
    """Return what to log of one line; raise ValueError if it makes no sense."""
    invoice, quantity = row["InvoiceNo"], int(row["Quantity"])
    customer, _, zeros = row["CustomerID"].partition(".")  # 17850.0 is 17850
    price = float(row["UnitPrice"])
    if not invoice or not math.isfinite(price) or zeros.strip("0"):
        raise ValueError("invoice, price or customer cannot be right")
    cancelled = invoice.startswith("C")
    quantity = abs(quantity) if cancelled else quantity  # else below 0: written off
    data = {"invoice": invoice, "product_id": row["StockCode"], "unit_price": price}
    data |= {"quantity": quantity, "total": round(quantity * price, 2)}
    data |= {"description": row["Description"] or None, "country": row["Country"]}
    # No zone is given and the shop is in the UK: taken as UTC, in summer an hour off.
    when = datetime.fromisoformat(row["InvoiceDate"]).replace(tzinfo=timezone.utc)
    event = {"odp_type": "order", "odp_action": "return" if cancelled else "purchase"}
    who = {"customer_id": str(int(customer))} if customer else {}
    return event | {"odp_identifiers": who, "odp_timestamp": when, "odp_data": data}


def main(path: str) -> int:
    """Log every line of the file at *path*; return 0 if each is accounted for."""
    # Reading is faster than sending: the reader waits, so that nothing is dropped.
    settings = {"max_batch_size": 500, "overflow": "block", "block_timeout": 600}
    with ExitStack() as stack:
        file = stack.enter_context(open(path, encoding="utf-8-sig", errors="replace"))
        odp = None if os.environ.get("ODP_API_KEY") else stack.enter_context(Emulator())
        if odp:
            print(f"ODP emulator {odp.page}")
            settings |= {"api_key": "test", "api_host": odp.url}
        handler = OdpHandler(**settings)
        logging.basicConfig(level=logging.INFO, handlers=[logging.lastResort, handler])
        names, lines, unreadable = next(csv.reader(file), []), 0, 0
        for lines, line in enumerate(file, 1):
            try:  # each line alone: a quote that is never closed harms no other
                cells = map(str.strip, next(csv.reader([line], strict=True)))
                fields = fields_of(dict(zip(names, cells, strict=True)))
                logging.info("line %d", lines + 1, extra=fields)
            except (ValueError, KeyError, OverflowError, csv.Error) as error:
                unreadable += 1
                print(f"{path}:{lines + 1}: unreadable: {error!r}", file=sys.stderr)
        handler.client.flush(600)
        stats = handler.client.stats
        rejected = sum(stats.rejected.values())
        print(f"lines {lines}, delivered {stats.delivered}, unreadable {unreadable}")
        print(f"rejected {rejected} {stats.rejected}")
        print(f"dropped {stats.dropped or 0}, waiting {stats.pending}")
        if odp:
            print("emulator:", {k: odp.stats()[k] for k in ("unique", "duplicates")})
        return 0 if lines == stats.delivered + rejected + unreadable else 1


if __name__ == "__main__":
    if len(sys.argv) != 2 or not os.path.exists(sys.argv[1]):
        sys.exit("give the path of a file: python examples/online_retail.py PATH")
    sys.exit(main(sys.argv[1]))
