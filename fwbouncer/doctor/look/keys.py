"""Other files on this host that hold our API key: two who share one steal each other's decisions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fwbouncer.doctor.facts import KeyUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_SHORTEST = 8  # a shorter key could stand in a file by chance
_MOST = 1 << 18  # bytes of a file
_FOLDERS = ("etc/crowdsec/bouncers", "etc/fwbouncer")
JAMES = "crowdsec.properties"


def look(root: Path, key: str | None, own: Iterable[Path], james: Iterable[Path]) -> tuple[KeyUse, ...]:
    """Search bouncers' files, and James's folders, for the key. `own` are the files that we read it from."""
    if key is None or len(key) < _SHORTEST:
        return ()
    mine = {path.resolve() for path in own}
    alone = re.compile(rf"(?<![A-Za-z0-9]){re.escape(key)}(?![A-Za-z0-9])")
    theirs = [(path, False) for path in _files(root)] + [(folder / JAMES, True) for folder in james]
    return tuple(
        KeyUse(path, james=is_james)
        for path, is_james in theirs
        if path.resolve() not in mine and alone.search(_text(path))
    )


def _files(root: Path) -> Iterator[Path]:
    for folder in _FOLDERS:
        where = root / folder
        if where.is_dir():
            # What dpkg and editors leave beside a file is read by nobody.
            yield from sorted(
                p
                for p in where.iterdir()
                if p.suffix in (".yaml", ".yml", ".conf", ".local", ".toml", ".env")
            )


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST).decode(errors="replace")
    except OSError:
        return ""
