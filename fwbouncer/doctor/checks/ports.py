"""Ports that bans close, and that the administrator's rules open to nobody: nothing to worry, but often not meant.

Only rules that can be read with certainty count. A rule that may open a port in a way not understood here opens all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.config.schema import Hook
from fwbouncer.core.ports import Ports
from fwbouncer.doctor.checks.foreign import ALL, opened_by_iptables, opened_by_nft
from fwbouncer.doctor.facts import Unseen
from fwbouncer.doctor.finding import Finding, note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.model import Family
    from fwbouncer.doctor.facts import Facts
    from fwbouncer.doctor.rules import Nft, Xtables


def check(facts: Facts) -> Iterator[Finding]:
    """Tell of ports that stay closed for everybody."""
    config = facts.config
    wanted = _wanted(facts)
    if config is None or not wanted:
        return
    for family in config.families:
        opened = ALL
        if not isinstance(facts.nft, Unseen):
            opened &= _by_nftables(facts.nft, family)
        if not isinstance(facts.xtables, Unseen):
            opened &= _by_iptables(facts.xtables, family)
        if shut := wanted - opened:
            yield note(
                "ports.shut-anyway",
                f"IPv{family.value}: ports {shut} are closed to everybody by other rules of this host",
                "A ban changes nothing there. Where somebody should get in, those rules are to be changed.",
            )


def _wanted(facts: Facts) -> Ports | None:
    """Return the ports that bans close by name; James's as far as they are known."""
    if facts.config is None:
        return None
    policies = facts.config.policies
    jameses = () if isinstance(facts.james, Unseen) else facts.james
    known = [james.reading.ports for james in jameses if james.reading is not None]
    return (policies.with_james(Ports.together(known)) if policies.asks_james else policies).protected()


def _by_nftables(nft: Nft, family: Family) -> Ports:
    """Return what no chain at input keeps closed."""
    opened = ALL
    for chain in nft.chains:
        if chain.hook == Hook.INPUT.name.lower() and chain.policy == "drop" and chain.sees(family):
            place = (chain.family, chain.table, chain.name)
            rules = [rule for rule in nft.rules if (rule.family, rule.table, rule.chain) == place]
            opened &= Ports.together(opened_by_nft(rule) for rule in rules)
    return opened


def _by_iptables(xtables: Xtables, family: Family) -> Ports:
    """Return what INPUT doesn't keep closed."""
    table = xtables.tables.get(family)
    if table is None or xtables.policies.get(family, {}).get("INPUT") != "DROP":
        return ALL
    return Ports.together(opened_by_iptables(rule) for rule in table["INPUT"].rules())
