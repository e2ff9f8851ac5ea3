"""The measures as tables for people, as JSON for programs."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.measure import growth, steepest
from tests.benchmarks.targets import targets

if TYPE_CHECKING:
    from tests.benchmarks.measure import Measure, Measures
    from tests.benchmarks.targets import Target

_CPUINFO = Path("/proc/cpuinfo")


def machine(versions: dict[str, str] | None = None) -> dict[str, Any]:
    """Say where and when this was measured, and who was."""
    model = next(
        (line.split(": ")[1] for line in _CPUINFO.read_text().splitlines() if "model name" in line), "?"
    )
    commit = ""
    with suppress(OSError, subprocess.CalledProcessError):
        words = ("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")
        commit = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "kernel": platform.release().partition("-")[0],
        "processor": f"{model}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "commit": commit,
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "load": round(os.getloadavg()[0], 1),
        "versions": versions or {},
    }


def write(folder: Path, where: dict[str, Any], measures: Measures) -> None:
    """Write both."""
    whole = {
        "machine": where,
        "remarks": measures.remarks,
        "targets": [target.as_json() for target in targets(measures)],
        "measures": measures.as_json(),
    }
    (folder / "bench.json").write_text(json.dumps(whole, indent=1) + "\n")
    (folder / "bench.md").write_text(markdown(where, measures))


def markdown(where: dict[str, Any], measures: Measures) -> str:
    """Write a table for each quantity: contenders down, sizes across, medians in the cells."""
    text = [", ".join(f"{name} {value}" for name, value in where.items() if name != "versions") + "\n"]
    text += [f"- {who}: {version}" for who, version in where["versions"].items()]
    text += [f"- {remark}" for remark in measures.remarks]
    for part in measures.parts():
        text.append(f"\n## {part}\n")
        names = dict.fromkeys(m.what for m in measures.of(part))
        text += [_table(what, measures.of(part, what)) for what in names]
    text += ["\n## targets\n", goals(targets(measures))]
    return "\n".join(text)


def goals(lines: list[Target]) -> str:
    """Write what was wanted and what is reached as a table."""
    rows = [["target", "wanted", "reached", "", ""]]
    for each in lines:
        sign, missed = "≥" if each.at_least else "≤", each.missed_by
        verdict = (
            "not measured"
            if each.met is None
            else "met"
            if missed is None
            else f"missed by {number(missed)} times"
        )
        reached = "" if each.reached is None else f"{number(each.reached)} {each.unit}"
        rows.append([each.what, f"{sign} {each.wanted:.3g} {each.unit}", reached, verdict, each.note])
    return aligned(rows)


def _table(what: str, measures: list[Measure]) -> str:
    sizes = sorted({m.size for m in measures})
    rows = [[what, *(f"{size:,}" for size in sizes), "growth"]]
    notes: list[str] = []
    for who in dict.fromkeys(m.who for m in measures):
        by_size = {m.size: m for m in measures if m.who == who}
        cells = [_cell(by_size.get(size), notes) for size in sizes]
        points = [(size, m.median) for size, m in by_size.items() if math.isfinite(m.median)]
        rows.append([who.replace("|", "\\|"), *cells, _growth(points)])
    return "\n".join([aligned(rows), *(f"[{number}] {note}\n" for number, note in enumerate(notes, 1))])


def aligned(rows: list[list[str]]) -> str:
    """Write a table in Markdown whose columns are straight; the first row heads it."""
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    rows.insert(1, ["-" * (widths[0]), *("-" * (width - 1) + ":" for width in widths[1:])])
    return "".join(f"| {' | '.join(_padded(row, widths))} |\n" for row in rows)


def _padded(row: list[str], widths: list[int]) -> list[str]:
    first, *others = zip(row, widths, strict=True)
    return [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]


def _cell(measure: Measure | None, notes: list[str]) -> str:
    if measure is None:
        return ""
    mark = ""
    if measure.note:
        if measure.note not in notes:
            notes.append(measure.note)
        mark = f" [{notes.index(measure.note) + 1}]"
    return number(measure.median) + mark if math.isfinite(measure.median) else "-" + mark


def _growth(points: list[tuple[int, float]]) -> str:
    exponent, most = growth(points), steepest(points)
    if exponent is None or most is None:
        return ""
    return f"n^{exponent:.2f}" if len(points) < 3 else f"n^{exponent:.2f}, at most n^{most:.2f}"


def number(value: float) -> str:
    """Write a number with three digits that mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    digits = 2 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"
