"""The configuration file: mistakes, and whether the daemon runs what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.doctor.checks.mending import RESTART, edit, quoted
from fwbouncer.doctor.finding import Finding, fine, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.doctor.facts import Facts

_TOLD_ELSEWHERE = "can be read by others"  # the files' check has the command for that


def check(facts: Facts) -> Iterator[Finding]:
    """Tell what `fwbouncer check-config` would."""
    found = facts.settings
    path = found.path
    again = edit(path, "as said above"), f"fwbouncer check-config -c {quoted(path)}"
    for text in found.problems:
        yield problem("config.wrong", text, "The daemon doesn't start, and doesn't reload, with it.", *again)
    for text in found.warnings:
        if _TOLD_ELSEWHERE not in text:
            yield warning("config.warning", text, "It is accepted, and may not do what is meant.", *again)
    if not found.problems and not found.warnings:
        yield fine("config.valid", f"{path} has no mistakes")
    yield from _running(facts)


def _running(facts: Facts) -> Iterator[Finding]:
    mode = facts.status.get("mode")
    if facts.config is not None and mode is not None and mode != facts.config.mode.value:
        yield warning(
            "config.not-in-force",
            f"the daemon runs in mode {mode}, and the configuration says {facts.config.mode.value}",
            "The daemon was started with an earlier configuration, and a change of the mode takes a restart.",
            RESTART,
        )
