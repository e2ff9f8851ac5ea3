"""From the configuration to the rules that must stand in one family's tables filter and raw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.config.schema import Config, Replies
from fwbouncer.core.model import NEVER_BLOCK, Family
from fwbouncer.core.policy import Action, Policy
from fwbouncer.core.ports import NO_PORTS, Ports
from fwbouncer.kernel.iptables import (
    CHAIN,
    DENY_CHAIN,
    FILTER,
    LOG_CHAIN,
    NEIGHBOURS,
    PORTS_CHAIN,
    RAW,
    REPLIES,
    Rule,
    Skeleton,
    of_policy,
    set_rule,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Written as iptables-save shows it, so that what was written is recognised.
_LIMIT: Rule = ("-m", "limit", "--limit", "10/sec", "--limit-burst", "20")
_PROHIBITED = {Family.V4: "icmp-admin-prohibited", Family.V6: "icmp6-adm-prohibited"}
_TCP, _UDP = "tcp", "udp"
_MOST_PORTS = 15  # in one rule; a range takes the place of two
# Where bans of some ports alone stand if nobody says where, as far as they must know the connection.
_USUAL = ("INPUT", "FORWARD")
# What the kernel's REJECT and TARPIT take part in: nothing that comes before the table filter.
_EARLY_ACTIONS = (Action.DROP, Action.LOG)


def skeletons(config: Config, family: Family, sets: Iterable[tuple[str, str]]) -> dict[str, Skeleton]:
    """Lay out the rules by table for sets, each given by its name and the group that it holds."""
    layout = _Layout(config, family, sets)
    return {RAW: layout.raw(), FILTER: layout.filter()}


def tried(config: Config, family: Family) -> dict[str, Skeleton]:
    """Return rules with every extension that is needed, to find out whether all are installed."""
    every = skeletons(config, family, ())
    return {name: Skeleton(made.chains, ()) for name, made in every.items() if made.chains}


def jumps(config: Config, family: Family) -> tuple[str, ...]:
    """Return the chains that the configuration wants to jump to ours, where they exist."""
    return config.iptables.v4_chains if family is Family.V4 else config.iptables.v6_chains


class _Layout:
    """The rules in the making."""

    def __init__(self, config: Config, family: Family, sets: Iterable[tuple[str, str]]) -> None:
        self._config, self._family = config, family
        ordered = list(sets)
        self._never = [(name, group) for name, group in ordered if group == NEVER_BLOCK]
        self._sets: dict[str, list[tuple[str, str]]] = {}
        for name, group in ordered:
            if group != NEVER_BLOCK:
                self._sets.setdefault(config.policies.of_group(group).name, []).append((name, group))
        self._policies = [policy for policy in config.policies if not policy.passes]

    def raw(self) -> Skeleton:
        """Lay out what stands ahead of tracking."""
        chains: dict[str, tuple[Rule, ...]] = {}
        rules: list[Rule] = list(self._sparing())
        for policy in self._policies:
            ports = self._early(policy)
            if ports:
                target, helpers = self._target(policy, early=True)
                chains |= {_ports_chain(policy): tuple(self._bans(policy, target)), **helpers}
                rules += (
                    _sent_to(each, protocol, policy) for protocol in (_TCP, _UDP) for each in _chunks(ports)
                )
        return Skeleton({CHAIN: tuple(rules), **chains}, ("PREROUTING",)) if chains else Skeleton({}, ())

    def filter(self) -> Skeleton:
        """Lay out what knows connections, and what the administrator wants to stand in chains of his choice."""
        config, named = self._config, jumps(self._config, self._family)
        if (
            not named
            and all(policy.ports is not None for policy in self._policies)
            and not any(self._late(policy) for policy in self._policies)
        ):
            return Skeleton({}, ())
        chains: dict[str, tuple[Rule, ...]] = {}
        rules: list[Rule] = []
        if config.replies is Replies.PASS:
            rules += [REPLIES, *(NEIGHBOURS if self._family is Family.V6 else ())]
        rules += self._sparing()
        for policy in self._policies:
            target, helpers = self._target(policy, early=False)
            if policy.ports is None:
                rules += self._bans(policy, target)
                chains |= helpers
            elif ports := self._late(policy):
                chains |= {_ports_chain(policy): tuple(self._bans(policy, target)), **helpers}
                rules += _meant_for(ports, policy)
        scoped = any(policy.ports is not None for policy in self._policies)
        return Skeleton({CHAIN: tuple(rules), **chains}, named or (_USUAL if scoped else ()))

    def _early(self, policy: Policy) -> Ports:
        """Return the ports that a policy closes in the table raw."""
        action = policy.action or self._config.deny.action
        if policy.ports is None or self._config.given_place or action not in _EARLY_ACTIONS:
            return NO_PORTS
        answered = self._config.policies.outgoing if self._config.replies is Replies.PASS else NO_PORTS
        return policy.ports - policy.reset - answered

    def _late(self, policy: Policy) -> Ports:
        return NO_PORTS if policy.ports is None else policy.ports - self._early(policy)

    def _sparing(self) -> Iterator[Rule]:
        """Yield what lets those pass who are never blocked: before any set that may hold them, too."""
        return (self._rule(name, group, "RETURN") for name, group in self._never)

    def _bans(self, policy: Policy, target: str) -> Iterator[Rule]:
        return (self._rule(name, group, target) for name, group in self._sets.get(policy.name, ()))

    def _rule(self, name: str, group: str, target: str) -> Rule:
        return set_rule(name, target, group if self._config.iptables.rule_comments else None)

    def _target(self, policy: Policy, *, early: bool) -> tuple[str, dict[str, tuple[Rule, ...]]]:
        """Return what a set's rule jumps to, and the chain that stands behind it, if it takes one."""
        deny, action = self._config.deny, policy.action or self._config.deny.action
        resets = () if early else tuple(_resets(policy.reset))
        if action is Action.DROP and not deny.log and not resets:
            return "DROP", {}
        verdict = (*resets, *self._verdict(action))
        if deny.log and action is not Action.LOG:
            verdict = (self._logging(), *verdict)
        usual = LOG_CHAIN if deny.log else DENY_CHAIN
        name = of_policy("D", policy.name) if policy.name else usual
        return name, {name: verdict}

    def _verdict(self, action: Action) -> tuple[Rule, ...]:
        if action is Action.REJECT:
            # A mail server that is answered with a reset gives up at once, and tells its own queue so.
            return _RESET, ("-j", "REJECT", "--reject-with", _PROHIBITED[self._family])
        if action is Action.TARPIT:
            return ("-p", "tcp", "-j", "TARPIT", "--tarpit"), ("-j", "DROP")
        return (self._logging(),) if action is Action.LOG else (("-j", "DROP"),)

    def _logging(self) -> Rule:
        prefix = self._config.deny.log_prefix
        return (*_LIMIT, "-j", "LOG", *(("--log-prefix", prefix) if prefix else ()))


