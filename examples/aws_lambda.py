"""
AWS Lambda freezes a function when it returns: what it logged is delivered before that.

Run it:

    python examples/aws_lambda.py

You will see three invocations of `handler`, each of which logs a purchase. This program
plays Lambda: it runs the function in a process of its own, and freezes it (SIGSTOP) in
between. Each event has arrived by then. It always uses an emulator.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from typing import Any

import odp_logging
from odp_logging.emulator import Emulator

# In a function's own file: with the key in ODP_API_KEY, nothing more is needed.
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(odp_logging.OdpHandler())


@odp_logging.flush_on_return(timeout=2)
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Sell what *event* orders."""
    logger.info(
        "purchase",
        extra={
            "odp_action": "purchased",
            "odp_identifiers": {"fs_user_id": event["user"]},
            "odp_data": {"item": event["item"]},
        },
    )
    return {"statusCode": 200}


def serve() -> None:
    """Answer each line of the standard input, as Lambda's runtime does."""
    for line in sys.stdin:
        print(json.dumps(handler(json.loads(line), None)), flush=True)


def main() -> int:
    """Invoke the function three times; return 0 if no event waited for a thaw."""
    with Emulator() as odp:
        print(f"ODP emulator {odp.page}")
        settings = {"ODP_API_KEY": "test", "ODP_API_HOST": odp.url}
        command = [sys.executable, __file__, "serve"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        function = subprocess.Popen(command, env={**os.environ, **settings}, **pipes)
        seen = []
        for item in ("shirt", "hat", "scarf"):
            os.kill(function.pid, signal.SIGCONT)
            print(json.dumps({"user": "user123", "item": item}), file=function.stdin)
            function.stdin.flush()
            answer = function.stdout.readline().strip()
            os.kill(function.pid, signal.SIGSTOP)
            seen.append(odp.stats()["unique"])
            print(f"{item}: {answer}, frozen; delivered so far: {seen[-1]}")
        function.kill()
        function.communicate()
        print(f"delivered {odp.stats()['received']} of 3")
        return 0 if seen == [1, 2, 3] and odp.stats()["received"] == 3 else 1


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        raise SystemExit(main())
