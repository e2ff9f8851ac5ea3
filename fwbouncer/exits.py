"""How a command ends: its exit code, and words that a terminal can't trip over."""

from __future__ import annotations

from fwbouncer.errors import ConfigError, LapiRefused

FINE = 0
FAILED = 1  # at run time; trying again may help
WRONG = 2  # usage or configuration; trying again won't help
REFUSED = 3  # by the LAPI, which doesn't know our key
# What `explain` says beside FINE, which is: blocked.
NOT_BLOCKED = 4
PARTLY_BLOCKED = 5


def code_of(error: Exception) -> int:
    """Return the exit code that an error leads to."""
    if isinstance(error, ConfigError):
        return WRONG
    return REFUSED if isinstance(error, LapiRefused) else FAILED


def words_of(error: Exception) -> list[str]:
    """Return what to print about an error, line by line."""
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return [clean(f"{error.strerror or error}{where}")]
    return [clean(line) for line in str(error).splitlines()] or [type(error).__name__]


def clean(text: str) -> str:
    """Escape what a terminal would obey rather than show."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
