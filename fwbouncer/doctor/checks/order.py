"""The order of rules: a packet must meet ours before somebody else's lets it in.

In nftables an `accept` ends its own base chain only, so that no other chain's goes past ours. In iptables it ends
everything: there the place of the rule counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.config.schema import Hook, Mode, Replies
from fwbouncer.core.model import Family
from fwbouncer.doctor.checks.foreign import accepts, meets_strangers, target
from fwbouncer.doctor.checks.mending import RESTART, configure, quoted
from fwbouncer.doctor.facts import Unseen
from fwbouncer.doctor.finding import Finding, fine, problem, warning
from fwbouncer.kernel.iptables import JUMP, Rule, Table, join, set_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.config.schema import Config
    from fwbouncer.doctor.facts import Facts
    from fwbouncer.doctor.rules import Nft, NftRule, Xtables

_PROGRAM = {Family.V4: "iptables", Family.V6: "ip6tables"}
_TABLE = {Family.V4: "ip", Family.V6: "ip6"}
_DEPTH = 8  # chains that jump to each other


def check(facts: Facts) -> Iterator[Finding]:
    """Tell where packets of the banned get past the bans."""
    config = facts.config
    if config is None:
        return
    if config.mode is Mode.NFTABLES and not isinstance(facts.nft, Unseen):
        yield from _in_nftables(facts, config, facts.nft)
    if config.mode is Mode.IPTABLES and not isinstance(facts.xtables, Unseen):
        yield from _in_iptables(facts, config, facts.xtables)
    if config.mode is Mode.IPSET and not isinstance(facts.xtables, Unseen):
        yield from _in_ipset(config, facts.xtables)
    yield from _untracked(facts, config)


def _in_nftables(facts: Facts, config: Config, nft: Nft) -> Iterator[Finding]:
    full = [family for family, place in config.nft.items() if not place.set_only]
    for family in config.families:
        if family not in full:
            yield from _set_only(config, nft, family)
    if not full:
        return
    if not {Hook.INPUT, Hook.PREROUTING} & set(config.hooks):
        yield problem(
            "order.no-input",
            "fwbouncer has no chain at input or prerouting",
            "What this host itself serves is open to the banned.",
            *configure(facts, "nftables_hooks: [input, forward]"),
        )
        return
    if nft.flowtables and Hook.FORWARD in config.hooks and Hook.PREROUTING not in config.hooks:
        yield warning(
            "order.flowtable",
            f"a flowtable takes forwarded connections past the rules: {', '.join(nft.flowtables)}",
            "A forwarded connection that stands when its peer is banned goes on until it ends.",
        )
    else:
        yield fine("order.first", "in nftables no other chain's accept goes past the bans")


def _set_only(config: Config, nft: Nft, family: Family) -> Iterator[Finding]:
    """Look for the admin's own rule that uses the set that we fill."""
    place = config.nft[family]
    name = place.blacklists
    using = [rule for rule in nft.rules if (rule.family, rule.table) == (_TABLE[family], place.table)]
    used = [rule for rule in using if _looks_up(rule, name)]
    if not used:
        chain = next((r.chain for r in using), "input")
        where = f"{_TABLE[family]} {place.table}"
        yield problem(
            "order.unused-set",
            f"no rule in table {where} uses set {name}, which fwbouncer fills",
            "Nobody is blocked by a set alone.",
            f"nft insert rule {where} {quoted(chain)} {_TABLE[family]} saddr @{name} drop",
        )
        return
    for rule in used:
        ahead = using[: using.index(rule)]
        if early := [each for each in ahead if each.chain == rule.chain and accepts(each)]:
            yield warning(
                "order.accepted-first",
                f"in chain {rule.chain} of table {rule.family} {rule.table}, {len(early)} rules accept packets "
                f"before the set {name} is asked",
                "What they accept is open to the banned.",
                f"nft -a list chain {rule.family} {quoted(rule.table)} {quoted(rule.chain)}",
            )
            return
    yield fine("order.set-used", f"a rule uses set {name}")


def _looks_up(rule: NftRule, name: str) -> bool:
    """Tell whether a rule compares the source address with a set, or with the set of its ranges."""
    for statement in rule.statements:
        match = statement.get("match") if isinstance(statement, dict) else None
        if isinstance(match, dict) and match.get("right") in (f"@{name}", f"@{name}-ranges"):
            return True
    return False


