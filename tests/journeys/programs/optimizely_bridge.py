"""Send three events through a real optimizely-sdk client, and end as asked."""

import os
import sys
import threading

from optimizely.helpers.sdk_settings import OptimizelySdkSettings
from optimizely.optimizely import Optimizely

from odp_logging.optimizely import OdpBridge

datafile, how = sys.argv[1:]
if how == "unmodified":
    settings = OptimizelySdkSettings()
else:
    bridge = OdpBridge(flush_interval=60)
    settings = OptimizelySdkSettings(odp_event_manager=bridge)
optimizely = Optimizely(datafile, settings=settings)
USER = {"fs_user_id": "u1"}


def send(number: int) -> None:
    optimizely.send_odp_event("sold", USER, data={"n": number, "pid": os.getpid()})


send(0)
if how == "fork":
    child = os.fork()
    if child == 0:
        send(1)
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    send(2)
    sys.exit(0)
send(1)
send(2)
if how == "sigterm":
    print("ready", flush=True)
    threading.Event().wait(60)
if how == "exception":
    raise RuntimeError("boom")
