"""The log: what a line looks like and where it goes. One event is one line, whatever text is in it.

Lines look as logrus prints them away from a terminal, because that is what users of the incumbent search for:

    time="2026-03-01T12:00:00Z" level=info msg="3 decisions added" event=added count=3

Under systemd the journal has its own clock, so `time` goes and the journal's `<6>` comes. With
`log_format: json` a line is an object with the same keys. Events carry their fields apart from their words:

    log.info("1.2.3.4 is banned", extra=fields("ban", decision=12))
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fwbouncer.config.schema import Log

TRACE = 5
OURS = "fwbouncer"  # every logger of the program is below this one
# level -> (what logrus calls it, what syslog numbers it)
_LEVELS = {
    TRACE: ("trace", 7),
    logging.DEBUG: ("debug", 7),
    logging.INFO: ("info", 6),
    logging.WARNING: ("warning", 4),
    logging.ERROR: ("error", 3),
    logging.CRITICAL: ("fatal", 2),
}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OWN = ("time", "level", "msg", "error")


def fields(event: str, **values: object) -> dict[str, object]:
    """Return what a log call takes as `extra`: the event and its fields, under names it doesn't refuse."""
    named = {f"{key}_" if key in _STANDARD else key: value for key, value in values.items()}
    return {"event": event, **named}


def setup(config: Log, environ: Mapping[str, str], stderr: TextIO | None = None) -> None:
    """Send the log where the configuration says, from now on; also after an earlier call."""
    logging.addLevelName(TRACE, "trace")
    logging.raiseExceptions = False  # a log that can't be written never shows up as a traceback
    # There is no standard error where the caller closed it; then the log goes to its file, or nowhere.
    stream = stderr or sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - as long as the process
    journal = _is_journal(stream, environ)
    line = JsonLine if config.json else TextLine
    console = Console(stream)
    console.setFormatter(line(journal=journal))
    handlers: list[logging.Handler] = [console]
    if config.file is not None:
        from fwbouncer.host.logfile import LogFile  # noqa: PLC0415 - few need it, and it costs time at start

        file = LogFile(config, fallback=console)
        file.setFormatter(line(journal=False))
        console.setLevel(logging.ERROR)  # what stops a service is to be seen where one looks
        handlers.append(file)
    _install(handlers, config.level)


def _install(handlers: list[logging.Handler], level: int) -> None:
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    # Libraries speak up when something is wrong; their chatter may hold headers, and those hold the key.
    root.setLevel(logging.WARNING)
    logging.getLogger(OURS).setLevel(level)


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether a stream is the one that systemd connected to the journal."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class Console(logging.StreamHandler[TextIO]):
    """Standard error. When it can't be written to there is nobody to tell."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class calls it so
        """Go on."""

    def tell(self, text: str) -> None:
        """Write a line of our own about the log itself."""
        record = logging.LogRecord(OURS, logging.WARNING, "", 0, text, None, None)
        self.emit(record)


class _Line(logging.Formatter):
    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def _name(self, record: logging.LogRecord) -> tuple[str, str]:
        """Return a level's name, and what goes in front of the line."""
        at_most = [level for level in _LEVELS if level <= record.levelno]
        name, number = _LEVELS[max(at_most, default=TRACE)]
        return name, f"<{number}>" if self._journal else ""

    def _fields(self, record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
        """Yield what the caller gave as `extra`, and the traceback where there is one."""
        for key, value in vars(record).items():
            if key not in _STANDARD:
                yield (f"fields.{key}" if key in _OWN else key), value
        if record.exc_info:
            yield "error", self.formatException(record.exc_info)


class TextLine(_Line):
    """A line of key=value pairs."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as one line."""
        name, prefix = self._name(record)
        clock = "" if self._journal else f'time="{timestamp(record.created)}" '
        more = "".join(f" {_bare(key)}={_value(value)}" for key, value in self._fields(record))
        return f"{prefix}{clock}level={name} msg={quoted(record.getMessage())}{more}"


class JsonLine(_Line):
    """A line that is one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as one line."""
        name, prefix = self._name(record)
        parts: dict[str, Any] = {} if self._journal else {"time": timestamp(record.created)}
        parts |= {"level": name, "msg": record.getMessage(), **dict(self._fields(record))}
        try:
            return prefix + json.dumps(parts, default=str, allow_nan=False)
        except (TypeError, ValueError, RecursionError):  # a key that is no text, or a value that is no JSON
            return prefix + json.dumps({key: str(value) for key, value in parts.items()})


def timestamp(seconds: float) -> str:
    """Write a time as RFC 3339 does, in the local zone."""
    text = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))
    return text[:-5] + "Z" if text.endswith("+0000") else f"{text[:-2]}:{text[-2:]}"


def quoted(text: str) -> str:
    """Put a text in quotes so that it stays on its line and reads back as it was."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else ascii(char)[1:-1]


def _bare(text: str) -> str:
    return "".join(char if char.isalnum() or char in "._-" else "_" for char in text)


def _value(value: object) -> str:
    text = str(value)
    return text if text and all(c.isalnum() or c in "-._/@^+:" for c in text) else quoted(text)
