"""Hostile records, each with what must become of it."""
