"""End with three undeliverable events; Ctrl-C comes when the last drain begins."""

import atexit
import sys
from types import FrameType

import shop

from odp_logging._runtime.shutdown import drain_at_exit


def interrupt(frame: FrameType, event: str, _: object) -> None:
    """Raise KeyboardInterrupt once, at the start of the last drain."""
    if event == "call" and frame.f_code is drain_at_exit.__code__:
        sys.setprofile(None)
        raise KeyboardInterrupt


shop.open_at(sys.argv[1], shutdown_timeout=0.5)
for number in range(3):
    shop.sell(number)
atexit.register(sys.setprofile, interrupt)
