"""End pools whose workers were just forked; print after each one."""

import multiprocessing
import sys

import shop


def square(number: int) -> int:
    return number * number


def main() -> None:
    url, rounds = sys.argv[1:]
    shop.open_at(url)
    context = multiprocessing.get_context("fork")
    for _ in range(int(rounds)):
        with context.Pool(4, maxtasksperchild=1) as pool:
            assert pool.map(square, range(8), 1) == [n * n for n in range(8)]
        print(1, flush=True)


if __name__ == "__main__":
    main()
