"""The corpus: every hostile record, by kind."""

from __future__ import annotations

from . import containers, liars, mutations, names, people, shapes, texts, times, values

RECORDS = [
    record
    for kind in (
        names,
        people,
        values,
        texts,
        containers,
        liars,
        mutations,
        times,
        shapes,
    )
    for record in kind.RECORDS
]
