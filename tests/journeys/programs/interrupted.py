"""End with three events that nobody takes; Ctrl-C comes as our exit callback begins."""

import atexit
import sys
from types import FrameType

import shop

from odp_logging import _lifecycle


def interrupt(frame: FrameType, event: str, _: object) -> None:
    """Raise what Ctrl-C raises, once, where the last drain begins."""
    if event == "call" and frame.f_code is _lifecycle._at_exit.__code__:
        sys.setprofile(None)
        raise KeyboardInterrupt


shop.open_at(sys.argv[1], shutdown_timeout=0.5)
for number in range(3):
    shop.sell(number)
atexit.register(sys.setprofile, interrupt)
