"""Reads other people's rules: which packets from outside, of those that begin something, they may let in.

A rule that is not understood may let in everything.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fwbouncer.core.ports import NO_PORTS, Ports

if TYPE_CHECKING:
    from fwbouncer.doctor.rules import NftRule
    from fwbouncer.kernel.iptables import Rule

ALL = Ports.of((1, 65535))
_NFT_VERDICTS = ("accept", "jump", "goto", "vmap", "queue")
_CLOSED = ("DROP", "REJECT", "LOG", "")  # targets that let nobody in


def opened_by_nft(rule: NftRule) -> Ports:
    """Return the ports that a rule of nftables may open to strangers."""
    statements = [each for each in rule.statements if isinstance(each, dict)]
    if not any(verdict in each for each in statements for verdict in _NFT_VERDICTS):
        return NO_PORTS
    ports = ALL
    for match in (each["match"] for each in statements if isinstance(each.get("match"), dict)):
        left, right = match.get("left"), match.get("right")
        if not isinstance(left, dict) or match.get("op") not in ("==", "in"):
            continue
        if _is(left, "ct", "state") and "new" not in str(right):
            return NO_PORTS
        if (_is(left, "meta", "iif") or _is(left, "meta", "iifname")) and right == "lo":
            return NO_PORTS
        if _field(left) == "dport":
            ports = _numbers(right)
    return ports if any("accept" in each for each in statements) else ALL


def accepts(rule: NftRule) -> bool:
    """Tell whether a rule of nftables itself accepts strangers' packets, without a jump elsewhere."""
    return any("accept" in each for each in rule.statements if isinstance(each, dict)) and bool(
        opened_by_nft(rule)
    )


def _is(left: dict[str, Any], kind: str, key: str) -> bool:
    inner = left.get(kind)
    return isinstance(inner, dict) and inner.get("key") == key


def _field(left: dict[str, Any]) -> object:
    payload = left.get("payload")
    return payload.get("field") if isinstance(payload, dict) else None


def _numbers(right: object) -> Ports:
    """Read the ports in a match: a number, a range, or a set of both."""
    items = right.get("set", [right]) if isinstance(right, dict) else [right]
    spans: list[tuple[int, int]] = []
    for item in items:
        span = item.get("range") if isinstance(item, dict) else [item, item]
        if not isinstance(span, list) or not all(isinstance(port, int) for port in span):
            return ALL
        spans.append((span[0], span[-1]))
    return _ports(spans)


def target(rule: Rule) -> str:
    """Return where a rule of iptables leads; an empty text for nowhere."""
    return next((word for flag, word in pairwise(rule) if flag in ("-j", "-g")), "")


def meets_strangers(rule: Rule) -> bool:
    """Tell whether a packet from outside that begins something may meet all conditions of a rule of iptables."""
    for before, flag, word in zip(("", *rule), rule, rule[1:], strict=False):
        negated = before == "!"
        if flag in ("--ctstate", "--state") and ("NEW" in word.split(",")) == negated:
            return False
        if (flag, word) in (("-i", "lo"), ("--ctdir", "REPLY")) and not negated:
            return False
    return True


def opened_by_iptables(rule: Rule) -> Ports:
    """Return the ports that a rule of iptables may open to strangers."""
    if target(rule) in _CLOSED or not meets_strangers(rule):
        return NO_PORTS
    if target(rule) != "ACCEPT":
        return ALL
    for before, flag, word in zip(("", *rule), rule, rule[1:], strict=False):
        if flag in ("--dport", "--dports") and before != "!":
            bounds = [each.partition(":") for each in word.split(",")]
            if all(first.isdecimal() and (last.isdecimal() or not last) for first, _, last in bounds):
                return _ports([(int(first), int(last or first)) for first, _, last in bounds])
    return ALL


def _ports(spans: list[tuple[int, int]]) -> Ports:
    try:
        return Ports.of(*spans)
    except ValueError:
        return ALL
