"""``python -m odp_logging``: the command ``odp-logging``."""

from __future__ import annotations

import contextlib
import os
import sys

if __name__ == "__main__":
    # Python puts the current directory first. A file there must not take the place of
    # a module of the standard library or of a dependency.
    with contextlib.suppress(OSError):  # the directory was removed
        if sys.path and sys.path[0] in ("", os.getcwd()):
            del sys.path[0]

    from ._cli.main import main

    sys.exit(main())
