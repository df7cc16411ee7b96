"""The engine for Redis Streams, in several files because it is the largest one.

entries.py has the format of an entry, streams.py the names of the keys, publishing.py,
leases.py and dead_letters.py one task each, connection.py all sockets.
"""

from .engine import RedisEngine as Engine

__all__ = ["Engine"]