def _in_iptables(facts: Facts, config: Config, xtables: Xtables) -> Iterator[Finding]:
    for family in config.families:
        chains = config.iptables.v4_chains if family is Family.V4 else config.iptables.v6_chains
        table, program = xtables.tables.get(family), _PROGRAM[family]
        if table is None:
            yield problem(
                "order.no-iptables",
                f"{program} is not installed",
                "Mode iptables needs it.",
                "apt-get install iptables",
            )
            continue
        if "INPUT" not in chains:
            yield warning(
                "order.no-input",
                f"{program}: the configuration names no chain INPUT",
                "What this host itself serves is open to the banned.",
                *configure(facts, "iptables_chains: [INPUT, FORWARD, DOCKER-USER]"),
            )
        wrong = [finding for chain in chains for finding in _place(table, program, chain)]
        yield from wrong
        if chains and not wrong and facts.status:
            yield fine("order.first", f"{program}: the bans come first in {', '.join(chains)}")


def _place(table: Table, program: str, chain: str) -> Iterator[Finding]:
    """Look where our jump stands in a chain, and where the chain itself is jumped to."""
    if chain not in table:
        return  # the daemon says so, and waits for it
    rules = table[chain].rules()
    at = rules.index(JUMP) if JUMP in rules else None
    if at is None:
        yield problem(
            "order.no-jump",
            f"{program}: chain {chain} doesn't lead to the bans",
            "Nobody is blocked there.",
            RESTART,
        )
    elif early := [join(rule) for rule in rules[:at] if _lets_in(table, rule)]:
        yield problem(
            "order.accepted-first",
            f"{program}: {len(early)} rules in chain {chain} come before the bans and accept packets: {early[0]}",
            "What they accept is open to the banned.",
            RESTART,
        )
    for caller, its in table.items():
        for number, rule in enumerate(its.rules()):
            if target(rule) != chain:
                continue
            before = [join(each) for each in its.rules()[:number] if _lets_in(table, each)]
            if before and caller in ("INPUT", "FORWARD") and JUMP not in its.rules():
                yield warning(
                    "order.accepted-first",
                    f"{program}: {len(before)} rules in chain {caller} accept packets before {chain}, "
                    f"where the bans are: {before[0]}",
                    "What they accept is open to the banned.",
                    f"{program} -L {caller} -n -v --line-numbers",
                )


def _lets_in(table: Table, rule: Rule, depth: int = _DEPTH) -> bool:
    """Tell whether a rule, or the chain that it leads to, may accept a stranger's packet."""
    if not meets_strangers(rule):
        return False
    to = target(rule)
    inside = table[to].rules() if to in table and depth else ()
    return to == "ACCEPT" or any(_lets_in(table, each, depth - 1) for each in inside)


def _in_ipset(config: Config, xtables: Xtables) -> Iterator[Finding]:
    """Look for the admin's own rule that uses the ipset that we fill."""
    for family in config.families:
        name, program = config.blacklists[family], _PROGRAM[family]
        rules = [rule for chain in xtables.tables.get(family, {}).values() for rule in chain.rules()]
        if any((set_of(rule) or ("",))[0] == name for rule in rules):
            yield fine("order.set-used", f"{program}: a rule uses ipset {name}")
        elif name in xtables.sets:
            yield problem(
                "order.unused-set",
                f"{program}: no rule of the filter table uses ipset {name}, which fwbouncer fills",
                "Nobody is blocked by a set alone.",
                f"{program} -I INPUT -m set --match-set {quoted(name)} src -j DROP",
            )


def _untracked(facts: Facts, config: Config) -> Iterator[Finding]:
    """Look for rules that keep connections from being tracked: without it, replies aren't known as such."""
    if config.replies is not Replies.PASS:
        return
    rules = (
        []
        if isinstance(facts.nft, Unseen)
        else [r for r in facts.nft.rules if {"notrack": None} in r.statements]
    )
    raw = () if isinstance(facts.xtables, Unseen) else facts.xtables.raw
    where = [f"table {rule.family} {rule.table}, chain {rule.chain}" for rule in rules] or list(raw)
    if where:
        yield warning(
            "order.untracked",
            f"connections are kept from being tracked: {where[0]}",
            "Replies of banned peers to this host's own connections are known by tracking alone; "
            "where there is none, they are dropped.",
        )
