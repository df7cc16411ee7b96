"""Counts and lists of names in messages."""

from __future__ import annotations

from odp_logging._runtime.text import format_count, format_names


def test_a_noun_agrees_with_its_number():
    """One is singular, all others are plural."""
    assert format_count(1, "file") == "1 file"
    assert format_count(2_000, "file") == "2,000 files"


def test_a_long_list_of_names_is_shortened():
    """After five names the number of the others is given."""
    assert format_names(list("abcdefg")) == "a, b, c, d, e and 2 more"
