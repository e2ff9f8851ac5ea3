"""Files that list who is never blocked: read again when they change; what was read last stays while they can't be."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fwbouncer.config.never_block import listed
from fwbouncer.config.schema import NeverBlock
from fwbouncer.host.logs import fields

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_log = logging.getLogger("fwbouncer.never_block")


class Lists:
    """The files' contents, by path."""

    def __init__(self) -> None:
        self.contents: dict[Path, NeverBlock] = {}
        self._stamps: dict[Path, object] = {}
        self._said: dict[Path, list[str]] = {}

    def follow(self, paths: Iterable[Path], warned: Iterable[str] = ()) -> None:
        """Follow these files and no others, and read them all. What is in `warned` has been told already."""
        wanted = list(paths)
        self.contents = {path: self.contents.get(path, NeverBlock()) for path in wanted}
        self._said = {path: [*self._said.get(path, ()), *warned] for path in wanted}
        self._stamps.clear()
        self.look()

    def look(self) -> bool:
        """Read the files that have changed; tell whether any has."""
        changed = [path for path in self.contents if self._stamp(path) != self._stamps.get(path, ())]
        for path in changed:
            self._read(path)
        return bool(changed)

    def _read(self, path: Path) -> None:
        self._stamps[path] = self._stamp(path)
        try:
            self.contents[path], problems = listed(path)
        except OSError as error:
            known = len(self.contents[path].networks) + len(self.contents[path].names)
            stays = f"; its last {known} entries stay" if known else ""
            problems = [f"{path}: can't be read: {error.strerror}{stays}"]
        for problem in problems:
            if not any(told.endswith(problem) for told in self._said[path]):
                _log.warning("never_block: %s", problem, extra=fields("never_block_file", file=str(path)))
        self._said[path] = problems

    @staticmethod
    def _stamp(path: Path) -> object:
        try:
            found = path.stat()
        except OSError as error:
            return error.errno
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
