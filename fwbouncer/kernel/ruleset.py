"""What stands around the sets: tables, chains, counters and rules, as data that can be printed and compared.

chain <chain>-prerouting        before connection tracking and translation
    counter processed           every packet we see
    opens a connection          jump to -opening: a TCP SYN without ACK, an echo request; neither can be an answer
    sent to a policy's port     jump to the policy's chain
chain <chain>-<hook>            one for each hook, for bans that close everything
    counter processed           unless it was counted before
    replies pass                connections that this host opened
    judged before tracking      what opens a connection needs no second look
    source in a group's set     jump to the group's chain; hosts first
    near no banned network      return, ahead of the sets of networks: see `near`
chain <chain>-opening           for bans that close everything: source in a group's set, jump to the group's chain
chain <chain>-ports[-<policy>]  likewise, for bans that close some ports
chain <chain>-by-<group>        what is met only by who is banned
    judged before tracking      return: it was let pass there
    jump to -spared             neighbour discovery, and sources in never-block, which have a counter: accept
    counter of the group        drop (or goto the deny chain)
chain <chain>-deny[-<policy>]   only where packets are logged or refused instead of dropped

So a flood of connections costs no tracking. Only tracking knows what answers a connection of ours: all else of a banned
peer is judged behind it. (Of two ends that open one TCP connection at the same moment, each hears a SYN without ACK. If
the other is banned, that is taken for a connection of its own.) With `replies: drop` all is judged before tracking.

Where the administrator says at which hooks and priority the chains stand, everything stands there. Behind translation a
port is the one that the peer asked for, as tracking remembers it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2s
from itertools import chain
from typing import TYPE_CHECKING

from fwbouncer.config.schema import Config, Hook, Nft, Replies
from fwbouncer.core.model import NEVER_BLOCK, PROCESSED, Family, Kind, SetKey
from fwbouncer.core.policy import Action, Policy
from fwbouncer.core.ports import NO_PORTS, Ports
from fwbouncer.kernel import expressions as match
from fwbouncer.kernel.called import counter_name, group_chain, never_set, opening_chain, set_name
from fwbouncer.kernel.port_match import Anonymous, Matcher, Matchers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from fwbouncer.kernel.near import Around, Blocks

CONNTRACK = -200  # NF_IP_PRI_CONNTRACK: what stands there or before knows nothing of connections
_RAW = -300  # NF_IP_PRI_RAW: behind the reassembly of fragments, before tracking and translation
# How the purposes of rules begin that come and go with what is banned.
BANNED, NEAR = "banned by ", "near no banned network"
_LOG_RATE, _LOG_BURST = 10, 50  # packets a second; a flood must not fill the log


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Its comment is what nft shows beside it, and by which we know it again.

    It ends in a digest of what the rule does, so that one that was changed is known.
    """

    purpose: str
    expressions: bytes
    sets: tuple[Anonymous, ...] = ()
    comment: str = field(init=False)

    def __post_init__(self) -> None:
        """Compute the comment: it is compared with every change."""
        whole = b"".join((self.expressions, *(made.contents for made in self.sets)))
        comment = f"{self.purpose} [{blake2s(whole, digest_size=4).hexdigest()}]"
        object.__setattr__(self, "comment", comment)


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


def skeleton(config: Config, place: Nft, groups: Mapping[str, Iterable[Kind]], near: Around) -> Skeleton:
    """Lay out one family's table for the groups that there are, and for networks in no blocks but these.

    The never-block set is there in any case.
    """
    targets = [
        SetKey(group, place.family, kind)
        for group in sorted(groups.keys() - {NEVER_BLOCK})
        for kind in sorted(groups[group], key=lambda kind: kind.value)
    ]
    sets = [(set_name(place, target), target.kind is Kind.RANGES) for target in targets]
    if place.set_only:
        return Skeleton((), (), tuple(sets))
    never = never_set(place)
    chains = _Table(config, place, targets, near).chains()
    counters = (PROCESSED, never, *dict.fromkeys(counter_name(place, target.group) for target in targets))
    return Skeleton(tuple(chains), counters, ((never, True), *sets))


