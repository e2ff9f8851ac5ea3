"""What the README and the manual pages tell people to type, and to write into files."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
README = CHECKOUT / "README.md"
_FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:sudo )?fwbouncer(?: [^`]*)?)`")
_EXAMPLE = re.compile(r"^\.EX\n(.*?)^\.EE", re.MULTILINE | re.DOTALL)


def written(what: str, folder: Path, **environment: str) -> Path:
    """Run one of the scripts that write manual pages or completion; return the folder that it wrote into."""
    script = CHECKOUT / "packaging" / "lib" / f"write_{what}.py"
    subprocess.run((sys.executable, script, folder), check=True, timeout=60, env=environment or None)
    return folder


def readme_commands() -> list[list[str]]:
    """Return every call of fwbouncer that stands in the README, in blocks of shell and between backticks."""
    text = README.read_text()
    lines = [line for block in _FENCE.findall(text) for line in block.splitlines()]
    return _calls([*lines, *_INLINE.findall(text)])


def page_commands(page: Path) -> list[list[str]]:
    """Return every call of fwbouncer among a manual page's examples, in their order."""
    return _calls([line for block in examples(page) for line in block.splitlines()])


def examples(page: Path) -> list[str]:
    """Return what a manual page sets as it stands: its examples."""
    return [block.replace("\\-", "-").replace("\\e", "\\") for block in _EXAMPLE.findall(page.read_text())]


def _calls(lines: list[str]) -> list[list[str]]:
    found = []
    for line in map(str.strip, lines):
        if not line.startswith(("fwbouncer ", "sudo fwbouncer ")):
            continue
        words = shlex.split(line.removeprefix("sudo "), comments=True)
        ends = [at for at, word in enumerate(words) if word in ("|", "&&", ";")]
        words = words[: ends[0]] if ends else words
        found.append(words[1:])
    return found
