"""Log in the processes of `multiprocessing` and of its pools."""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import shop

url, kind, method = sys.argv[1:]


def work(number: int) -> int:
    if not shop.log.handlers:  # spawned, not forked
        shop.open_at(url)
    shop.sell(number)
    return number


def main() -> None:
    context = multiprocessing.get_context(method)
    shop.open_at(url)
    shop.sell(0)
    if kind == "process":
        processes = [context.Process(target=work, args=(n,)) for n in (1, 2, 3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0, 0]
    elif kind == "pool":
        pool = context.Pool(2)
        assert pool.map(work, (1, 2, 3)) == [1, 2, 3]
        pool.close()
        pool.join()
    else:
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            assert list(executor.map(work, (1, 2, 3))) == [1, 2, 3]


if __name__ == "__main__":
    main()
