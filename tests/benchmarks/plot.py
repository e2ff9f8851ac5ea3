"""Draws cold start, one change and memory against size, all logarithmic, as an SVG that suits light and dark pages."""

from __future__ import annotations

import math
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from tests.benchmarks import names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.benchmarks.measure import Measure, Measures

_PANEL, _HEIGHT, _LEFT, _TOP, _PLOT = 320, 330, 52, 44, 190
_COLOURS = {
    names.OURS: "#2a9d5c",
    names.DEBIANS: "#d1495b",
    names.GIVEN: "#e08e0b",
    names.LINE: "#8a63d2",
    names.UNAVOIDABLE: "#3b82c4",
    names.FLOOR: "#808890",
}
_STYLE = (
    "svg{color:#24292f;background:#fff}.rule{stroke:#8b949e;stroke-opacity:.35}text{fill:currentColor}"
    "@media(prefers-color-scheme:dark){svg{color:#e6edf3;background:#0d1117}}"
)


@dataclass(frozen=True, slots=True)
class _Panel:
    """One quantity against size."""

    title: str
    part: str
    what: str


_PANELS = (
    _Panel("Start to the last ban in the kernel, s", names.COLD, names.SECONDS),
    _Panel("One more ban: poll to kernel, ms", names.CHANGE, names.changed(1, names.ADDED)),
    _Panel("Memory at rest, MB (PSS)", names.IDLE, names.REST),
)


def write(path: Path, measures: Measures) -> None:
    """Draw what was measured; without anything to draw nothing is written."""
    drawn = [(panel, _lines(measures, panel)) for panel in _PANELS]
    drawn = [(panel, lines) for panel, lines in drawn if lines]
    if not drawn:
        return
    path.write_text(_svg(drawn))


def as_picture(path: Path) -> None:
    """Write a PNG beside a drawing, if both can be."""
    program = shutil.which("rsvg-convert")
    if program and path.exists():
        picture = str(path.with_suffix(".png"))
        subprocess.run(
            [program, "--zoom", "2", "--background-color", "white", "-o", picture, path], check=True
        )


def _lines(measures: Measures, panel: _Panel) -> dict[str, list[Measure]]:
    lines: dict[str, list[Measure]] = {}
    for measure in sorted(measures.of(panel.part, panel.what), key=lambda m: m.size):
        if math.isfinite(measure.median) and measure.median > 0 and _colour(measure.who):
            lines.setdefault(measure.who, []).append(measure)
    return lines


def _svg(drawn: list[tuple[_Panel, dict[str, list[Measure]]]]) -> str:
    width = _PANEL * len(drawn)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}" '
        f'font-family="sans-serif" font-size="11"><style>{_STYLE}</style>',
    ]
    for at, (panel, lines) in enumerate(drawn):
        parts.append(f'<g transform="translate({at * _PANEL})">')
        parts += _panel(panel, lines)
        parts.append("</g>")
    parts += _legend({who for _, lines in drawn for who in lines}, width)
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel: _Panel, lines: dict[str, list[Measure]]) -> list[str]:
    points = [m for line in lines.values() for m in line]
    right, bottom = _PANEL - 14, _TOP + _PLOT
    sizes = sorted({m.size for m in points})
    low = math.floor(math.log10(min(m.median for m in points)))
    high = math.ceil(math.log10(max(m.median for m in points)))
    x = _scale(sizes[0], sizes[-1], _LEFT, right)
    y = _scale(10.0**low, 10.0 ** max(high, low + 1), bottom, _TOP)
    parts = [_text(_LEFT - 40, 22, panel.title, "start", 'font-size="13" font-weight="bold"')]
    for power in range(low, max(high, low + 1) + 1):
        parts.append(_text(_LEFT - 6, y(10.0**power) + 4, f"{10.0**power:,.6g}", "end"))
        parts.append(_rule(_LEFT, y(10.0**power), right, y(10.0**power)))
    for size in sizes:
        anchor = "end" if size == sizes[-1] and len(sizes) > 1 else "middle"
        parts.append(_text(x(size) + (8 if anchor == "end" else 0), bottom + 16, f"{size:,}", anchor))
        parts.append(_rule(x(size), _TOP, x(size), bottom))
    parts.append(_text((_LEFT + right) / 2, bottom + 32, "bans", "middle"))
    for who, line in lines.items():
        parts += _line(who, [(x(m.size), y(m.median), bool(m.note)) for m in line])
    return parts


def _line(who: str, points: list[tuple[float, float, bool]]) -> list[str]:
    """Draw one contender: dashed in iptables mode, with a hollow dot where it was cut off."""
    colour = _colour(who)
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _ in points)
    dots = (
        f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" stroke="{colour}" fill="{"none" if hollow else colour}"/>'
        for px, py, hollow in points
    )
    line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{_dash(who)}/>'
    return [f"<g><title>{escape(who)}</title>", line, *dots, "</g>"]


def _legend(drawn: set[str], width: int) -> list[str]:
    whose = [each for each in _COLOURS if any(_belongs(who, each) for who in drawn)]
    parts = []
    for at, each in enumerate(whose):
        px, py = 12 + at * (width - 12) / max(len(whose), 3), _HEIGHT - 32
        parts.append(f'<path d="M{px:.0f} {py}h22" stroke="{_COLOURS[each]}" stroke-width="3"/>')
        parts.append(_text(px + 28, py + 4, each, "start"))
    remark = "solid: nftables · dashed: iptables · hollow: cut off and extrapolated · both axes logarithmic"
    return [*parts, _text(12, _HEIGHT - 8, remark, "start", 'opacity=".7"')]


def _belongs(who: str, whose: str) -> bool:
    return who in (whose, *(names.who(whose, mode) for mode in names.MODES))


def _colour(who: str) -> str:
    return next((colour for whose, colour in _COLOURS.items() if _belongs(who, whose)), "")


def _dash(who: str) -> str:
    return ' stroke-dasharray="5 4"' if who.endswith(names.MODES[1]) else ""


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = math.log10(high / low) or 1.0
    return lambda value: start + math.log10(value / low) / span * (end - start)


def _text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(words)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="rule" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
