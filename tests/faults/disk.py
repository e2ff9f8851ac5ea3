"""The small disk on which the state file is kept, so that it can be full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.shell import run

if TYPE_CHECKING:
    from pathlib import Path


class Disk:
    """A file system of its own, in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.full = False
        self.was_full = False
        path.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "fwbouncer-faults", str(path))

    @property
    def state(self) -> Path:
        """The state file."""
        return self.path / "state"

    def fill(self) -> None:
        """Leave no room on it."""
        self.full = self.was_full = True
        try:
            with (self.path / "filler").open("wb", buffering=0) as filler:
                while filler.write(b"\0" * 4096):
                    pass
        except OSError:
            pass

    def free(self) -> None:
        """Leave room again."""
        (self.path / "filler").unlink(missing_ok=True)
        self.full = False

    def close(self) -> None:
        """Take it away."""
        run("umount", str(self.path), check=False)
