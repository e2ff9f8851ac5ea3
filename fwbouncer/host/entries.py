"""Small JSON files beside the state file: what one run leaves to the next, and nothing depends on.

A file that can't be read is as good as none, and one that can't be written stops nothing.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fwbouncer.host.logs import fields

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_log = logging.getLogger("fwbouncer.state")

_MOST_BYTES = 4 << 20


def read_entries(path: Path | None) -> list[tuple[str, Any]]:
    """Return what a file holds; nothing, with a warning, where it holds something else."""
    if path is None:
        return []
    try:
        with os.fdopen(
            os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW), "rb"
        ) as file:
            found = json.loads(file.read(_MOST_BYTES) or b"{}")
        return list(found["entries"].items())
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        _log.warning("%s is not used: %s", path, error, extra=fields("file_refused"))
        return []


def write_entries(path: Path | None, entries: Mapping[str, Any], *, quiet: bool = False) -> bool:
    """Replace a file as a whole, or leave it as it is; returns whether that worked, and says so if it did not."""
    if path is None:
        return False
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)  # no more of a path that may be a mistake
        with suppress(FileNotFoundError):  # left by a crash
            fresh.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(fresh, flags, 0o600), "w") as file:
            json.dump({"version": 1, "entries": dict(entries)}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        if not quiet:
            _log.warning("%s can't be written: %s", path, error.strerror, extra=fields("file_unwritten"))
        return False
    return True
