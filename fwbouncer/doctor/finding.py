"""What a check found, in words for the administrator."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How bad it is; the order is that of the page, worst first."""

    PROBLEM = "problem"  # somebody banned gets in, somebody else doesn't, or fwbouncer doesn't work
    WARNING = "warning"  # it will be one, or it is one in some cases
    NOTE = "note"  # worth knowing
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `id` never changes, so that scripts can wait for it."""

    id: str  # kind.detail, as in "incumbent.running"
    severity: Severity
    what: str
    why: str = ""  # it matters
    mend: tuple[str, ...] = ()  # commands, run as root in this order


def problem(id_: str, what: str, why: str, *mend: str) -> Finding:
    """Say that something doesn't work."""
    return Finding(id_, Severity.PROBLEM, what, why, mend)


def warning(id_: str, what: str, why: str, *mend: str) -> Finding:
    """Say that something is better mended."""
    return Finding(id_, Severity.WARNING, what, why, mend)


def note(id_: str, what: str, why: str = "", *mend: str) -> Finding:
    """Say what is worth knowing."""
    return Finding(id_, Severity.NOTE, what, why, mend)


def fine(id_: str, what: str) -> Finding:
    """Say that something was looked at and is as it should be."""
    return Finding(id_, Severity.OK, what)
