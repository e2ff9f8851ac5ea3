"""The few rule expressions that our chains are made of, each as nf_tables wants it."""

from __future__ import annotations

from fwbouncer.core.model import Family
from fwbouncer.kernel import wire
from fwbouncer.kernel.nft import OBJECT_COUNTER

_REGISTER = 1  # 16 bytes wide, enough for an IPv6 address
_SOURCE = {Family.V4: (12, 4), Family.V6: (8, 16)}  # offset and length of the source address in the header
_TCP, _ICMPV6 = 6, 58
_EQUAL, _AT_MOST, _AT_LEAST = 0, 3, 5
_CT_DIRECTION = 1
_REPLY = b"\x01"
_META_L4PROTO = 16

DROP = 0
RETURN = -5
GOTO = -4


def _expression(name: str, *attributes: bytes) -> bytes:
    return wire.nested(1, wire.text(1, name), wire.nested(2, *attributes))


def _compare(operation: int, value: bytes) -> bytes:
    data = wire.nested(3, wire.attribute(1, value))
    return _expression("cmp", wire.u32(1, _REGISTER), wire.u32(2, operation), data)


def _protocol(number: int) -> bytes:
    load = _expression("meta", wire.u32(1, _REGISTER), wire.u32(2, _META_L4PROTO))
    return load + _compare(_EQUAL, bytes([number]))


def source_in(family: Family, set_name: str) -> bytes:
    """Match packets whose source address is in a set."""
    offset, length = _SOURCE[family]
    network_header = 1
    load = _expression(
        "payload",
        wire.u32(1, _REGISTER),
        wire.u32(2, network_header),
        wire.u32(3, offset),
        wire.u32(4, length),
    )
    return load + _expression("lookup", wire.text(1, set_name), wire.u32(2, _REGISTER))


def is_reply() -> bytes:
    """Match packets that answer a connection; those that conntrack doesn't know never match."""
    return _expression("ct", wire.u32(1, _REGISTER), wire.u32(2, _CT_DIRECTION)) + _compare(_EQUAL, _REPLY)


def is_neighbour_discovery() -> bytes:
    """Match neighbour solicitations and advertisements, which do for IPv6 what ARP does for IPv4."""
    transport_header = 2
    load = _expression(
        "payload", wire.u32(1, _REGISTER), wire.u32(2, transport_header), wire.u32(3, 0), wire.u32(4, 1)
    )
    return _protocol(_ICMPV6) + load + _compare(_AT_LEAST, b"\x87") + _compare(_AT_MOST, b"\x88")


def is_tcp() -> bytes:
    """Match TCP."""
    return _protocol(_TCP)


def count(counter: str) -> bytes:
    """Count in a named counter."""
    return _expression("objref", wire.u32(1, OBJECT_COUNTER), wire.text(2, counter))


def at_most(per_second: int, burst: int) -> bytes:
    """Match so many packets a second; the rest of the rule is for them alone."""
    return _expression("limit", wire.u64(1, per_second), wire.u64(2, 1), wire.u32(3, burst), wire.u32(4, 0))


def log(prefix: str) -> bytes:
    """Log the packet to the kernel's log."""
    return _expression("log", wire.text(2, prefix))


def verdict(code: int, chain: str = "") -> bytes:
    """End the rule with a verdict; RETURN from a base chain means its policy, accept."""
    target = wire.text(2, chain) if chain else b""
    data = wire.nested(2, wire.nested(2, wire.u32(1, code), target))
    return _expression("immediate", wire.u32(1, 0), data)


def reset() -> bytes:
    """Refuse with a TCP reset."""
    return _expression("reject", wire.u32(1, 1), wire.u8(2, 0))


def prohibited(family: Family) -> bytes:
    """Refuse with "administratively prohibited": code 13 of ICMP's unreachable, code 1 of ICMPv6's."""
    return _expression("reject", wire.u32(1, 0), wire.u8(2, 13 if family is Family.V4 else 1))
