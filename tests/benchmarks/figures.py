"""What a benchmark returns: a figure, its floor, the ratio and the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """
    One measured figure.

    Args:
        outcome: Which of the page's sections it belongs to.
        subject: What was measured.
        value: How much of it, in *unit*.
        floor: The same for what it is compared with, in the same run.
        against: What that is.
        target: Bound of the ratio (or, of an *absolute* figure, of the value).
        sense: Whether the ratio is to stay below or above it.
        absolute: Whether the target holds for the value itself.
        note: What the reader has to know.
    """

    outcome: int
    subject: str
    value: float
    unit: str
    floor: float | None = None
    against: str = ""
    target: float | None = None
    sense: Literal["<=", ">="] = "<="
    absolute: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times the floor."""
        return self.value / self.floor if self.floor else None

    @property
    def verdict(self) -> str:
        """``reached``, ``not reached`` or nothing where there is no target."""
        measured = self.value if self.absolute else self.ratio
        if self.target is None or measured is None:
            return ""
        met = measured <= self.target
        if self.sense == ">=":
            met = measured >= self.target
        return "reached" if met else "not reached"


def table(figures: Sequence[Figure]) -> str:
    """Return *figures* as a table in Markdown."""
    lines = [
        "| # | figure | measured | floor | ratio | target | |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for each in sorted(figures, key=lambda figure: figure.outcome):
        floor = f"{_short(each.floor)} ({each.against})" if each.floor else each.against
        ratio = "" if each.ratio is None else f"{each.ratio:.2f}"
        target = ""
        if each.target is not None:
            unit = f" {each.unit}" if each.absolute else " x"
            target = f"{each.sense} {each.target:g}{unit}"
        subject = f"{each.subject}; {each.note}" if each.note else each.subject
        lines.append(
            f"| {each.outcome} | {subject} | {_short(each.value)} {each.unit} | {floor}"
            f" | {ratio} | {target} | {each.verdict} |"
        )
    return "\n".join(lines)


def _short(number: float) -> str:
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3g}"
