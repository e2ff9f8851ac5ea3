"""A client's session, seen from the server: the socket that James or the proxy has open for it."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class ServedSession:
    """One socket of a program, until the program has closed it."""

    def __init__(self, path: Path, name: str) -> None:
        self.closed_at = 0  # CLOCK_MONOTONIC, nanoseconds
        self._path = path
        self._name = name
        self._done = threading.Event()

    @classmethod
    def of(cls, pid: int, name: str) -> ServedSession:
        """Find the descriptor that a program has for a socket; its name is as in /proc."""
        for path in Path(f"/proc/{pid}/fd").iterdir():
            if _named(path) == name:
                return cls(path, name)
        raise AssertionError(f"{name} does not belong to {pid}")

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Note when it is closed while the block runs."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def wait_until_closed(self, within: float) -> None:
        """Wait until the program has closed it."""
        deadline = time.monotonic() + within
        while not self.closed_at:
            assert time.monotonic() < deadline, f"{self._path} is still open after {within} s"
            time.sleep(0.005)

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            if _named(self._path) != self._name:
                self.closed_at = time.monotonic_ns()
                return


def _named(path: Path) -> str:
    try:
        return str(path.readlink())
    except FileNotFoundError:
        return ""
