"""Other processes in this network namespace: our daemon, a second one, the incumbent."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fwbouncer.doctor.facts import INCUMBENT, OUR_DAEMON, Process

if TYPE_CHECKING:
    from collections.abc import Iterator

_INCUMBENTS = (INCUMBENT, "cs-firewall-bouncer")
_CAPABILITIES = re.compile(r"^CapEff:\s*([0-9a-f]+)$", re.MULTILINE)
_SERVICE = re.compile(r"/([^/]+\.service)(?:/|$)", re.MULTILINE)


def look(root: Path) -> tuple[Process, ...]:
    """Find them; who runs in another network namespace has another firewall."""
    proc = root / "proc"
    here = _namespace(proc / "self")
    found = []
    for folder in proc.iterdir():
        # A process may end while it is looked at.
        with suppress(OSError):
            if folder.name.isdecimal() and (name := _name(folder)) and _namespace(folder) == here:
                found.append(_described(folder, name))
    return tuple(sorted(found, key=lambda process: process.pid))


def _namespace(folder: Path) -> str:
    return str((folder / "ns/net").readlink())


def _name(folder: Path) -> str:
    words = [word.decode(errors="replace") for word in (folder / "cmdline").read_bytes().split(b"\0")]
    if Path(words[0]).name in _INCUMBENTS:
        return INCUMBENT
    return OUR_DAEMON if _is_ours(words) else ""


def _is_ours(words: list[str]) -> bool:
    """Tell a daemon of ours, `fwbouncer run`, `fwbouncer -c FILE` or the same behind a Python, from our commands."""
    rest = iter(words)
    for word in rest:
        if Path(word).name == OUR_DAEMON and (word != OUR_DAEMON or word == words[0] or "-m" in words):
            given = [word for word in _arguments(rest) if word]
            return "run" in given[:1] or (not given)
        if not (word.startswith("-") or Path(word).name.startswith("python")):
            return False
    return False


def _arguments(rest: Iterator[str]) -> Iterator[str]:
    for word in rest:
        if word in ("-c", "--c", "--config", "-config"):
            next(rest, None)
        elif word in (
            "-t",
            "-T",
            "-V",
            "--t",
            "--T",
            "--V",
            "--version",
            "-h",
            "--help",
        ) or not word.startswith("-"):
            yield word


def _described(folder: Path, name: str) -> Process:
    found = _CAPABILITIES.search((folder / "status").read_text())
    group = _SERVICE.search((folder / "cgroup").read_text())
    return Process(int(folder.name), name, int(found[1], 16) if found else 0, group[1] if group else "")
