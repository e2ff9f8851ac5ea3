"""The log in a file: a new one when it is large, old ones compressed and removed, no harm by a full disk.

Old files stand beside the log with their time in the name. They are compressed and counted in a thread,
because that may take longer than the watchdog waits.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import time
from logging.handlers import BaseRotatingHandler
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import logging
    from io import TextIOWrapper

    from fwbouncer.config.schema import Log
    from fwbouncer.host.logs import Console

_MEGABYTE = 1024 * 1024
_DAY = 24 * 3600
_STAMPED = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-*T*"  # the incumbent's old files look so too


class LogFile(BaseRotatingHandler):
    """Writes lines to a file that only its owner reads."""

    stream: TextIO | None  # type: ignore[assignment] # None: to be opened

    def __init__(self, config: Log, fallback: Console) -> None:
        self._path = config.file or Path(os.devnull)
        super().__init__(str(self._path), "a", encoding="utf-8", delay=True, errors="backslashreplace")
        self._config = config
        self._fallback = fallback
        self._troubled = False
        self._tidying = Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; while that fails, say so once on standard error, and put the lines there."""
        try:
            if self.shouldRollover(record):
                self.doRollover()
            if self.stream is None:
                self.stream = self._open()
            self.stream.write(self.format(record) + self.terminator)
            self.stream.flush()
            self._troubled = False
        except (OSError, ValueError) as error:
            self._trouble(record, error)

    def _trouble(self, record: logging.LogRecord, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or error
        if not self._troubled:
            self._troubled = True
            self._fallback.tell(f"can't write to {self._path}: {reason}; the log goes on here")
        if record.levelno < self._fallback.level:  # the rest is there already
            self._fallback.emit(record)
        if self.stream is not None:  # what it has buffered would be tried again for ever
            stream, self.stream = self.stream, None
            with contextlib.suppress(OSError, ValueError):
                stream.close()

    def _open(self) -> TextIOWrapper:
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(fd, "a", encoding="utf-8", errors="backslashreplace")

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: ARG002, N802 - the base class's name
        """Tell whether the file is as large as it may be."""
        return self.stream is not None and self.stream.tell() >= self._config.max_size_mb * _MEGABYTE

    def doRollover(self) -> None:  # noqa: N802 - the base class's name
        """Put the file aside and begin a new one."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None
        stamp = time.strftime("%Y-%m-%dT%H-%M-%S") + f".{time.time_ns() // 1000 % 1_000_000:06d}"
        self._path.rename(self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}"))
        Thread(target=self.tidy, name="log files", daemon=True).start()

    def tidy(self) -> None:
        """Compress what was put aside, and remove what is too old or too much."""
        with self._tidying, contextlib.suppress(OSError):
            limit = time.time() - self._config.max_age_days * _DAY
            for number, path in enumerate(self._aside()):
                if number >= self._config.max_files or path.stat().st_mtime < limit:
                    path.unlink()
                elif self._config.compress and path.suffix != ".gz":
                    _compress(path)

    def _aside(self) -> list[Path]:
        """Return the files that were put aside, the newest first; sweep what a crash left half compressed."""
        found = list(self._path.parent.glob(f"{self._path.stem}-{_STAMPED}{self._path.suffix}*"))
        for path in found:
            if path.suffix == ".part":
                path.unlink()
        mine = (self._path.suffix, f"{self._path.suffix}.gz")
        return sorted(
            (path for path in found if path.name.endswith(mine)), key=lambda path: path.name, reverse=True
        )


def _compress(path: Path) -> None:
    part = path.with_name(path.name + ".gz.part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with path.open("rb") as plain, os.fdopen(fd, "wb") as raw, gzip.GzipFile("", "wb", 6, raw) as packed:
        shutil.copyfileobj(plain, packed, 1 << 20)
    stat = path.stat()
    os.utime(part, (stat.st_atime, stat.st_mtime))  # its age is the log's, not the archive's
    part.rename(path.with_name(path.name + ".gz"))
    path.unlink()
