"""Handle SIGQUIT with faulthandler and, for a while, SIGTERM with asyncio; log."""

import asyncio
import faulthandler
import os
import resource
import signal
import sys
import threading

import shop

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
faulthandler.register(signal.SIGQUIT)
shop.open_at(sys.argv[1])
os.kill(os.getpid(), signal.SIGQUIT)
shop.sell(0)


async def serve() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    os.kill(os.getpid(), signal.SIGTERM)
    await stop.wait()
    shop.sell(1)


asyncio.run(serve())
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
shop.log.handlers[0].client.flush(10)
shop.sell(2)
os.kill(os.getpid(), signal.SIGTERM)
threading.Event().wait(20)
