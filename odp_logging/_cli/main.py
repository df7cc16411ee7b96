"""The command ``odp-logging``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .errors import CommandError, UsageError, mask_credentials
from .parser import build_parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command that *argv* names; return its exit status.

    Raises:
        SystemExit: 2 for a wrong command line, after one line on stderr; 0 after
            ``--help`` and ``--version``.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            options = build_parser(words).parse_words(words)
            status: int = options.run(options)
        except UsageError as error:
            _print_error(f"{error}", words)
            raise SystemExit(2) from None
        except CommandError as error:
            _print_error(f"odp-logging: {error}", words)
            return 2
        finally:
            # Flushed here, where an error is caught. At its exit, the interpreter
            # would flush what is left and print a traceback.
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        return 130  # as a shell reports a program that Ctrl-C ended
    except BrokenPipeError:  # `odp-logging demo | head -1`
        # The interpreter flushes stdout once more at its exit, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _print_error(message: str, words: Sequence[str]) -> None:
    """Print *message* on stderr, without the credentials of a URL among *words*."""
    # Imported here: most runs print no error.
    from .._runtime.diagnostics import print_line

    print_line(mask_credentials(message, words), sys.stderr)
