"""Containers: their published ports are forwarded, and come by other chains than this host's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.config.schema import Hook, Mode
from fwbouncer.core.model import Family
from fwbouncer.doctor.checks.mending import RESTART, configure
from fwbouncer.doctor.facts import System, Units
from fwbouncer.doctor.finding import Finding, fine, problem
from fwbouncer.doctor.rules import Xtables
from fwbouncer.kernel.iptables import DOCKER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.doctor.facts import Facts

_WHY = "The published ports of containers are open to the banned: such packets are forwarded, and don't come by input."


def check(facts: Facts) -> Iterator[Finding]:
    """Tell whether containers' ports are covered."""
    config = facts.config
    if config is None or not _here(facts):
        return
    if config.mode is Mode.IPTABLES:
        covered = _covered_by_iptables(facts)
    elif config.mode is Mode.NFTABLES and any(not nft.set_only for nft in config.nft.values()):
        covered = bool({Hook.FORWARD, Hook.PREROUTING} & set(config.hooks))
    else:
        return  # the rules are the admin's own
    if covered:
        yield fine("docker.covered", "containers' published ports are closed to the banned, too")
    elif config.mode is Mode.IPTABLES:
        what = f"Docker runs here, and iptables_chains names neither {DOCKER} nor FORWARD"
        yield problem(
            "docker.open", what, _WHY, *configure(facts, "iptables_chains: [INPUT, DOCKER-USER]")[:2], RESTART
        )
    else:
        what = "Docker runs here, and nftables_hooks doesn't name forward"
        yield problem("docker.open", what, _WHY, *configure(facts, "nftables_hooks: [input, forward]"))


def _here(facts: Facts) -> bool:
    chains = isinstance(facts.xtables, Xtables) and any(
        DOCKER in table for table in facts.xtables.tables.values()
    )
    unit = isinstance(facts.units, Units) and facts.units.active("docker.service")
    return chains or unit or (isinstance(facts.system, System) and facts.system.containers)


def _covered_by_iptables(facts: Facts) -> bool:
    config = facts.config
    if config is None:
        return True
    tables = facts.xtables.tables if isinstance(facts.xtables, Xtables) else {}
    for family in config.families:
        chains = config.iptables.v4_chains if family is Family.V4 else config.iptables.v6_chains
        there = DOCKER in tables.get(family, {}) or family is Family.V4
        if there and not {DOCKER, "FORWARD"} & set(chains):
            return False
    return True
