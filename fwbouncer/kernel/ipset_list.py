"""What the kernel answers when it lists ipsets: names, headers, elements. Knows no socket."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from fwbouncer.kernel import wire
from fwbouncer.kernel.ipset_numbers import (
    MAX_TIMEOUT,
    NESTED,
    NET_ORDER,
    NFPROTO,
    NOMATCH,
    TYPE_MASK,
    Data,
    Top,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.model import AddressKey, Family

_FAMILY = {number: family for family, number in NFPROTO.items()}
_PER_SET = {Data.COUNT, Data.REFERENCES, Data.MEMSIZE, Data.MAXELEM, Data.HASHSIZE}
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct(">I")
# How nearly every element is listed: two heads and an address, a prefix length, a timeout, in this order. Reading
# that in one go, after a look at the heads, takes a third of the time.
_PLAIN = {24 + size: struct.Struct(f">8s{size}s4sB3x4sI") for size in (4, 16)}
_PLAIN_HEADS = {
    24 + size: (
        _ATTRIBUTE.pack(8 + size, Data.IP | NESTED) + _ATTRIBUTE.pack(4 + size, size // 16 + 1),
        _ATTRIBUTE.pack(5, Data.PREFIX),
        _ATTRIBUTE.pack(8, Data.TIMEOUT | NET_ORDER),
    )
    for size in (4, 16)
}


@dataclass(frozen=True, slots=True)
class Header:
    """What the kernel tells of a set without listing it.

    `elements` leaves out what has timed out; `create` are the attributes that a set like it is made with.
    """

    name: str
    type: str
    revision: int
    family: Family | None
    timeouts: bool
    maxelem: int
    elements: int
    references: int
    create: tuple[tuple[int, bytes], ...]


class Held(NamedTuple):
    """One element as the kernel holds it."""

    key: AddressKey
    timeout: int | None  # seconds: 0 is for ever; None in a set without timeouts
    nomatch: bool = False  # an exception that somebody put in by hand


def name_of(payload: memoryview) -> str:
    """Read the set's name from one message of a list."""
    return wire.string(wire.table(payload[4:]).get(Top.NAME, b""))


def header(payload: memoryview) -> Header | None:
    """Read a set's header from the first message of its list; None from the following ones."""
    top = wire.table(payload[4:])
    if Top.TYPE not in top or Top.DATA not in top:
        return None
    options = wire.table(top[Top.DATA])
    return Header(
        name=wire.string(top[Top.NAME]),
        type=wire.string(top[Top.TYPE]),
        revision=wire.number(top.get(Top.REVISION, b"")),
        family=_FAMILY.get(wire.number(top.get(Top.FAMILY, b""))),
        timeouts=Data.TIMEOUT in options,
        maxelem=wire.number(options.get(Data.MAXELEM, b"")),
        elements=wire.number(options.get(Data.COUNT, b"")),
        references=wire.number(options.get(Data.REFERENCES, b"")),
        create=tuple((kind, bytes(value)) for kind, value in options.items() if kind not in _PER_SET),
    )


def elements(payload: memoryview) -> Iterator[memoryview]:
    """Walk over the elements in one message of a list, each as the attributes that it consists of."""
    for kind, inside in wire.attributes(payload[4:]):
        if kind == Top.ELEMENTS:
            for inner, body in wire.attributes(inside):
                if inner == Top.DATA:
                    yield body


def held(body: memoryview) -> Held | None:
    """Read one element; None where it is of a shape that no set of ours has."""
    plain = _PLAIN.get(len(body))
    if plain is not None:
        head, address, prefix_head, prefix, timeout_head, timeout = plain.unpack(body)
        if (head, prefix_head, timeout_head) == _PLAIN_HEADS[len(body)] and prefix <= len(address) * 8:
            return Held(_key(address, prefix), timeout)
    parts = wire.table(body)
    address = next((bytes(value) for _, value in wire.attributes(parts.get(Data.IP, b""))), b"")
    prefix = wire.number(parts[Data.PREFIX]) if Data.PREFIX in parts else len(address) * 8
    if len(address) not in (4, 16) or prefix > len(address) * 8:
        return None
    timeout = wire.number(parts[Data.TIMEOUT]) if Data.TIMEOUT in parts else None
    return Held(_key(address, prefix), timeout, bool(wire.number(parts.get(Data.FLAGS, b"")) & NOMATCH))


def copied(body: memoryview) -> bytes:
    """Turn a listed element into one that can be added to another set, with all its extensions.

    The kernel lists whole seconds, rounded down; one is put on top, lest the copy end too early.
    """
    parts: list[bytes] = []
    at = 0
    while at + 4 <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        value = bytes(body[at + 4 : at + length])
        if kind & NESTED:  # an address, listed without the flag that it must have to be taken in
            value = b"".join(wire.attribute(k | NET_ORDER, bytes(v)) for k, v in wire.attributes(value))
        elif kind & TYPE_MASK == Data.TIMEOUT and any(value):
            value = _NUMBER.pack(min(MAX_TIMEOUT, _NUMBER.unpack(value)[0] + 1))
        parts.append(wire.attribute(kind, value))
        at += (max(length, 4) + 3) & ~3
    return b"".join(parts)


def _key(address: bytes, prefix: int) -> AddressKey:
    return address if prefix == len(address) * 8 else address + bytes((prefix,))
