"""``python -m odp_logging.emulator``."""

from __future__ import annotations

import sys

from ._main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
