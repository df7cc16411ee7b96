"""The options of ``replay`` that name an old key, and the move of its events."""

from __future__ import annotations

import argparse
from pathlib import Path

from .._config.environment import read_secret
from .._config.secrets import wrap_secrets
from .._runtime.secret import Secret
from .._stores.spool.errors import SpoolError
from .._stores.spool.rotation import Moved, move_files
from .._stores.spool.warnings import SpoolWarnings
from .errors import CommandError
from .options import load_config, parse_text, print_message
from .spool import list_files


def add_old_key_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a key whose events are to be sent with the new one."""
    # No option takes the key itself: other users of the machine see command lines.
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--from-key-env",
        type=parse_text,
        metavar="NAME",
        help="Also send the events of an old key, with the new one: the environment"
        " variable that holds the old key.",
    )
    source.add_argument(
        "--from-key-file",
        type=parse_text,
        metavar="FILE",
        help="The same, with a file that holds the old key.",
    )
    parser.add_argument(
        "--from-host",
        type=parse_text,
        metavar="URL",
        help="The API host of the old key, if it was another one.",
    )


def load_old_account(options: argparse.Namespace, account: str) -> str | None:
    """
    Return the account of the old key that *options* name; None if they name none.

    Args:
        account: The account of the new key.

    Raises:
        CommandError: The old key cannot be read or used, or it is the new one.
    """
    if options.from_key_env is None and options.from_key_file is None:
        if options.from_host is not None:
            raise CommandError("--from-host needs --from-key-env or --from-key-file")
        return None
    settings = wrap_secrets(_read_old_key(options), {"api_host": options.from_host})
    destination = load_config(settings, print_message).destination()
    if destination is None:  # the key is given, so there is a destination
        raise CommandError("the old key cannot be used")
    if destination.fingerprint == account:
        raise CommandError(
            "the old key and host are those of ODP_API_KEY and ODP_API_HOST; leave out"
            " --from-key-env and --from-key-file, or name another key"
        )
    return destination.fingerprint


def _read_old_key(options: argparse.Namespace) -> Secret:
    """Return the old key, wrapped; no message quotes it, or what was given for it."""
    if options.from_key_env is not None:
        found = read_secret(options.from_key_env)
        if found is None:
            # Not by its name, in whose place the key itself may have been given.
            raise CommandError(
                "the environment variable of --from-key-env is not set; give the name"
                " of one that holds the old key"
            )
        return found
    try:
        key = Secret(Path(options.from_key_file).read_text(encoding="utf-8").strip())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise CommandError(
            f"the file of --from-key-file cannot be read: {reason}"
        ) from None
    if not key.get_secret_value():
        raise CommandError("the file of --from-key-file is empty")
    return key


def move_old_events(spool_dir: Path, *, old: str, new: str) -> Moved:
    """
    Move the events of the account *old* in the spool *spool_dir* to *new*.

    Raises:
        CommandError: They cannot be moved; those that were not stay as they were.
    """
    warnings = SpoolWarnings(spool_dir, lambda kind, text: print_message(text))
    try:
        return move_files(
            spool_dir, list_files(spool_dir), old=old, new=new, warnings=warnings
        )
    except (OSError, SpoolError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CommandError(
            f"the events of the old key cannot be moved: {reason}; they stay in the"
            " spool. Fix the cause and run replay again"
        ) from None
    finally:
        warnings.emit()
