"""atheris's loop over one target, in a process of its own: it does not return."""

from __future__ import annotations

import sys
import warnings

import atheris

with atheris.instrument_imports(include=["odp_logging", "email"]):
    from .targets import TARGETS

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()
