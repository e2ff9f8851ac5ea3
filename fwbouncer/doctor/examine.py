"""From facts to findings, worst first."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from fwbouncer.doctor.checks import (
    capacity,
    clock,
    docker,
    drift,
    files,
    firewalld,
    incumbent,
    james,
    kernel,
    key,
    lapi,
    never_block,
    order,
    ports,
    proxy,
    service,
    settings,
    state,
    tls,
)
from fwbouncer.doctor.facts import Facts, Unseen
from fwbouncer.doctor.finding import Finding, Severity, note, warning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    settings.check,
    service.check,
    incumbent.check,
    kernel.check,
    order.check,
    docker.check,
    firewalld.check,
    lapi.check,
    tls.check,
    clock.check,
    key.check,
    drift.check,
    capacity.check,
    never_block.check,
    james.check,
    proxy.check,
    ports.check,
    files.check,
    state.check,
)
# What a part of the facts is, for whoever reads that it couldn't be looked at.
_PARTS = {
    "system": "the kernel",
    "units": "systemd's services",
    "processes": "other processes",
    "daemon": "the daemon",
    "nft": "the rules in nftables",
    "xtables": "the rules in iptables",
    "lapis": "the LAPI",
    "registry": "the LAPI's list of bouncers",
    "key_uses": "other files with the API key",
    "james": "James's configuration",
    "engine": "CrowdSec's parsers",
    "files": "the files' modes",
    "names": "the host names",
    "firewalld": "firewalld's configuration",
}


def examine(facts: Facts) -> list[Finding]:
    """Return what every check finds; in their order where they are equally bad."""
    found = [finding for check in CHECKS for finding in _safely(check, facts)]
    if not facts.root:
        what = "this runs without root's rights, so that much can't be looked at"
        found.append(note("doctor.not-root", what, "", "sudo fwbouncer doctor"))
    found += _unseen(facts)
    ranks = list(Severity)
    return sorted(dict.fromkeys(found), key=lambda finding: ranks.index(finding.severity))


def _safely(check: Callable[[Facts], Iterator[Finding]], facts: Facts) -> list[Finding]:
    """Run one check: a mistake of its own, on a host that nobody thought of, must not cost the others' findings."""
    try:
        return list(check(facts))
    except Exception as error:  # noqa: BLE001 - as said above
        name = check.__module__.rpartition(".")[2]
        what = f"the check {name} failed: {type(error).__name__}: {error}"
        return [warning("doctor.failed", what, "That is a mistake in fwbouncer itself; please report it.")]


def _unseen(facts: Facts) -> Iterator[Finding]:
    for each in fields(facts):
        part = getattr(facts, each.name)
        if isinstance(part, Unseen) and part.why:
            yield note("doctor.unseen", f"could not look at {_PARTS[each.name]}: {part.why}")
