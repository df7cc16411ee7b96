"""Log in greenlets, with gevent's patches applied before or after the import."""

import sys

url, when = sys.argv[1:]
if when == "early":
    from gevent import monkey

    monkey.patch_all()
import shop  # noqa: E402

if when == "late":
    from gevent import monkey

    monkey.patch_all()
import gevent  # noqa: E402

shop.open_at(url)


def work(number: int) -> None:
    shop.sell(number)
    gevent.sleep(0)


gevent.joinall([gevent.spawn(work, number) for number in range(20)])