_RESET: Rule = ("-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")


def _ports_chain(policy: Policy) -> str:
    return of_policy("P", policy.name) if policy.name else PORTS_CHAIN


def _sent_to(ports: str, protocol: str, policy: Policy) -> Rule:
    return ("-p", protocol, "-m", "multiport", "--dports", ports, "-j", _ports_chain(policy))


def _meant_for(ports: Ports, policy: Policy) -> Iterator[Rule]:
    """Yield rules for the port that the peer asked for; what isn't tracked has been translated by nothing."""
    for protocol in (_TCP, _UDP):
        for matched in _asked(ports, protocol):
            yield (*matched, "-j", _ports_chain(policy))


def _resets(ports: Ports) -> Iterator[Rule]:
    for matched in _asked(ports, _TCP):
        yield (*matched, "-j", "REJECT", "--reject-with", "tcp-reset")


def _asked(ports: Ports, protocol: str) -> Iterator[Rule]:
    for first, last in ports.spans:
        span = f"{first}" if first == last else f"{first}:{last}"
        yield ("-p", protocol, "-m", "conntrack", "--ctorigdstport", span, "--ctdir", "ORIGINAL")
    for chunk in _chunks(ports):
        untracked = ("-m", "conntrack", "--ctstate", "INVALID,UNTRACKED")
        yield ("-p", protocol, *untracked, "-m", "multiport", "--dports", chunk)


def _chunks(ports: Ports) -> Iterator[str]:
    """Write ports as the extension multiport takes them, so many at a time."""
    chunk: list[str] = []
    room = _MOST_PORTS
    for first, last in ports.spans:
        needed = 1 if first == last else 2
        if needed > room:
            yield ",".join(chunk)
            chunk, room = [], _MOST_PORTS
        chunk.append(f"{first}" if first == last else f"{first}:{last}")
        room -= needed
    if chunk:
        yield ",".join(chunk)
