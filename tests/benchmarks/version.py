"""Which release a program is, as far as it or its package tells."""

from __future__ import annotations

import gzip
import re
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MODULE = re.compile(rb"\tgithub\.com/crowdsecurity/cs-firewall-bouncer\t(v[\w.+-]+)")
_CHANGELOG = "share/doc/crowdsec-firewall-bouncer/changelog.Debian.gz"


def of_incumbent(binary: Path) -> str:
    """Return the release of CrowdSec's bouncer: Debian's, its own word, or what Go wrote into it."""
    changelog = binary.parents[1] / _CHANGELOG
    if changelog.exists():
        with gzip.open(changelog, "rt") as lines:
            return next(lines).split("(")[1].partition(")")[0]
    printed = subprocess.run([binary, "-V"], capture_output=True, text=True, check=False).stdout
    told = re.search(r"version: (\S*\w\S*)", printed)
    if told:
        return told[1]
    built = _MODULE.search(binary.read_bytes())
    return built[1].decode() if built else "of an unknown release"


def of_tool(*words: str) -> str:
    """Return the first thing in a tool's words that looks like a version."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return found[0] if found else "?"
