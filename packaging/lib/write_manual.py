"""Write the manual pages into a folder: the templates in packaging/man, filled in from the program's own words.

    python3 packaging/lib/write_manual.py build/man

SOURCE_DATE_EPOCH, if set, is the date in them. Only the standard library is needed.
"""

# ruff: noqa: INP001 - a script of its own
from __future__ import annotations

import os
import re
import sys
import textwrap
import time
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import command_line

from fwbouncer import __version__
from fwbouncer.config.keys import rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from command_line import Command, Option

    from fwbouncer.config.keys import Row

_WIDTH = 80
PACKAGING = Path(__file__).parents[1]
_SECTION = re.compile(r"# --- (.+?) -+$")
_TOP_KEY = re.compile(r"#?([a-z_0-9]+):( |$)")
_QUOTED = re.compile(r"`([^`]+)`")


def roff(text: str) -> str:
    """Escape a text; words between backticks become bold."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    safe = _QUOTED.sub(r"\\fB\1\\fR", safe)
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in safe.split("\n"))


def paragraphs(text: str) -> Iterator[str]:
    """Set what help says below the arguments: paragraphs, and lines that are indented as they stand."""
    for block in filter(None, text.strip("\n").split("\n\n")):
        for indented, lines in groupby(block.split("\n"), lambda line: line.startswith(" ")):
            inside = roff("\n".join(lines))
            yield from (".PP", ".EX", inside, ".EE") if indented else (".PP", inside)


def option_lines(options: Iterable[Option]) -> Iterator[str]:
    """Set a list of options."""
    for option in options:
        value = f" \\fI{roff(option.value)}\\fR" if option.value else ""
        names = ", ".join(f"\\fB{roff(name)}\\fR" for name in option.names)
        yield ".TP"
        yield f"{names}{value}" if names else value.strip()
        yield roff(sentence(option.text)) or "\\&"


def sentence(text: str) -> str:
    """Make help's words, which begin small and end without a stop, a sentence."""
    return text and text[0].upper() + text[1:] + ("" if text.endswith((".", ":")) else ".")


def command_lines(command: Command) -> Iterator[str]:
    """Set one command: how it is called, what it does, what it takes."""
    yield f".SS {roff(command.name)}{usage(command)}"
    yield roff(command.text)
    yield from option_lines(command.options)
    yield from paragraphs(command.more)


def usage(command: Command) -> str:
    """Show what stands behind a command that is no option."""
    names = [(f"\\fI{roff(o.value)}\\fR", o.optional) for o in command.options if not o.names]
    return "".join(f" [{name}]" if optional else f" {name}" for name, optional in names)


def synopsis(line: command_line.CommandLine) -> Iterator[str]:
    """Show every command once."""
    for command in line.commands:
        options = " [\\fIOPTIONS\\fR]" if any(option.names for option in command.options) else ""
        yield f"\\fBfwbouncer {roff(command.name)}\\fR{options}{usage(command)}"
        yield ".br"
    yield "\\fBfwbouncer \\-c\\fR \\fIFILE\\fR [\\fB\\-t\\fR | \\fB\\-T\\fR]"


def sections() -> dict[str, str]:
    """Return the sections of the keys, by the first word of a key, in the order of the sample configuration."""
    found: dict[str, str] = {}
    section = "Mode"
    for line in (PACKAGING / "fwbouncer.yaml").read_text().splitlines():
        if heading := _SECTION.match(line):
            section = heading[1]
        elif key := _TOP_KEY.match(line):
            found.setdefault(key[1], section)
    return found


def key_lines() -> Iterator[str]:
    """Set every key, by section."""
    where = sections()
    by_section: dict[str, list[Row]] = {section: [] for section in dict.fromkeys(where.values())}
    for row in rows():
        top = re.split(r"[.\[]", row.key)[0]
        by_section.setdefault(where.get(top, "Other names"), []).append(row)
    for section, inside in by_section.items():
        if inside:
            yield f".SS {roff(section)}"
        for row in inside:
            default = f", \\fB{roff(row.default)}\\fR when absent" if row.default else ""
            yield from (".TP", f"\\fB{roff(row.key)}\\fR ({roff(row.type)}{default})", roff(row.description))


def wrapped(page: str) -> Iterator[str]:
    """Break lines of text that are too long; those that are set as they stand, tags and requests are left alone."""
    before, literal = "", False
    for line in page.splitlines():
        literal = line == ".EX" or (literal and line != ".EE")
        if len(line) <= _WIDTH or literal or before == ".TP" or line.startswith((".", "\\fB")):
            yield line
        else:
            parts = textwrap.wrap(line, _WIDTH - 2, break_long_words=False, break_on_hyphens=False)
            yield from ("\\&" + part if part.startswith((".", "'")) else part for part in parts)
        before = line


def date() -> str:
    """Return the date of the pages."""
    return time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))


def main() -> int:
    """Write both pages."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    line = command_line.read()
    parts = {
        "DATE": date(),
        "VERSION": roff(__version__),
        "SYNOPSIS": "\n".join(synopsis(line)),
        "COMMON": "\n".join(option_lines(line.common)),
        "ALONE": "\n".join(option_lines(line.alone)),
        "COMMANDS": "\n".join(text for command in line.commands for text in command_lines(command)),
        "KEYS": "\n".join(key_lines()),
    }
    for template in sorted((PACKAGING / "man").glob("*.in")):
        text = re.sub(r"@([A-Z]+)@", lambda match: parts[match[1]], template.read_text())
        (folder / template.stem).write_text("\n".join([*wrapped(text), ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
