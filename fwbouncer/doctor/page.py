"""The findings as a page for people, or as JSON for programs."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

from fwbouncer import __version__
from fwbouncer.control.words import clean
from fwbouncer.doctor.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLOR = {Severity.PROBLEM: "1;31", Severity.WARNING: "1;33", Severity.NOTE: "36", Severity.OK: "32"}
_LABEL = 9  # columns
_MEND = "   mend  "


def as_json(findings: Sequence[Finding]) -> str:
    """Write an object with everything that was found."""
    told = {
        "version": __version__,
        "worst": findings[0].severity.value if findings else Severity.OK.value,
        "findings": [
            {"id": f.id, "severity": f.severity.value, "what": f.what, "why": f.why, "mend": list(f.mend)}
            for f in findings
        ],
    }
    return json.dumps(told, indent=2) + "\n"


def render(findings: Sequence[Finding], *, color: bool, width: int = 100) -> str:
    """Write a paragraph for each finding, and a last line that sums up."""
    parts = [_paragraph(finding, color=color, width=max(60, min(width, 120))) for finding in findings]
    return "".join([*parts, "\n", _summary(findings)])


def _paragraph(finding: Finding, *, color: bool, width: int) -> str:
    label = f"{finding.severity.value:{_LABEL}}"
    if color:
        label = f"\x1b[{_COLOR[finding.severity]}m{label}\x1b[0m"
    indent = " " * _LABEL
    lines = textwrap.wrap(clean(finding.what), width - _LABEL, break_long_words=False, break_on_hyphens=False)
    text = label + f"\n{indent}".join(lines or [""]) + "\n"
    if finding.severity is Severity.OK:
        return text
    for line in textwrap.wrap(finding.why, width - _LABEL, break_on_hyphens=False):
        text += f"{indent}{line}\n"
    # Commands stay on their lines, however long, so that they can be copied.
    for number, command in enumerate(finding.mend):
        text += f"{indent if number else _MEND}{clean(command)}\n"
    return f"{text}\n" if finding.severity is not Severity.NOTE or finding.why or finding.mend else text


def _summary(findings: Sequence[Finding]) -> str:
    counts = {severity: sum(f.severity is severity for f in findings) for severity in Severity}
    words = [
        f"{many} {severity.value}{'s' if many != 1 else ''}"
        for severity, many in counts.items()
        if many and severity is not Severity.OK
    ]
    good = f"{counts[Severity.OK]} things are as they should be"
    return f"{', '.join([*words, good])}\n"
