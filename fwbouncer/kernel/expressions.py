"""The few rule expressions that our chains are made of, each as nf_tables wants it."""

from __future__ import annotations

import sys

from fwbouncer.core.model import Family
from fwbouncer.kernel import wire
from fwbouncer.kernel.nft import OBJECT_COUNTER

_REGISTER = 1  # 16 bytes wide, enough for an IPv6 address
_SOURCE = {Family.V4: (12, 4), Family.V6: (8, 16)}  # offset and length of the source address in the header
_ICMP, _TCP, _ICMPV6 = 1, 6, 58
_ECHO_REQUEST = {Family.V4: (_ICMP, b"\x08"), Family.V6: (_ICMPV6, b"\x80")}  # protocol and type
# Where a TCP header has its flags, and the two that tell who begins.
_FLAGS, _SYN, _SYN_OR_ACK = 13, b"\x02", b"\x12"
_EQUAL, _UNEQUAL, _AT_MOST, _AT_LEAST = 0, 1, 3, 5
_INVERTED = 1  # NFT_LOOKUP_F_INV
_CT_STATE, _CT_DIRECTION, _CT_PROTO_DST = 0, 1, 12
_ORIGINAL, _REPLY = b"\x00", b"\x01"
_INVALID_OR_UNTRACKED = (
    0x41  # NF_CT_STATE_INVALID_BIT, which stands for no tracking at all, too, and _UNTRACKED_BIT
)
_NEW = 0x08  # NF_CT_STATE_BIT(IP_CT_NEW)
_TRANSPORT = 2
_META_L4PROTO = 16

DROP = 0
ACCEPT = 1  # ends the base chain that led here, whatever was jumped to on the way
RETURN = -5
JUMP = -3
GOTO = -4


def _expression(name: str, *attributes: bytes) -> bytes:
    return wire.nested(1, wire.text(1, name), wire.nested(2, *attributes))


def _compare(operation: int, value: bytes) -> bytes:
    data = wire.nested(3, wire.attribute(1, value))
    return _expression("cmp", wire.u32(1, _REGISTER), wire.u32(2, operation), data)


def _protocol(number: int) -> bytes:
    return protocol() + _compare(_EQUAL, bytes([number]))


def protocol() -> bytes:
    """Load the transport protocol, found behind IPv6's extension headers, too."""
    return _expression("meta", wire.u32(1, _REGISTER), wire.u32(2, _META_L4PROTO))


def destination_port() -> bytes:
    """Load the port that the packet says it goes to. A fragment but the first says none, and matches nothing."""
    where = (wire.u32(2, _TRANSPORT), wire.u32(3, 2), wire.u32(4, 2))
    return _expression("payload", wire.u32(1, _REGISTER), *where)


def original_port() -> bytes:
    """Load the port that the connection was opened to, before any translation."""
    return _expression("ct", wire.u32(1, _REGISTER), wire.u32(2, _CT_PROTO_DST), wire.attribute(3, _ORIGINAL))


def is_from_opener() -> bytes:
    """Match packets of who opened the connection."""
    return _expression("ct", wire.u32(1, _REGISTER), wire.u32(2, _CT_DIRECTION)) + _compare(_EQUAL, _ORIGINAL)


def is_untracked() -> bytes:
    """Match packets that belong to no connection that is tracked."""
    return _state() + masked(_order(_INVALID_OR_UNTRACKED)) + _compare(_UNEQUAL, bytes(4))


def is_tracked() -> bytes:
    """Match packets of a connection that is tracked; none does before tracking."""
    return _state() + masked(_order(_INVALID_OR_UNTRACKED)) + _compare(_EQUAL, bytes(4))


def is_new() -> bytes:
    """Match packets of connections that are tracked and of which the other side has said nothing yet."""
    return _state() + masked(_order(_NEW)) + _compare(_UNEQUAL, bytes(4))


def openings(family: Family) -> tuple[bytes, bytes]:
    """Match what begins a connection and never answers one: TCP's SYN without ACK, and an echo request."""
    flags = _transport_byte(_FLAGS) + masked(_SYN_OR_ACK) + _compare(_EQUAL, _SYN)
    number, kind = _ECHO_REQUEST[family]
    return is_tcp() + flags, _protocol(number) + _transport_byte(0) + _compare(_EQUAL, kind)


def _state() -> bytes:
    return _expression("ct", wire.u32(1, _REGISTER), wire.u32(2, _CT_STATE))


def _order(bits: int) -> bytes:
    return bits.to_bytes(4, sys.byteorder)


def masked(mask: bytes) -> bytes:
    """Keep these bits of what was loaded."""
    return _expression(
        "bitwise",
        wire.u32(1, _REGISTER),
        wire.u32(2, _REGISTER),
        wire.u32(3, len(mask)),
        wire.nested(4, wire.attribute(1, mask)),
        wire.nested(5, wire.attribute(1, bytes(len(mask)))),
    )


def _transport_byte(offset: int) -> bytes:
    """Load a byte of the transport header. A fragment but the first has none, and matches nothing."""
    where = (wire.u32(2, _TRANSPORT), wire.u32(3, offset), wire.u32(4, 1))
    return _expression("payload", wire.u32(1, _REGISTER), *where)


def looked_up(set_name: str, number: int, *, inverted: bool = False) -> bytes:
    """Match what was loaded if it is in a set that the same transaction makes; `inverted`, if it isn't."""
    flags = (wire.u32(5, _INVERTED),) if inverted else ()
    return _expression("lookup", wire.text(1, set_name), wire.u32(2, _REGISTER), wire.u32(4, number), *flags)


def source(family: Family) -> bytes:
    """Load the address that a packet comes from."""
    offset, length = _SOURCE[family]
    network_header = 1
    where = (wire.u32(2, network_header), wire.u32(3, offset), wire.u32(4, length))
    return _expression("payload", wire.u32(1, _REGISTER), *where)


def source_in(family: Family, set_name: str) -> bytes:
    """Match packets whose source address is in a set."""
    return source(family) + _expression("lookup", wire.text(1, set_name), wire.u32(2, _REGISTER))


def is_reply() -> bytes:
    """Match packets that answer a connection; those that conntrack doesn't know never match."""
    return _expression("ct", wire.u32(1, _REGISTER), wire.u32(2, _CT_DIRECTION)) + _compare(_EQUAL, _REPLY)


def is_neighbour_discovery() -> bytes:
    """Match neighbour solicitations and advertisements, which do for IPv6 what ARP does for IPv4."""
    return (
        _protocol(_ICMPV6) + _transport_byte(0) + _compare(_AT_LEAST, b"\x87") + _compare(_AT_MOST, b"\x88")
    )


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
