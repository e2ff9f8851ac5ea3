"""The bans on disk, which hold after a boot until the LAPI answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.control.words import span
from fwbouncer.doctor.checks.mending import configure
from fwbouncer.doctor.facts import Unseen
from fwbouncer.doctor.finding import Finding, fine, note, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.doctor.facts import Facts

_OLD = 26 * 3600  # seconds; a list of CrowdSec's comes anew each few hours
_SETTLED = 120  # seconds that a daemon has for its first file


def check(facts: Facts) -> Iterator[Finding]:
    """Tell whether they are there, and fresh."""
    if facts.config is None or isinstance(facts.files, Unseen):
        return
    if facts.config.state_file is None:
        yield note(
            "state.none",
            "no state file is kept",
            "After a boot nobody is banned until the LAPI answers.",
            *configure(facts, "state_file: /var/lib/fwbouncer/state"),
        )
        return
    file = next((each for each in facts.files if each.role == "state"), None)
    decisions = facts.status.get("decisions")
    some = isinstance(decisions, dict) and bool(decisions.get("total"))
    up = facts.status.get("since")
    settled = isinstance(up, int | float) and up > _SETTLED
    if file is None or (file.missing and not (some and settled)):
        return
    path, log = facts.config.state_file, "journalctl -u fwbouncer -n 30 --no-pager"
    if file.missing:
        yield warning(
            "state.missing",
            f"{path} can't be seen: {file.missing}",
            "After a boot nobody is banned until the LAPI answers.",
            log,
        )
    elif some and settled and facts.now - file.modified > _OLD:
        yield warning(
            "state.old",
            f"{path} was written {span(facts.now - file.modified)} ago",
            "After a boot, bans made since are missing until the LAPI answers.",
            log,
        )
    else:
        yield fine(
            "state.kept",
            f"{path}: {file.size:,} bytes, written {span(max(0, facts.now - file.modified))} ago",
        )
