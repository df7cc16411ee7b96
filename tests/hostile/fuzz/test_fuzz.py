"""Every kept input, and random ones: what is promised holds of each."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .targets import TARGETS

SEEDS = Path(__file__).parent / "seeds"
WORDS = [
    line.strip('"').encode("latin-1").decode("unicode_escape").encode("latin-1")
    for line in (SEEDS.parent / "words").read_text("ascii").splitlines()
]
FREELY = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

parts = st.one_of(st.sampled_from(WORDS), st.binary(max_size=8))
inputs = st.one_of(st.binary(), st.lists(parts, max_size=40).map(b"".join))


@pytest.mark.parametrize("target", TARGETS)
def test_every_seed(target: str) -> None:
    """Each input that is kept, those that once broke something among them, is fine."""
    seeds = sorted((SEEDS / target).iterdir())

    assert len(seeds) >= 40
    for seed in seeds:
        try:
            TARGETS[target](seed.read_bytes())
        except BaseException as error:
            raise AssertionError(f"seed {seed.name}") from error


@pytest.mark.parametrize("target", TARGETS)
@FREELY
@given(data=inputs)
def test_any_input(target: str, data: bytes) -> None:
    """Whatever bytes are read as, the target keeps what it promises."""
    TARGETS[target](data)
