"""What the daemon itself complains of: what is not in the kernel, and what it had to mend."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from fwbouncer.control.words import clean, count, number
from fwbouncer.doctor.facts import Unseen
from fwbouncer.doctor.finding import Finding, fine, note, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.doctor.facts import Facts

_LOG = "journalctl -u fwbouncer -n 30 --no-pager"


def check(facts: Facts) -> Iterator[Finding]:
    """Tell where the kernel holds something else than it should."""
    kernel = facts.status.get("kernel")
    if not isinstance(kernel, dict):
        return
    pending = number(kernel.get("pending"))
    if error := kernel.get("last_error"):
        yield problem(
            "drift.error",
            f"the last change failed: {clean(error)}",
            "Bans that are not in the kernel don't block. The daemon tries again by itself.",
            _LOG,
        )
    elif pending:
        yield note("drift.pending", f"{pending:,.0f} elements are still to be written to the kernel")
    else:
        yield fine("drift.none", f"the kernel holds all it should: {count(kernel.get('elements'))} elements")
    if held_back := number(kernel.get("held_back")):
        yield problem(
            "drift.held-back",
            f"{held_back:,.0f} bans have no room in a set of yours, which has a fixed size",
            "They block nobody.",
            "nft -t list ruleset",
            "fwbouncer status",
        )
    if repairs := number(kernel.get("repairs")):
        yield note(
            "drift.repairs",
            f"others changed fwbouncer's rules or sets {repairs:,.0f} times since it started; each was mended",
            "A program that does so again and again is better told to leave them alone; the log may say which.",
            "journalctl -u fwbouncer -g 'changed our rules' --no-pager",
        )
    yield from _told(facts)


def _told(facts: Facts) -> Iterator[Finding]:
    known = set(facts.settings.warnings)
    if not isinstance(facts.james, Unseen):  # of James's files the doctor has findings of its own
        readings = [james.reading for james in facts.james if james.reading is not None]
        told = product(readings, (True, False), (True, False))
        known |= {text for one, asked, proxies in told for text in one.warnings(asked=asked, proxies=proxies)}
    warnings = facts.status.get("warnings")
    for text in warnings if isinstance(warnings, list) else ():
        if text not in known:
            yield warning("daemon.warning", clean(text), "The daemon says so.", _LOG)
    rejects = facts.status.get("rejects")
    for reason, many in rejects.items() if isinstance(rejects, dict) else ():
        yield note(
            "drift.rejected",
            f"{count(many)} decisions are refused: {clean(reason)}",
            "They block nobody; the others are not touched by it.",
            "cscli decisions list",
        )
    decisions = facts.status.get("decisions")
    if isinstance(decisions, dict) and decisions.get("total") == 0:
        yield note(
            "drift.empty",
            "the LAPI has no decision for this host",
            "That is right on a new CrowdSec, and odd where it has a list or is under attack.",
            "cscli decisions list -a",
            "cscli metrics",
        )
