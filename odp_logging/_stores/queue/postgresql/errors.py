"""What an error of PostgreSQL means, in words and without the text that it quotes.

The texts of the server may hold values: ``DETAIL`` has whole rows. So a statement's
error is known by its SQLSTATE only. An error before the login has no SQLSTATE in libpq.
Its text is searched for known words, and is not shown either.
"""

from __future__ import annotations

_NO_TABLE = "has no table {table}; create it with odp-logging queue apply URL"
_OTHER_VERSION = (
    "has tables of another version of this library; run odp-logging queue apply URL"
    " with the newest version that uses them"
)
_FULL = "accepts no more connections; increase its max_connections, or use a pooler"
_STARTING = "is starting or shutting down"
_STANDBY = "is a standby or read-only; use the address of its primary"
_PASSWORD = "refuses the user or password of its URL"

# Codes of PostgreSQL's documentation, appendix A.
_STATES = {
    "22021": "has an encoding that cannot store this text; use a database with UTF8",
    "25006": _STANDBY,
    "3F000": "has no schema of that name; create it first",
    "40001": "rolled a transaction back because of another one",
    "40P01": "rolled a transaction back because of another one",
    "42501": (
        "does not permit this user a statement that the library needs; see odp-logging"
        " queue schema --help for the rights"
    ),
    "42703": _OTHER_VERSION,
    "42P01": _NO_TABLE,
    "42P10": _OTHER_VERSION,
    "53100": "has no disk space left; free some for it",
    "53200": "has no memory left for a statement",
    "53300": _FULL,
    "54000": "cannot store an event of this size",
    "55P03": "did not get a lock in time; look for a long transaction on its tables",
    "57014": "canceled a statement: statement_timeout, or by hand",
    "57P01": _STARTING,
    "57P02": _STARTING,
    "57P03": _STARTING,
    "57P05": "ended an idle session",
    "58030": "cannot write or read its files",
}
"""What to say for a SQLSTATE."""

_CLASSES = {
    "08": "closed the connection",
    "28": _PASSWORD,
    "53": "lacks a resource for a statement",
    "58": "cannot write or read its files",
    "XX": "found its own data damaged, or failed inside; see its log",
}
"""The same for the first two characters of others."""

_LOGIN = (
    ("password authentication failed", _PASSWORD),
    ("no password supplied", "requires a password, which its URL does not have"),
    ("authentication failed", _PASSWORD),
    ("no pg_hba.conf entry", "has no rule in pg_hba.conf for this user and host"),
    ("no such user", _PASSWORD),
    ("permission denied for database", "does not permit this user its database"),
    ("is not permitted to log in", _PASSWORD),
    ("no such database", "has no database of that name"),
    ("bouncer config error", "has a pooler that does not know the database or user"),
    ("query_wait_timeout", "has a pooler without a free connection to the server"),
    ("server login", "has a pooler that cannot log in to the server"),
    # "too many clients already", "too many connections for role".
    ("too many c", _FULL),
    ("connection slots are reserved", _FULL),
    ("no more connections allowed", _FULL),
    ("starting up", _STARTING),
    ("shutting down", _STARTING),
    ("recovery mode", _STARTING),
    ("not yet accepting connections", _STARTING),
    ("session is read-only", _STANDBY),
    ("hot standby mode", _STANDBY),
    ("could not translate host name", "has a host name that cannot be resolved"),
    ("Connection refused", "refused the connection"),
    ("Connection reset", "closed the connection"),
    ("closed the connection", "closed the connection"),
    ("Network is unreachable", "cannot be reached: the network is unreachable"),
    ("No route to host", "cannot be reached: no route to its host"),
    ("timed out", "cannot be reached: its host does not answer"),
    (
        "root certificate file",
        "cannot be verified: set sslrootcert= to the file of its authority",
    ),
    (
        "certificate verify failed",
        "has a certificate that is not trusted here; set sslrootcert= to the file of"
        " its authority",
    ),
    ("does not match host name", "has a certificate for another host"),
    ("does not support SSL", "does not support TLS, which sslmode= requires"),
    ("unexpected response from server", "does not speak the protocol of PostgreSQL"),
    ("expected authentication request", "does not speak the protocol of PostgreSQL"),
)
"""Words of an error at the login, the first one that is found counts."""


def format_state(state: str, table: str) -> str:
    """Return what an error with the SQLSTATE *state* means."""
    known = _STATES.get(state) or _CLASSES.get(state[:2])
    if known is None:
        return f"answered with the error {state}" if state else "refused a statement"
    return known.format(table=table)


def format_libpq_error(text: str) -> str:
    """Return why there is no connection, by libpq's *text*."""
    # The name of the database or role stands between these words.
    if "database" in text and "does not exist" in text:
        return "has no database of that name"
    if "role" in text and "does not exist" in text:
        return _PASSWORD
    for words, message in _LOGIN:
        if words in text:
            return message
    return "refused the connection for another reason; see the server's log"
