"""Log events in a loop and end. Argument: their number."""

import logging
import sys

import odp_logging

log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.addHandler(odp_logging.OdpHandler())
for number in range(int(sys.argv[1])):
    log.info(
        "imported",
        extra={
            "odp_action": "imported",
            "odp_identifiers": {"fs_user_id": f"u{number}"},
            "odp_data": {"n": number},
        },
    )
