"""Log for the first time in an exit callback, with a name server that hangs."""

import atexit
import socket
import sys
import time

(when,) = sys.argv[1:]
began = 0.0
look_up = socket.getaddrinfo


def hang(host: str, *arguments: object, **flags: int) -> object:
    if flags.get("flags", 0) & socket.AI_NUMERICHOST:
        return look_up(host, *arguments, **flags)
    time.sleep(10)
    raise socket.gaierror(socket.EAI_AGAIN, "no name server answered")


def log() -> None:
    global began
    began = time.monotonic()
    shop.sell(0)


def print_duration() -> None:
    print(time.monotonic() - began)


socket.getaddrinfo = hang
atexit.register(print_duration)
if when == "after the last drain":
    atexit.register(log)

import shop  # noqa: E402

shop.open_at("https://odp.invalid", shutdown_timeout=1)
if when == "before the last drain":
    atexit.register(log)
