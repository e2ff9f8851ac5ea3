"""crowdsec-firewall-bouncer, running or left behind: it uses our tables, chains and sets."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from fwbouncer.config.schema import Mode
from fwbouncer.core.model import Family
from fwbouncer.doctor.checks.mending import quoted
from fwbouncer.doctor.facts import INCUMBENT, INCUMBENT_UNIT, Daemon, Units, Unseen
from fwbouncer.doctor.finding import Finding, fine, note, problem, warning
from fwbouncer.kernel.iptables import JUMP, OURS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.config.schema import Config
    from fwbouncer.doctor.facts import Facts
    from fwbouncer.doctor.rules import Xtables

_TABLES = {("ip", "crowdsec"), ("ip6", "crowdsec6")}  # its defaults, and ours
_SETS = ("crowdsec-blacklists", "crowdsec6-blacklists")
_PROGRAM = {Family.V4: "iptables", Family.V6: "ip6tables"}
_BOTH = (
    "Both write the same tables and sets: each takes out what only the other put in, and when it stops, "
    "it removes them all."
)


def check(facts: Facts) -> Iterator[Finding]:
    """Tell whether it is here, and what it left."""
    running = list(_running(facts))
    yield from running
    if running:
        return  # what there is may be its own, and in use
    yield from _enabled(facts)
    left = [*_tables(facts), *_rules(facts)]
    yield from left
    if not left and not isinstance(facts.processes, Unseen):
        yield fine("incumbent.absent", "no other firewall bouncer, and nothing left of one")


def _running(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.units, Units) and facts.units.active(INCUMBENT_UNIT):
        stop = "systemctl disable --now crowdsec-firewall-bouncer"
        yield problem("incumbent.running", "crowdsec-firewall-bouncer runs on this host, too", _BOTH, stop)
        return
    for process in [] if isinstance(facts.processes, Unseen) else facts.processes:
        if process.name == INCUMBENT:
            what = f"crowdsec-firewall-bouncer runs on this host, too: process {process.pid}"
            yield problem("incumbent.running", what, _BOTH, f"kill {process.pid}")


def _enabled(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.units, Units) and facts.units.get(INCUMBENT_UNIT, "UnitFileState") == "enabled":
        yield warning(
            "incumbent.enabled",
            "crowdsec-firewall-bouncer starts with this machine",
            _BOTH,
            "systemctl disable crowdsec-firewall-bouncer",
        )


def _tables(facts: Facts) -> Iterator[Finding]:
    config = facts.config
    if isinstance(facts.nft, Unseen) or config is None:
        return
    ours = _our_tables(config)
    for table in facts.nft.tables:
        place = (table.family, table.name)
        sets = [name for *where, name in facts.nft.sets if tuple(where) == place]
        if place in ours:
            if isinstance(facts.daemon, Daemon) and not facts.daemon.running:
                yield note(
                    "leftover.table",
                    f"table {table.family} {table.name} stands in the kernel, and no daemon runs",
                    "Its bans hold until their deadlines. The next start takes the table over.",
                    f"fwbouncer teardown -c {quoted(facts.settings.path)}",
                )
        elif place in _TABLES and any(name.startswith(_SETS) for name in sets) and not table.owner:
            yield warning(
                "incumbent.table",
                f"table {table.family} {table.name} was left behind by another bouncer",
                "It blocks whom it held last, and nobody ends those bans or adds new ones.",
                f"nft delete table {table.family} {table.name}",
            )


def _our_tables(config: Config) -> set[tuple[str, str]]:
    if config.mode is not Mode.NFTABLES:
        return set()
    return {("ip6" if family is Family.V6 else "ip", nft.table) for family, nft in config.nft.items()}


def _rules(facts: Facts) -> Iterator[Finding]:
    config = facts.config
    if isinstance(facts.xtables, Unseen) or config is None or config.mode is Mode.IPTABLES:
        return
    why = "They block whom they held last, and nobody ends those bans or adds new ones."
    if commands := tuple(_rule_commands(facts.xtables)):
        yield warning("incumbent.rules", "rules of another bouncer are left in iptables", why, *commands)
    if config.mode is Mode.IPSET:
        return
    if sets := [name for name in facts.xtables.sets if name.startswith(_SETS)]:
        yield warning(
            "incumbent.sets",
            f"{len(sets)} ipsets of another bouncer are left: {', '.join(sets[:4])}",
            "They take memory, and block nobody unless a rule uses them.",
            *(f"ipset destroy {quoted(name)}" for name in sets),
        )


def _rule_commands(xtables: Xtables) -> Iterator[str]:
    """Yield what takes out jumps, then the chains' rules, then the chains."""
    for family, table in xtables.tables.items():
        program, there = _PROGRAM[family], [name for name in OURS if name in table]
        jumps = (
            f"{program} -D {quoted(n)} {' '.join(JUMP)}"
            for n, c in table.items()
            for r in c.rules()
            if r == JUMP
        )
        yield from chain(jumps, (f"{program} -F {n}" for n in there), (f"{program} -X {n}" for n in there))
