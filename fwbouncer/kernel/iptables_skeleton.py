"""From the configuration to the rules that must stand in one family's filter table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.config.schema import Config, Deny, Replies
from fwbouncer.core.model import NEVER_BLOCK, Family
from fwbouncer.core.policy import Action
from fwbouncer.kernel.iptables import (
    CHAIN,
    DENY_CHAIN,
    LOG_CHAIN,
    NEIGHBOURS,
    REPLIES,
    Rule,
    Skeleton,
    set_rule,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

# Written as iptables-save shows it, so that what was written is recognised.
_LIMIT: Rule = ("-m", "limit", "--limit", "10/sec", "--limit-burst", "20")
_PROHIBITED = {Family.V4: "icmp-admin-prohibited", Family.V6: "icmp6-adm-prohibited"}


def skeleton(config: Config, family: Family, sets: Iterable[tuple[str, str]]) -> Skeleton:
    """Lay out the rules for sets, each given by its name and the group that it holds."""
    target, helpers = _target(config.deny, family)
    comments = config.iptables.rule_comments
    # Who is never blocked passes first, before any set that may hold it, too.
    ordered = sorted(sets, key=lambda pair: pair[1] != NEVER_BLOCK)
    rules = [
        set_rule(name, "RETURN" if group == NEVER_BLOCK else target, group if comments else None)
        for name, group in ordered
    ]
    if config.replies is Replies.PASS:
        rules[:0] = [REPLIES, *(NEIGHBOURS if family is Family.V6 else ())]
    return Skeleton({CHAIN: tuple(rules), **helpers}, jumps(config, family))


def tried(config: Config, family: Family) -> Skeleton:
    """Return rules with every extension that the verdict takes, to find out whether they are installed."""
    return Skeleton(_target(config.deny, family)[1], ())


def jumps(config: Config, family: Family) -> tuple[str, ...]:
    """Return the chains that are to jump to ours, where they exist."""
    return config.iptables.v4_chains if family is Family.V4 else config.iptables.v6_chains


def _target(deny: Deny, family: Family) -> tuple[str, dict[str, tuple[Rule, ...]]]:
    """Return what a set's rule jumps to, and the chain that stands behind it, if it takes one."""
    verdict = _verdict(deny, family)
    if deny.log and deny.action is not Action.LOG:
        return LOG_CHAIN, {LOG_CHAIN: (_logging(deny), *verdict)}
    if deny.log:
        return LOG_CHAIN, {LOG_CHAIN: verdict}
    if deny.action is Action.DROP:
        return "DROP", {}
    return DENY_CHAIN, {DENY_CHAIN: verdict}


def _verdict(deny: Deny, family: Family) -> tuple[Rule, ...]:
    if deny.action is Action.REJECT:
        # A mail server that is answered with a reset gives up at once, and tells its own queue so.
        return (
            ("-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset"),
            ("-j", "REJECT", "--reject-with", _PROHIBITED[family]),
        )
    if deny.action is Action.TARPIT:
        return ("-p", "tcp", "-j", "TARPIT", "--tarpit"), ("-j", "DROP")
    if deny.action is Action.LOG:
        return (_logging(deny),)
    return (("-j", "DROP"),)


def _logging(deny: Deny) -> Rule:
    prefix = ("--log-prefix", deny.log_prefix) if deny.log_prefix else ()
    return (*_LIMIT, "-j", "LOG", *prefix)
