"""
Two shops, a queue in Redis, two relays and ODP: some of it dies, and nothing is lost.

Run it (it needs redis-server, and `pip install redis`):

    python examples/fleet/run.py [SECONDS]

You will see the address of a page on which events arrive, a relay and Redis killed,
and at the end that ODP has all that was logged.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from odp_logging.emulator import Emulator

SHOP = Path(__file__).with_name("shop.py")


@contextmanager
def program(*words: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program while the `with` lasts."""
    with subprocess.Popen(
        [str(word) for word in words],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE if SHOP in words else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def main(seconds: float = 6.0) -> int:
    """Play it, with shops open for *seconds*; return 0 if nothing was lost."""
    server = shutil.which("redis-server")
    assert server, "no redis-server; on Debian: apt-get install redis-server"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    queue = {"ODP_QUEUE_URL": f"redis://127.0.0.1:{port}/0?shards=2"}
    with ExitStack() as stack:
        begin = stack.enter_context
        home, odp = begin(TemporaryDirectory()), begin(Emulator())
        print(f"watch {odp.url}", flush=True)
        redis = (server, "--port", port, "--bind", "127.0.0.1", "--dir", home)
        redis += ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
        keys = {"ODP_API_KEY": "test", "ODP_API_HOST": odp.url}
        relay = (sys.executable, "-m", "odp_logging", "relay", "--lease", "2")
        first = begin(program(*redis))
        relays = [begin(program(*relay, **queue, **keys)) for _ in range(2)]
        words = [(sys.executable, SHOP, name, seconds) for name in ("north", "south")]
        shops = [begin(program(*each, **queue)) for each in words]
        for share, what, dying in ((100, "a relay", relays[0]), (300, "Redis", first)):
            odp.wait_for(unique=share, timeout=seconds)
            print(f"ODP has {odp.stats()['unique']}; {what} is killed", flush=True)
            dying.kill()
        first.wait()
        begin(program(*redis))
        said = [shop.communicate()[0] for shop in shops]
        print(*said, sep="", end="")
        logged = sum(int(line.split()[2].strip(",")) for line in said)
        odp.wait_for(unique=logged, timeout=30)
        print(f"ODP has {(unique := odp.stats()['unique'])} of {logged}")
        return 0 if unique == logged else 1


if __name__ == "__main__":
    raise SystemExit(main(*map(float, sys.argv[1:])))
