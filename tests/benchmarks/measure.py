"""What is measured: numbers with their names, kept together from the first run to the table and the plot."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any


@dataclass(slots=True)
class Measure:
    """One quantity of one contender at one size, with every value that was measured."""

    part: str  # cold start, one change, …
    what: str  # what was measured, with its unit: "seconds", "CPU ms a poll"
    who: str
    size: int  # bans, unless the part says otherwise
    values: list[float] = field(default_factory=list)
    note: str = ""  # what must be known beside the number

    @property
    def median(self) -> float:
        """Return the median; NaN where nothing was measured."""
        return statistics.median(self.values) if self.values else math.nan

    @property
    def spread(self) -> float:
        """Return the half of the distance from the lowest to the highest value, against the median."""
        return (max(self.values) - min(self.values)) / 2 / self.median if self.values and self.median else 0.0


class Measures:
    """All that was measured, in the order in which it first appeared."""

    def __init__(self) -> None:
        self._all: dict[tuple[str, str, str, int], Measure] = {}
        self.remarks: list[str] = []

    def add(  # noqa: PLR0913 - a number and its whole name
        self, part: str, what: str, who: str, size: int, value: float, note: str = ""
    ) -> None:
        """Note one value."""
        measure = self._all.setdefault((part, what, who, size), Measure(part, what, who, size))
        measure.values.append(value)
        measure.note = note or measure.note

    def note(self, part: str, what: str, who: str, size: int, note: str) -> None:
        """Note why something isn't measured."""
        self._all.setdefault((part, what, who, size), Measure(part, what, who, size)).note = note

    def remark(self, remark: str) -> None:
        """Note what must be known about the whole run."""
        if remark not in self.remarks:
            self.remarks.append(remark)

    def find(self, part: str, what: str, who: str, size: int) -> Measure | None:
        """Return one quantity."""
        return self._all.get((part, what, who, size))

    def of(self, part: str, what: str | None = None) -> list[Measure]:
        """Return a part's quantities."""
        return [m for m in self._all.values() if m.part == part and what in (None, m.what)]

    def parts(self) -> list[str]:
        """Return the parts that there are."""
        return list(dict.fromkeys(m.part for m in self._all.values()))

    def as_json(self) -> list[dict[str, Any]]:
        """Return everything in a form that JSON can hold."""
        return [
            {**asdict(m), "median": _finite(m.median), "values": [_finite(value) for value in m.values]}
            for m in self._all.values()
        ]

    @classmethod
    def from_json(cls, listed: list[dict[str, Any]]) -> Measures:
        """Return what `as_json` wrote."""
        measures = cls()
        for each in listed:
            fields = {name: each[name] for name in ("part", "what", "who", "size", "note")}
            # JSON has no infinity: the runs that never ended are null.
            values = [math.inf if value is None else value for value in each["values"]]
            measure = Measure(**fields, values=values)
            measures._all[measure.part, measure.what, measure.who, measure.size] = measure
        return measures


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def growth(points: list[tuple[int, float]]) -> float | None:
    """Fit value = c · size^k through the points; returns k, or None for fewer than two sizes.

    1.0 is linear; n log n looks like 1.07 between a thousand and a million.
    """
    usable = [(math.log(size), math.log(value)) for size, value in points if size > 0 and value > 0]
    if len({x for x, _ in usable}) < 2:
        return None
    return statistics.linear_regression([x for x, _ in usable], [y for _, y in usable]).slope


def steepest(points: list[tuple[int, float]]) -> float | None:
    """Return the largest k of value = c · size^k between two neighbouring sizes; None for fewer than two."""
    ordered = sorted(points)
    steps = [growth([*pair]) for pair in pairwise(ordered)]
    return max((k for k in steps if k is not None), default=None)
