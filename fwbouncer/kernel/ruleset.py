"""What stands around the sets: tables, chains, counters and rules, as data that can be printed and compared.

chain <chain>-<hook>            one for each hook
    counter processed           every packet we see
    replies pass                connections that this host opened
    source in never-block       counter of its own, return: no ban can reach it
    source in a group's set     counter of the group, drop (or goto the deny chain)
chain <chain>-deny              only where packets are logged or refused instead of dropped
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2s
from typing import TYPE_CHECKING

from fwbouncer.config.schema import Action, Config, Hook, Nft, Replies
from fwbouncer.core.model import NEVER_BLOCK, Family, Kind, SetKey
from fwbouncer.kernel import expressions as match

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROCESSED = "processed"
_LOG_RATE, _LOG_BURST = 10, 50  # packets a second; a flood must not fill the log


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Its comment ends in a digest of what it does, so that a rule that was changed is known."""

    purpose: str
    expressions: bytes

    @property
    def comment(self) -> str:
        """Return what nft shows beside the rule, and by which we know it again."""
        return f"{self.purpose} [{blake2s(self.expressions, digest_size=4).hexdigest()}]"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain with its rules in order; without a hook it is only jumped to."""

    name: str
    hook: Hook | None
    priority: int
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Everything of one family's table but the elements."""

    chains: tuple[Chain, ...]
    counters: tuple[str, ...]
    sets: tuple[tuple[str, bool], ...]  # name, whether it holds intervals


def set_name(place: Nft, target: SetKey) -> str:
    """Return the kernel's name for a set."""
    if target.group == NEVER_BLOCK:
        return never_set(place)
    base = place.blacklists if place.set_only else f"{place.blacklists}-{target.group}"
    return f"{base}-ranges" if target.kind is Kind.RANGES else base


def never_set(place: Nft) -> str:
    """Return the name of the set of those who are never blocked, and of its counter."""
    return f"{place.table}-{NEVER_BLOCK}"


def skeleton(config: Config, place: Nft, groups: Mapping[str, Iterable[Kind]]) -> Skeleton:
    """Lay out one family's table for the groups that there are. The never-block set is there in any case."""
    targets = [
        SetKey(group, place.family, kind)
        for group in sorted(groups.keys() - {NEVER_BLOCK})
        for kind in sorted(groups[group], key=lambda kind: kind.value)
    ]
    sets = [(set_name(place, target), target.kind is Kind.RANGES) for target in targets]
    if place.set_only:
        return Skeleton((), (), tuple(sets))
    bans = tuple(_ban(config, place, target.group, set_name(place, target)) for target in targets)
    never = never_set(place)
    first = [Rule("packets seen", match.count(PROCESSED))]
    if config.replies is Replies.PASS:
        first.append(Rule("replies pass", match.is_reply() + match.verdict(match.RETURN)))
        if place.family is Family.V6:
            # conntrack doesn't track it, and without it no packet of ours reaches a banned neighbour on our own link
            discovery = match.is_neighbour_discovery() + match.verdict(match.RETURN)
            first.append(Rule("neighbour discovery passes", discovery))
    spared = match.source_in(place.family, never) + match.count(never) + match.verdict(match.RETURN)
    first.append(Rule("never blocked", spared))
    chains = [
        Chain(f"{place.chain}-{hook.name.lower()}", hook, place.priority, (*first, *bans))
        for hook in config.hooks
    ]
    if _denies(config):
        chains.insert(0, Chain(_deny_chain(place), None, 0, tuple(_deny(config, place.family))))
    counters = (PROCESSED, never, *dict.fromkeys(f"{place.blacklists}-{target.group}" for target in targets))
    return Skeleton(tuple(chains), counters, ((never, True), *sets))


def _denies(config: Config) -> bool:
    return config.deny.log or config.deny.action is not Action.DROP


def _deny_chain(place: Nft) -> str:
    return f"{place.chain}-deny"


def _ban(config: Config, place: Nft, group: str, name: str) -> Rule:
    end = match.verdict(match.GOTO, _deny_chain(place)) if _denies(config) else match.verdict(match.DROP)
    counter = match.count(f"{place.blacklists}-{group}")
    return Rule(f"banned by {group}", match.source_in(place.family, name) + counter + end)


def _deny(config: Config, family: Family) -> Iterable[Rule]:
    if config.deny.log:
        yield Rule("log", match.at_most(_LOG_RATE, _LOG_BURST) + match.log(config.deny.log_prefix))
    if config.deny.action is Action.REJECT:
        yield Rule("reset TCP", match.is_tcp() + match.reset())
        yield Rule("refuse the rest", match.prohibited(family))
    else:
        yield Rule("drop", match.verdict(match.DROP))
