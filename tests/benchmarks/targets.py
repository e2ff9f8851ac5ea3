"""What the measures are to show: for each goal what is wanted, what was reached, and by how much it is missed.

Pure: from measures to lines. A goal whose measures are missing is told as not measured.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.benchmarks import names
from tests.benchmarks.names import DEBIANS, GIVEN, MODES, OURS, who

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.measure import Measure, Measures

_SINGLE = (
    *(names.changed(1, deed) for deed in (names.ADDED, names.RENEWED, names.DELETED)),
    names.WIDE_ADDED,
    names.WIDE_DELETED,
)
HUNDRED_THOUSAND, MILLION = 100_000, 1_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """One goal. `reached` is None where it wasn't measured, infinite where it never came about."""

    what: str
    wanted: float
    reached: float | None
    unit: str = "times"
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Tell whether it is reached; None where it wasn't measured."""
        if self.reached is None:
            return None
        return self.reached >= self.wanted if self.at_least else self.reached <= self.wanted

    @property
    def missed_by(self) -> float | None:
        """Return the factor by which it is missed; None where it is reached, or not measured."""
        if self.reached is None or self.met:
            return None
        better, worse = (self.reached, self.wanted) if self.at_least else (self.wanted, self.reached)
        return worse / better if better else math.inf

    def as_json(self) -> dict[str, Any]:
        """Return it in a form that JSON can hold."""
        values = {**asdict(self), "met": self.met, "missed_by": self.missed_by}
        return {key: None if value in (math.inf, -math.inf) else value for key, value in values.items()}


def targets(measures: Measures) -> list[Target]:
    """Return all goals."""
    return [
        *(line for mode in MODES for line in _cold(measures, mode)),
        *(line for mode in MODES for line in _change(measures, mode)),
        *(line for mode in MODES for line in _idle(measures, mode)),
        *(line for mode in MODES for line in _growth(measures, mode)),
        *_packets(measures),
    ]


def _cold(measures: Measures, mode: str) -> Iterator[Target]:
    def seconds(whose: str, size: int = HUNDRED_THOUSAND) -> float | None:
        return _median(measures.find(names.COLD, names.SECONDS, whose, size))

    ours, where = seconds(who(OURS, mode)), f"{mode}, cold start at {HUNDRED_THOUSAND:,}"
    yield Target(f"{where}: against the unavoidable", 1.5, _ratio(ours, seconds(names.UNAVOIDABLE)))
    for whose, wanted in ((DEBIANS, 20.0), (GIVEN, 5.0)):
        found = measures.find(names.COLD, names.SECONDS, who(whose, mode), HUNDRED_THOUSAND)
        reached = _ratio(_median(found), ours)
        yield Target(
            f"{where}: faster than {whose}", wanted, reached, at_least=True, note=found.note if found else ""
        )
    done = measures.find(names.COLD, names.SECONDS, who(OURS, mode), MILLION)
    peak = _median(measures.find(names.COLD, names.PEAK, who(OURS, mode), MILLION))
    cut_off = done is not None and bool(done.note)
    yield Target(
        f"{mode}, cold start at {MILLION:,}: done, peak of memory",
        600.0,
        math.inf if cut_off else peak,
        "MB",
        note=done.note if done else "",
    )


def _change(measures: Measures, mode: str) -> Iterator[Target]:
    def ms(what: str, size: int) -> float | None:
        return _median(measures.find(names.CHANGE, what, who(OURS, mode), size))

    large = {what: value for what in _SINGLE if (value := ms(what, MILLION)) is not None}
    slowest = max(large, key=large.__getitem__, default=None)
    yield Target(
        f"{mode}, one change at {MILLION:,}: the slowest",
        10.0,
        large[slowest] if slowest else None,
        "ms",
        note=_change_name(slowest),
    )
    ratios = {what: ratio for what in large if (ratio := _ratio(large[what], ms(what, 1_000))) is not None}
    steepest = max(ratios, key=ratios.__getitem__, default=None)
    yield Target(
        f"{mode}, one change at {MILLION:,}: against the same at 1,000",
        2.0,
        ratios[steepest] if steepest else None,
        note=_change_name(steepest),
    )


