"""Write the table of settings into README.md, between two marks; with --check only tell whether it differs."""

# ruff: noqa: INP001 - a script of its own
from __future__ import annotations

import sys
from pathlib import Path

from fwbouncer.config.keys import rows

BEGIN, END = "<!-- keys: `make readme` writes this table from the program's own -->\n", "<!-- end of keys -->"


def cell(text: str) -> str:
    """Keep what would end a cell from doing so."""
    return text.replace("|", "\\|")


def table() -> str:
    """Return the table as Markdown."""
    lines = ["| key | type | default | |", "| --- | --- | --- | --- |"]
    for row in rows():
        default = f"`{row.default}`" if row.default else ""
        lines.append(f"| `{row.key}` | {cell(row.type)} | {cell(default)} | {cell(row.description)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Change the file that is named first."""
    path = Path(sys.argv[1])
    old = path.read_text()
    head, _, rest = old.partition(BEGIN)
    _, _, tail = rest.partition(END)
    new = head + BEGIN + "\n" + table() + "\n" + END + tail
    if "--check" not in sys.argv:
        path.write_text(new)
        return 0
    return int(new != old)


sys.exit(main())
