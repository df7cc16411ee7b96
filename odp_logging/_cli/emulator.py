"""The command ``emulator``: a stand-in for ODP on this machine."""

from __future__ import annotations

import argparse
import threading

from .. import emulator
from .emulator_lines import LinePrinter
from .options import add_json_option, add_port_option, parse_text, print_message


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``emulator``."""
    parser.description = (
        "Answers on 127.0.0.1 as ODP's events API does, and shows on a page what"
        " arrives, until Ctrl-C. Prints the two variables to set in the shell of an"
        " application, and a line for each request. Exit status 0 after Ctrl-C or"
        " SIGTERM, 1 if the port cannot be used, 2 if the host cannot."
    )
    add_port_option(
        parser, 8181, "Port to listen on, 0 for a free one (default: %(default)s)."
    )
    parser.add_argument(
        "--key",
        type=parse_text,
        help="The only API key to accept (default: any that is not empty).",
    )
    parser.add_argument(
        "--open",
        action="store_true",
        help="Open the page in a browser. Other users of this machine see its address"
        " in the list of processes while the browser starts.",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="Print no line for each request."
    )
    add_json_option(parser)
    _add_access_options(parser)
    parser.set_defaults(run=run)


def _add_access_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for use from other machines."""
    parser.add_argument(
        "--host",
        type=parse_text,
        default="127.0.0.1",
        metavar="ADDRESS",
        help="IP address to listen on; with --allow-remote also 0.0.0.0, which stands"
        " for all addresses of this machine (default: %(default)s).",
    )
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="Let --host be an address that other machines and containers reach. They"
        " can send events, without encryption.",
    )
    # The token is None for a new one, and empty for none.
    access = parser.add_mutually_exclusive_group()
    access.add_argument(
        "--token",
        type=parse_text,
        metavar="TEXT",
        help="What the page and /_emulator/... require, in ?token= or in the header"
        " Authorization: Bearer. Other users of this machine see it in the list of"
        " processes (default: a new one, printed with the page's address).",
    )
    access.add_argument(
        "--no-token",
        action="store_const",
        const="",
        dest="token",
        help="Let every client that reaches it read and clear events, and set faults.",
    )


def run(options: argparse.Namespace) -> int:
    """Run the emulator until a signal ends it; return its exit status."""
    printer = LinePrinter(key=options.key, as_json=options.json)

    def report_start(running: emulator.Emulator) -> None:
        printer.print_urls(running)
        if options.open:
            open_page(running.page)

    return emulator.run(
        port=options.port,
        key=options.key,
        host=options.host,
        token=options.token,
        allow_remote=options.allow_remote,
        on_ready=report_start,
        on_requests=None if options.quiet else printer.print_requests,
    )


def open_page(address: str) -> None:
    """Open *address* in a browser, on a thread: a browser may take long to start."""

    def open_browser() -> None:
        # Imported here: few runs open a browser.
        import webbrowser

        try:
            is_open = webbrowser.open(address)
        except webbrowser.Error:
            is_open = False
        if not is_open:
            print_message("no browser was found: open the page's address in one")

    threading.Thread(target=open_browser, name="odp-browser", daemon=True).start()