def _idle(measures: Measures, mode: str) -> Iterator[Target]:
    polls = [m for m in measures.of(names.IDLE, names.CPU_A_POLL) if m.who == who(OURS, mode) and m.values]
    worst = max(polls, key=lambda m: m.median, default=None)
    yield Target(
        f"{mode}, idle: processor time a poll, at any size",
        2.0,
        worst.median if worst else None,
        "ms",
        note=f"at {worst.size:,}" if worst else "",
    )

    def rest(whose: str, size: int) -> float | None:
        return _median(measures.find(names.IDLE, names.REST, who(whose, mode), size))

    yield Target(f"{mode}, at rest with {MILLION:,}", 300.0, rest(OURS, MILLION), "MB")
    for whose in (DEBIANS, GIVEN):
        ratio = _ratio(rest(OURS, HUNDRED_THOUSAND), rest(whose, HUNDRED_THOUSAND))
        yield Target(f"{mode}, at rest with {HUNDRED_THOUSAND:,}: memory against {whose}", 1.0, ratio)


def _growth(measures: Measures, mode: str) -> Iterator[Target]:
    """Compare each step from one size to the next with n log n, which is 1; 0.5 is half of that step."""
    for part, what, called in (
        (names.COLD, names.SECONDS, "the cold start's time"),
        (names.COLD, names.PEAK, "the peak of memory"),
        (names.IDLE, names.REST, "memory at rest"),
    ):
        step, sizes = _steepest(measures, part, what, who(OURS, mode))
        kernels = _steepest(measures, part, what, names.FLOOR)[0] if what == names.SECONDS else None
        note = f"from {sizes[0]:,} to {sizes[1]:,}" if sizes else ""
        note += f"; {names.FLOOR}: {kernels:.2f}" if kernels and note else ""
        yield Target(f"{mode}, growth of {called}: against n log n", 1.0, step, note=note)


def _packets(measures: Measures) -> Iterator[Target]:
    """Compare with rules of the same origins; of all kinds of packet and all sizes the worst counts."""
    passing, flood = (names.ACCEPTED, names.FORWARDED), (names.FLOOD,)
    for whose in (DEBIANS, GIVEN):
        for called, wanted, whats, kinds in (
            ("a packet that passes", 1.0, passing, ("",)),
            ("a flood of connections", 2 / 3, flood, names.OPENINGS),
            ("a flood of anything", 2 / 3, flood, ("",)),
        ):
            ratio, note = _worst(measures, whose, whats, kinds)
            yield Target(f"nftables, {called}, tracked: against {whose}", wanted, ratio, note=note)
    left = [
        m
        for m in measures.of(names.PACKETS)
        if m.what.startswith(names.LEFT) and m.who == who(OURS, "nftables")
    ]
    most = max((m.median for m in left), default=None)
    yield Target("nftables, tracked connections that a flood leaves", 0.0, most, "connections")


def _worst(
    measures: Measures, whose: str, whats: tuple[str, ...], kinds: tuple[str, ...]
) -> tuple[float | None, str]:
    """Return the highest ratio of our cost to theirs, and where it was."""
    begins = tuple(f"ns, {what}, {kind}" for what in whats for kind in kinds)
    ratios: dict[str, float] = {}
    for ours in measures.of(names.PACKETS):
        if ours.who != who(OURS, "nftables") or not ours.what.startswith(begins):
            continue
        theirs = measures.find(names.PACKETS, ours.what, who(whose, "nftables"), ours.size)
        ratio = _ratio(_median(ours), _median(theirs))
        if ratio is not None and not ours.what.endswith(names.UNTRACKED):
            ratios[f"{ours.what.removeprefix('ns, ')}, {ours.size:,} bans"] = ratio
    worst = max(ratios, key=ratios.__getitem__, default="")
    return ratios.get(worst), worst


def _steepest(
    measures: Measures, part: str, what: str, whose: str
) -> tuple[float | None, tuple[int, int] | None]:
    found = sorted((m for m in measures.of(part, what) if m.who == whose), key=lambda m: m.size)
    points = [(m.size, m.median) for m in found if math.isfinite(m.median) and not m.note]
    steps = [
        ((after / before) / (more * math.log(more) / (size * math.log(size))), (size, more))
        for (size, before), (more, after) in pairwise(points)
    ]
    return max(steps, default=(None, None))


def _change_name(what: str | None) -> str:
    return (what or "").removeprefix("ms, ")


def _median(measure: Measure | None) -> float | None:
    return measure.median if measure is not None and measure.values else None


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None
