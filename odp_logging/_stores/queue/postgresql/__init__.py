"""The engine for PostgreSQL: a table of events, and small tables beside it.

schema.py has the tables and the rights, statements.py the insert of one event for the
outbox. leases.py, publishing.py, dead_letters.py, registry.py and counter.py have one
task each, connection.py all sockets, values.py and errors.py what travels on them.
"""

from .engine import PostgresEngine as Engine

__all__ = ["Engine"]
