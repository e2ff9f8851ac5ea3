"""firewalld: what its reload does to our rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fwbouncer.config.schema import Mode
from fwbouncer.doctor.checks.mending import edit
from fwbouncer.doctor.facts import Units, Unseen
from fwbouncer.doctor.finding import Finding, fine, note, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.doctor.facts import Facts

_UNIT = "firewalld.service"
_CONF = Path("/etc/firewalld/firewalld.conf")


def check(facts: Facts) -> Iterator[Finding]:
    """Tell of a firewalld that runs."""
    config = facts.config
    if config is None or not isinstance(facts.units, Units) or not facts.units.active(_UNIT):
        return
    told = {} if facts.firewalld is None or isinstance(facts.firewalld, Unseen) else facts.firewalld
    flushes = told.get("FlushAllOnReload", "yes").lower() not in ("no", "false")
    if config.mode is Mode.IPTABLES and flushes:
        yield warning(
            "firewalld.flushes",
            "firewalld runs, and its reload flushes all rules of iptables (FlushAllOnReload)",
            "fwbouncer puts its rules back at once; for that moment banned packets pass. In mode nftables none would.",
            edit(_CONF, "FlushAllOnReload=no"),
            "systemctl restart firewalld",
        )
    elif config.mode is Mode.IPSET:
        yield note("firewalld.runs", "firewalld runs; an ipset of its own is filled by firewalld alone")
    else:
        yield fine("firewalld.runs", "firewalld runs, and leaves fwbouncer's rules alone")