class _Table:
    """One family's chains in the making."""

    def __init__(self, config: Config, place: Nft, targets: Iterable[SetKey], near: Around) -> None:
        self._config, self._place, self._matchers = config, place, Matchers(place)
        self._near, self._near_spared = near
        self._policies = [policy for policy in config.policies if not policy.passes]
        self._targets: dict[str, list[SetKey]] = {}
        for target in targets:
            self._targets.setdefault(config.policies.of_group(target.group).name, []).append(target)

    def chains(self) -> Iterator[Chain]:
        """Yield the chains, those that are jumped to first."""
        config, place = self._config, self._place
        opening = any(self._opens(policy) for policy in self._policies)
        early = opening or any(self._early(policy) != NO_PORTS for policy in self._policies)
        late = any(self._late(policy) != NO_PORTS for policy in self._policies) or not early
        yield from self._met_by_the_banned()
        for policy in self._policies:
            if policy.ports is not None:
                yield Chain(self._called("ports", policy), None, 0, tuple(self._bans([policy])))
        if opening:
            bans = self._bans([policy for policy in self._policies if self._opens(policy)])
            yield Chain(opening_chain(place), None, 0, tuple(bans))
        if early:
            hook, rules = Hook.PREROUTING, self._at_raw(opening=opening)
            yield Chain(f"{place.chain}-{hook.name.lower()}", hook, _RAW, tuple(rules))
        for hook in config.hooks if late else ():
            blind = hook in (Hook.PREROUTING, Hook.OUTPUT) and place.priority <= CONNTRACK
            rules = self._at_hook(counted=not early, blind=blind)
            yield Chain(f"{place.chain}-{hook.name.lower()}", hook, place.priority, tuple(rules))

    def _opens(self, policy: Policy) -> bool:
        """Tell whether a policy's bans drop what opens a connection before tracking, and the rest behind it."""
        return self._late(policy) is None and not self._config.given_place and self._plain(policy)

    def _early(self, policy: Policy) -> Ports | None:
        """Return the ports that a policy closes before tracking, whatever is sent to them; None for all."""
        if self._config.given_place:
            return NO_PORTS
        if policy.ports is None:
            return NO_PORTS if self._config.replies is Replies.PASS else None
        return policy.ports - self._answered()

    def _late(self, policy: Policy) -> Ports | None:
        """Return the ports that it closes at the hooks; None for all."""
        if self._config.given_place:
            return policy.ports
        if policy.ports is None:
            return None if self._config.replies is Replies.PASS else NO_PORTS
        return policy.ports & self._answered()

    def _answered(self) -> Ports:
        """Return the ports at which answers to our own connections come in: tracking alone tells them apart."""
        return self._config.policies.outgoing if self._config.replies is Replies.PASS else NO_PORTS

    def _plain(self, policy: Policy) -> bool:
        """Tell whether a banned packet is dropped without an answer."""
        return (policy.action or self._config.deny.action) is Action.DROP and not policy.reset

    def _at_raw(self, *, opening: bool) -> Iterator[Rule]:
        yield Rule("packets seen", match.count(PROCESSED))
        if opening:
            target = match.verdict(match.JUMP, opening_chain(self._place))
            for opens in match.openings(self._place.family):
                yield Rule("opens a connection", opens + target)
        yield from self._judge(self._policies, self._early, self._matchers.sent_to)

    def _at_hook(self, *, counted: bool, blind: bool) -> Iterator[Rule]:
        if counted:
            yield Rule("packets seen", match.count(PROCESSED))
        if self._config.replies is Replies.PASS and not blind:
            yield Rule("replies pass", match.is_reply() + match.verdict(match.RETURN))
        late = [policy for policy in self._policies if self._late(policy) != NO_PORTS]
        if late and all(map(self._opens, late)):
            begins, echo = match.openings(self._place.family)
            for opens in (match.is_new() + begins, echo):  # few packets are new: most leave the rule at once
                yield Rule("judged before tracking", opens + match.verdict(match.RETURN))
        matching = self._matchers.sent_to if blind else self._matchers.meant_for
        yield from self._judge(late, self._late, matching)

    def _judge(
        self,
        policies: Iterable[Policy],
        closed: Callable[[Policy], Ports | None],
        matching: Callable[[Ports], Iterable[Matcher]],
    ) -> Iterator[Rule]:
        """Yield the lookups of policies that close everything, and the jumps of those that close some ports."""
        everything = []
        for policy in policies:
            if (ports := closed(policy)) is None:
                everything.append(policy)
                yield from self._hosts(policy)
            elif ports:
                yield from (self._jump(policy, each) for each in matching(ports))
        yield from self._networks(everything)

    def _jump(self, policy: Policy, matcher: Matcher) -> Rule:
        target = match.verdict(match.JUMP, self._called("ports", policy))
        return Rule(f"ports of {policy.name or 'default'}", matcher.expressions + target, matcher.sets)

    def _bans(self, policies: Collection[Policy]) -> Iterator[Rule]:
        return chain(*map(self._hosts, policies), self._networks(policies))

    def _hosts(self, policy: Policy) -> Iterator[Rule]:
        return (self._ban(target) for target in self._of(policy) if target.kind is Kind.HOSTS)

    def _networks(self, policies: Collection[Policy]) -> Iterator[Rule]:
        """Yield the end of a chain: who is near no banned network leaves, the others are looked up among these."""
        targets = [t for policy in policies for t in self._of(policy) if t.kind is Kind.RANGES]
        if not targets or (self._near is not None and not self._near):
            return
        yield from self._leave(NEAR, self._near)
        yield from map(self._ban, targets)

    def _leave(self, purpose: str, blocks: Blocks | None) -> Iterator[Rule]:
        """Yield what ends a chain for packets from none of these blocks."""
        if blocks:
            outside = self._matchers.outside(blocks)
            yield Rule(purpose, outside.expressions + match.verdict(match.RETURN), outside.sets)

    def _of(self, policy: Policy) -> list[SetKey]:
        return self._targets.get(policy.name, [])

    def _ban(self, target: SetKey) -> Rule:
        banned = match.source_in(self._place.family, set_name(self._place, target))
        by = match.verdict(match.JUMP, group_chain(self._place, target.group))
        return Rule(f"{BANNED}{target.group}", banned + by)

    def _met_by_the_banned(self) -> Iterator[Chain]:
        """Yield what stands behind the lookups."""
        place = self._place
        for policy in self._policies:
            if _denies(self._config, policy):
                yield Chain(self._called("deny", policy), None, 0, tuple(self._deny(policy)))
        yield Chain(f"{place.chain}-spared", None, 0, tuple(self._spared()))
        for policy in self._policies:
            for group in dict.fromkeys(target.group for target in self._of(policy)):
                yield Chain(group_chain(place, group), None, 0, tuple(self._by(group, policy)))

    def _spared(self) -> Iterator[Rule]:
        family, never = self._place.family, never_set(self._place)
        accept = match.verdict(match.ACCEPT)
        if self._config.replies is Replies.PASS and family is Family.V6:
            # conntrack doesn't track it, and without it no packet of ours reaches a banned neighbour on our link
            yield Rule("neighbour discovery passes", match.is_neighbour_discovery() + accept)
        yield from self._leave("near nobody who is spared", self._near_spared)
        yield Rule("never blocked", match.source_in(family, never) + match.count(never) + accept)

    def _by(self, group: str, policy: Policy) -> Iterator[Rule]:
        """Yield what a packet meets whose source is in one of a group's sets. Each is counted once."""
        place = self._place
        if self._opens(policy):
            for opens in match.openings(place.family):
                judged = match.is_tracked() + opens + match.verdict(match.RETURN)
                yield Rule("judged before tracking", judged)
        yield Rule("some are spared", match.verdict(match.JUMP, f"{place.chain}-spared"))
        end = match.verdict(match.DROP)
        if _denies(self._config, policy):
            end = match.verdict(match.GOTO, self._called("deny", policy))
        yield Rule("counted", match.count(counter_name(place, group)) + end)

    def _deny(self, policy: Policy) -> Iterator[Rule]:
        deny, family = self._config.deny, self._place.family
        if deny.log:
            yield Rule("log", match.at_most(_LOG_RATE, _LOG_BURST) + match.log(deny.log_prefix))
        if (policy.action or deny.action) is Action.REJECT:
            yield Rule("reset TCP", match.is_tcp() + match.reset())
            yield Rule("refuse the rest", match.prohibited(family))
            return
        for matcher in self._resetting(policy) if policy.reset else ():
            yield Rule("reset TCP on some ports", matcher.expressions + match.reset(), matcher.sets)
        yield Rule("drop", match.verdict(match.DROP))

    def _resetting(self, policy: Policy) -> Iterable[Matcher]:
        before_tracking = self._early(policy) != NO_PORTS and self._late(policy) == NO_PORTS
        matching = self._matchers.sent_to if before_tracking else self._matchers.meant_for
        return matching(policy.reset, tcp_alone=True)

    def _called(self, what: str, policy: Policy) -> str:
        return f"{self._place.chain}-{what}" + (f"-{policy.name}" if policy.name else "")


def _denies(config: Config, policy: Policy) -> bool:
    """Tell whether a banned packet meets more than a plain drop."""
    return config.deny.log or (policy.action or config.deny.action) is not Action.DROP or bool(policy.reset)
