"""Draws cold starts against size, both logarithmic, as an SVG that needs nothing to be seen."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from tests.benchmarks import names
from tests.benchmarks.report import number

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.benchmarks.measure import Measure, Measures

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 420, 64, 200, 40, 48
_COLOURS = ("#0b6e4f", "#3fa34d", "#c1121f", "#e07a5f", "#7b2cbf", "#b185db", "#6c757d", "#1d3557", "#457b9d")

_PARTS = {*names.PIECES} - {names.FLOOR}  # of the unavoidable


def write(path: Path, measures: Measures) -> None:
    """Draw what was measured; without any cold start nothing is written."""
    lines: dict[str, list[Measure]] = {}
    for measure in measures.of(names.COLD, names.SECONDS):
        if math.isfinite(measure.median) and measure.who not in _PARTS:
            lines.setdefault(measure.who, []).append(measure)
    if lines:
        path.write_text(_svg(lines))


def _svg(lines: dict[str, list[Measure]]) -> str:
    points = [m for line in lines.values() for m in line]
    x = _scale([m.size for m in points], _LEFT, _WIDTH - _RIGHT)
    y = _scale([m.median for m in points], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">From start to the last ban in the kernel, seconds</text>',
    ]
    for size in sorted({m.size for m in points}):
        parts.append(_text(x(size), _HEIGHT - _BOTTOM + 20, f"{size:,} bans", "middle"))
        parts.append(_rule(x(size), _TOP, x(size), _HEIGHT - _BOTTOM))
    low, high = (math.floor(math.log10(f(m.median for m in points))) for f in (min, max))
    for power in range(low, high + 2):
        at = y(10.0**power)
        if _TOP <= at <= _HEIGHT - _BOTTOM:
            parts.append(_text(_LEFT - 8, at + 4, number(10.0**power), "end"))
            parts.append(_rule(_LEFT, at, _WIDTH - _RIGHT, at))
    labels = _spread([y(sorted(line, key=lambda m: m.size)[-1].median) for line in lines.values()])
    for (who, line), colour, label in zip(lines.items(), _COLOURS * 9, labels, strict=False):
        parts += _line(
            who, [(x(m.size), y(m.median)) for m in sorted(line, key=lambda m: m.size)], colour, label
        )
    return "\n".join([*parts, "</svg>\n"])


def _line(who: str, points: list[tuple[float, float]], colour: str, label: float) -> list[str]:
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in points),
        f'<text x="{_WIDTH - _RIGHT + 12}" y="{label + 4:.1f}" fill="{colour}">{escape(who)}</text>',
    ]


def _scale(values: list[float] | list[int], start: float, end: float) -> Callable[[float], float]:
    low, high = math.log10(min(values)), math.log10(max(values))
    span = (high - low) or 1.0
    return lambda value: start + (math.log10(value) - low) / span * (end - start)


def _spread(heights: list[float], apart: float = 16.0) -> list[float]:
    """Move labels apart that would lie on each other, the lowest value staying where it is."""
    order = sorted(range(len(heights)), key=lambda at: -heights[at])
    placed = list(heights)
    for before, at in pairwise(order):
        placed[at] = min(placed[at], placed[before] - apart)
    return placed


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'
