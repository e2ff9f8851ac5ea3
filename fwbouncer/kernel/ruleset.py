"""What stands around the sets: tables, chains, counters and rules, as data that can be printed and compared.

chain <chain>-prerouting        where some bans close some ports alone: before connection tracking and translation
    counter processed           every packet we see
    source in never-block       counter of its own, return: no ban can reach it
    sent to a policy's port     jump to the policy's chain
chain <chain>-<hook>            one for each hook, for bans that close everything
    counter processed           unless it was counted before
    replies pass                connections that this host opened
    source in never-block       return
    source in a group's set     counter of the group, drop (or goto the deny chain)
chain <chain>-ports[-<policy>]  source in a group's set: counter of the group, drop (or goto the deny chain)
chain <chain>-deny[-<policy>]   only where packets are logged or refused instead of dropped

Where the administrator says at which hooks and priority the chains stand, everything stands there. Behind translation a
port is the one that the peer asked for, as tracking remembers it.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2s
from typing import TYPE_CHECKING

from fwbouncer.config.schema import Config, Hook, Nft, Replies
from fwbouncer.core.model import NEVER_BLOCK, PROCESSED, Family, Kind, SetKey
from fwbouncer.core.names import parts
from fwbouncer.core.policy import Action, Policy
from fwbouncer.core.ports import NO_PORTS, Ports
from fwbouncer.kernel import expressions as match
from fwbouncer.kernel.port_match import Anonymous, Matcher, Matchers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CONNTRACK = -200  # NF_IP_PRI_CONNTRACK: what stands there or before knows nothing of connections
_RAW = -300  # NF_IP_PRI_RAW: behind the reassembly of fragments, before tracking and translation
_LOG_RATE, _LOG_BURST = 10, 50  # packets a second; a flood must not fill the log


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Its comment ends in a digest of what it does, so that a rule that was changed is known."""

    purpose: str
    expressions: bytes
    sets: tuple[Anonymous, ...] = ()

    @property
    def comment(self) -> str:
        """Return what nft shows beside the rule, and by which we know it again."""
        whole = self.expressions + repr(self.sets).encode() if self.sets else self.expressions
        return f"{self.purpose} [{blake2s(whole, digest_size=4).hexdigest()}]"


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


def counter_name(place: Nft, group: str) -> str:
    """Return the name of a group's counter: one for all policies of an origin."""
    return f"{place.blacklists}-{parts(group)[0]}"


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
    never = never_set(place)
    chains = _Table(config, place, targets).chains()
    counters = (PROCESSED, never, *dict.fromkeys(counter_name(place, target.group) for target in targets))
    return Skeleton(tuple(chains), counters, ((never, True), *sets))


