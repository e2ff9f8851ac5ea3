"""What James wrote, by name of the case. Files that end in `-from-source` are written after its source code."""

from __future__ import annotations

from pathlib import Path

# By the type that an acquisition gives to such a log.
RECORDS = {
    "james": (
        "james-3.8.1-jsonlayout",
        "james-3.8.1-jsonencoder",
        "james-3.9.0-from-source",
        "james-3.10-from-source",
    ),
    "james-plain": ("james-3.8.1-plain",),
}
CASE, COMMENT = "### ", "# "
# Empty lines are not read by CrowdSec either.
Record = dict[str, list[str]]


def read(name: str) -> Record:
    """Return a record's lines, case by case."""
    record: Record = {}
    lines: list[str] = []
    for line in (Path(__file__).parent / "lines" / f"{name}.log").read_bytes().decode().split("\n"):
        if line.startswith(CASE):
            lines = record.setdefault(line.removeprefix(CASE), [])
        elif line and not line.startswith(COMMENT):
            lines.append(line)
    return record
