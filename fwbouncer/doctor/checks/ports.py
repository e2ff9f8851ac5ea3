"""Ports that bans close, and that the administrator's rules open to nobody: nothing to worry, but often not meant.

Only rules that can be read with certainty count. A rule that may open a port in a way not understood here opens all.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fwbouncer.config.schema import Hook
from fwbouncer.core.ports import Ports
from fwbouncer.doctor.facts import Nft, NftRule, Unseen, Xtables
from fwbouncer.doctor.finding import Finding, note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.model import Family
    from fwbouncer.doctor.facts import Facts

_ALL = Ports.of((1, 65535))
_VERDICTS = ("accept", "jump", "goto", "vmap", "queue")


def check(facts: Facts) -> Iterator[Finding]:
    """Tell of ports that stay closed for everybody."""
    config = facts.config
    wanted = _wanted(facts)
    if config is None or not wanted:
        return
    for family in config.families:
        opened = _ALL
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
    opened = _ALL
    for chain in nft.chains:
        if chain.hook == Hook.INPUT.name.lower() and chain.policy == "drop" and chain.sees(family):
            place = (chain.family, chain.table, chain.name)
            rules = [rule for rule in nft.rules if (rule.family, rule.table, rule.chain) == place]
            opened &= Ports.together(_opens(rule) for rule in rules)
    return opened


def _opens(rule: NftRule) -> Ports:
    if not any(isinstance(each, dict) and any(v in each for v in _VERDICTS) for each in rule.statements):
        return Ports()
    spans: Ports | None = None
    for statement in rule.statements:
        match = statement.get("match") if isinstance(statement, dict) else None
        if not isinstance(match, dict):
            continue
        left = match.get("left")
        if isinstance(left, dict) and _keeps_out_strangers(left, match):
            return Ports()
        if (
            isinstance(left, dict)
            and left.get("payload", {}).get("field") == "dport"
            and match.get("op") == "=="
        ):
            spans = _numbers(match.get("right"))
    if spans is None or not any("accept" in each for each in rule.statements if isinstance(each, dict)):
        return _ALL
    return spans


def _keeps_out_strangers(left: dict[str, Any], match: dict[str, Any]) -> bool:
    """Tell a match that no connection from outside meets as it begins."""
    if left.get("ct", {}).get("key") == "state":
        return match.get("op") in ("==", "in") and "new" not in str(match.get("right"))
    return left.get("meta", {}).get("key") in ("iif", "iifname") and match.get("right") == "lo"


def _numbers(right: Any) -> Ports:
    """Read the ports in a match; what isn't understood is all of them."""
    items = right.get("set", [right]) if isinstance(right, dict) else [right]
    spans: list[tuple[int, int]] = []
    for item in items:
        span = item.get("range") if isinstance(item, dict) else [item, item]
        if not isinstance(span, list) or not all(isinstance(port, int) for port in span):
            return _ALL
        spans.append((span[0], span[-1]))
    try:
        return Ports.of(*spans)
    except ValueError:
        return _ALL


def _by_iptables(xtables: Xtables, family: Family) -> Ports:
    """Return what INPUT doesn't keep closed."""
    table = xtables.tables.get(family)
    if table is None or xtables.policies.get(family, {}).get("INPUT") != "DROP":
        return _ALL
    return Ports.together(_lets_in(rule) for rule in table["INPUT"].rules())


def _lets_in(rule: tuple[str, ...]) -> Ports:
    words = dict(pairwise(rule))
    target = words.get("-j", words.get("-g", ""))
    states = words.get("--ctstate", words.get("--state", "NEW")).split(",")
    if target in ("DROP", "REJECT", "LOG", "") or "NEW" not in states or words.get("-i") == "lo":
        return Ports()
    listed = words.get("--dport", words.get("--dports", ""))
    if target != "ACCEPT" or "!" in rule or not listed:
        return _ALL
    try:
        return Ports.of(*(_span(each) for each in listed.split(",")))
    except ValueError:
        return _ALL


def _span(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    return int(first), int(last or first)