class _Table:
    """One family's chains in the making."""

    def __init__(self, config: Config, place: Nft, targets: Iterable[SetKey]) -> None:
        self._config, self._place, self._matchers = config, place, Matchers(place)
        self._policies = [policy for policy in config.policies if not policy.passes]
        self._targets: dict[str, list[SetKey]] = {}
        for target in targets:
            self._targets.setdefault(config.policies.of_group(target.group).name, []).append(target)

    def chains(self) -> Iterator[Chain]:
        """Yield the chains, those that are jumped to first."""
        config, place = self._config, self._place
        early = any(self._early(policy) for policy in self._policies)
        late = any(self._late(policy) != NO_PORTS for policy in self._policies) or not early
        for policy in self._policies:
            if _denies(config, policy):
                yield Chain(self._called("deny", policy), None, 0, tuple(self._deny(policy)))
        for policy in self._policies:
            if policy.ports is not None:
                yield Chain(self._called("ports", policy), None, 0, tuple(self._bans(policy)))
        if early:
            hook = Hook.PREROUTING
            rules = (*self._first(counted=True, blind=True), *self._scoped_early())
            yield Chain(f"{place.chain}-{hook.name.lower()}", hook, _RAW, rules)
        for hook in config.hooks if late else ():
            blind = hook in (Hook.PREROUTING, Hook.OUTPUT) and place.priority <= CONNTRACK
            rules = (*self._first(counted=not early, blind=blind), *self._at_hook(blind=blind))
            yield Chain(f"{place.chain}-{hook.name.lower()}", hook, place.priority, rules)

    def _early(self, policy: Policy) -> Ports:
        """Return the ports that a policy closes before tracking."""
        if policy.ports is None or self._config.given_place:
            return NO_PORTS
        return policy.ports - self._answered()

    def _late(self, policy: Policy) -> Ports | None:
        """Return the ports that it closes at the hooks; None for all."""
        if policy.ports is None or self._config.given_place:
            return policy.ports
        return policy.ports & self._answered()

    def _answered(self) -> Ports:
        """Return the ports at which answers to our own connections come in: tracking alone tells them apart."""
        return self._config.policies.outgoing if self._config.replies is Replies.PASS else NO_PORTS

    def _first(self, *, counted: bool, blind: bool) -> Iterator[Rule]:
        """Yield what stands ahead of all bans. Each packet is counted once, where it is met first."""
        family, never = self._place.family, never_set(self._place)
        if counted:
            yield Rule("packets seen", match.count(PROCESSED))
        if self._config.replies is Replies.PASS and not blind:
            yield Rule("replies pass", match.is_reply() + match.verdict(match.RETURN))
            if family is Family.V6:
                # conntrack doesn't track it, and without it no packet of ours reaches a banned neighbour on our link
                discovery = match.is_neighbour_discovery() + match.verdict(match.RETURN)
                yield Rule("neighbour discovery passes", discovery)
        counter = match.count(never) if counted else b""
        yield Rule("never blocked", match.source_in(family, never) + counter + match.verdict(match.RETURN))

    def _scoped_early(self) -> Iterator[Rule]:
        for policy in self._policies:
            if ports := self._early(policy):
                yield self._jump(policy, self._matchers.sent_to(ports))

    def _at_hook(self, *, blind: bool) -> Iterator[Rule]:
        for policy in self._policies:
            ports = self._late(policy)
            if ports is None:
                yield from self._bans(policy)
            elif ports and blind:
                yield self._jump(policy, self._matchers.sent_to(ports))
            elif ports:
                yield from (self._jump(policy, each) for each in self._matchers.meant_for(ports))

    def _jump(self, policy: Policy, matcher: Matcher) -> Rule:
        target = match.verdict(match.JUMP, self._called("ports", policy))
        return Rule(f"ports of {policy.name or 'default'}", matcher.expressions + target, matcher.sets)

    def _bans(self, policy: Policy) -> Iterator[Rule]:
        place = self._place
        end = match.verdict(match.DROP)
        if _denies(self._config, policy):
            end = match.verdict(match.GOTO, self._called("deny", policy))
        for target in self._targets.get(policy.name, ()):
            banned = match.source_in(place.family, set_name(place, target))
            counter = match.count(counter_name(place, target.group))
            yield Rule(f"banned by {target.group}", banned + counter + end)

    def _deny(self, policy: Policy) -> Iterator[Rule]:
        deny, family = self._config.deny, self._place.family
        if deny.log:
            yield Rule("log", match.at_most(_LOG_RATE, _LOG_BURST) + match.log(deny.log_prefix))
        if (policy.action or deny.action) is Action.REJECT:
            yield Rule("reset TCP", match.is_tcp() + match.reset())
            yield Rule("refuse the rest", match.prohibited(family))
            return
        for matcher in self._resetting(policy):
            yield Rule("reset TCP on some ports", matcher.expressions + match.reset(), matcher.sets)
        yield Rule("drop", match.verdict(match.DROP))

    def _resetting(self, policy: Policy) -> Iterator[Matcher]:
        if not policy.reset:
            return
        if self._early(policy) and self._late(policy) == NO_PORTS:
            yield self._matchers.sent_to(policy.reset, tcp_alone=True)
        else:
            yield from self._matchers.meant_for(policy.reset, tcp_alone=True)

    def _called(self, what: str, policy: Policy) -> str:
        return f"{self._place.chain}-{what}" + (f"-{policy.name}" if policy.name else "")


def _denies(config: Config, policy: Policy) -> bool:
    """Tell whether a banned packet meets more than a plain drop."""
    return config.deny.log or (policy.action or config.deny.action) is not Action.DROP or bool(policy.reset)
