"""Puts chosen runs into README, as one small table, and draws docs/bench.svg.

python -m tests.benchmarks.publish FOLDER [FOLDER ...]: what `make bench` wrote there. What several measured is taken
from the last of them.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks import names, plot
from tests.benchmarks.measure import Measures
from tests.benchmarks.report import aligned, number
from tests.lab.crowdsec import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGIN, END = "<!-- bench: written by python -m tests.benchmarks.publish -->\n", "<!-- end of bench -->\n"
_COLUMNS = {  # heading -> contender
    f"{called} {mode}": names.who(whose, mode)
    for mode in names.MODES
    for whose, called in (
        (names.OURS, "**fwbouncer**"),
        (names.GIVEN, "newest incumbent"),
        (names.DEBIANS, "Debian's incumbent"),
    )
} | {names.LINE.replace("|", "\\|"): names.LINE, "can't be less": names.UNAVOIDABLE}


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table."""

    called: str
    part: str
    what: str
    size: int


def _rows() -> list[_Row]:
    flood = names.paid(names.FLOOD, "TCP SYN", 4, f"1 origin, {names.TRACKED}")
    data = names.paid(names.ACCEPTED, "TCP data", 4, f"1 origin, {names.TRACKED}")
    return [
        *(
            _Row(f"start to the last of {size:,} bans, s", names.COLD, names.SECONDS, size)
            for size in (1_000, 100_000, 1_000_000)
        ),
        *(
            _Row(f"the most memory on the way to {size:,}, MB", names.COLD, names.PEAK, size)
            for size in (100_000, 1_000_000)
        ),
        *(
            _Row(f"memory at rest with {size:,}, MB", names.IDLE, names.REST, size)
            for size in (100_000, 1_000_000)
        ),
        *(
            _Row(f"one more ban beside {size:,}, ms", names.CHANGE, names.changed(1, names.ADDED), size)
            for size in (1_000, 100_000, 1_000_000)
        ),
        _Row("a poll without news, ms of CPU", names.IDLE, names.CPU_A_POLL, 100_000),
        _Row("10,000 bans: a packet of a SYN flood, ns", names.PACKETS, flood, 10_000),
        _Row("10,000 bans: a packet that is let pass, ns", names.PACKETS, data, 10_000),
    ]


def main() -> int:
    """Publish what the command line names."""
    where, measures = _read([Path(each) for each in sys.argv[1:]])
    text = "".join([_picture(), _table(measures), "\n", _machine(where), "\n"])
    readme = CHECKOUT / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        print("README.md has no place for the table", file=sys.stderr)
        return 1
    readme.write_text(before + BEGIN + text + END + after)
    plot.write(CHECKOUT / "docs/bench.svg", measures)
    return 0


def _read(folders: Sequence[Path]) -> tuple[dict[str, Any], Measures]:
    where: dict[str, Any] = {"versions": {}}
    listed: list[dict[str, Any]] = []
    for folder in folders:
        run = json.loads((folder / "bench.json").read_text())
        where = {**run["machine"], "versions": where["versions"] | run["machine"]["versions"]}
        listed += run["measures"]
    return where, Measures.from_json(listed)


def _picture() -> str:
    return "![Cold start, one change and memory at rest against the number of bans](docs/bench.svg)\n\n"


def _table(measures: Measures) -> str:
    columns = {
        heading: whose
        for heading, whose in _COLUMNS.items()
        if any(_cell(measures, row, whose) for row in _rows())
    }
    rows = [["", *columns]]
    for row in _rows():
        cells = [_cell(measures, row, whose) for whose in columns.values()]
        if any(cells):
            rows.append([row.called, *cells])
    return aligned(rows)


def _cell(measures: Measures, row: _Row, whose: str) -> str:
    found = measures.find(row.part, row.what, whose, row.size)
    if found is None or not found.values:
        return ""
    return f"{'≥ ' if found.note else ''}{number(found.median)}" if math.isfinite(found.median) else "-"


def _machine(where: dict[str, Any]) -> str:
    versions = where["versions"]
    theirs = {
        whose: versions[names.who(whose, "nftables")]
        for whose in (names.GIVEN, names.DEBIANS)
        if names.who(whose, "nftables") in versions
    }
    called = {names.GIVEN: "newest incumbent", names.DEBIANS: "Debian's"}
    who = ", ".join(f"{called[whose]}: {version}" for whose, version in theirs.items())
    return (
        f"{where['date']}, {where['processor']}, Linux {where['kernel']}, Python {where['python']}; {who}. "
        "Medians of five; "
        "≥: cut off before all bans were there; at least this, by its pace until then.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
