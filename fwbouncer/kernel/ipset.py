"""ipset's netlink protocol as bytes: commands, entries in bulk, set headers, elements. Knows no socket.

Numbers travel in network order and say so with a flag in their attribute's type; without it the kernel refuses them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fwbouncer.core.model import AddressKey, Family
from fwbouncer.kernel import wire
from fwbouncer.kernel.wire import Message

CREATE, DESTROY, FLUSH, SWAP, LIST, ADD, DELETE = 2, 3, 4, 6, 7, 9, 10  # enum ipset_cmd

ERR_BUSY, ERR_EXIST_SETNAME2, ERR_TYPE_MISMATCH, ERR_EXIST, ERR_REFERENCED = 4100, 4101, 4102, 4103, 4108
ERR_HASH_FULL = 4352
_WORDS = {
    4097: "the kernel doesn't understand the request",
    4098: "the kernel doesn't know this set type",
    4099: "the kernel has no room for another set",
    ERR_BUSY: "the set is in use by a rule",
    ERR_EXIST_SETNAME2: "a set of that name exists already",
    ERR_TYPE_MISMATCH: "the two sets differ in type or family",
    ERR_EXIST: "the element is there already, or missing",
    4104: "a prefix length that the set's type doesn't take",
    4106: "the set is of another address family",
    4107: "the set was made without timeouts",
    ERR_REFERENCED: "the set is in use by another set",
    4109: "the set is of another address family",
    4110: "the set is of another address family",
    ERR_HASH_FULL: "the set is full",
}

MAX_TIMEOUT = 2_147_483  # seconds: UINT_MAX / 2 milliseconds, IPSET_MAX_TIMEOUT in the kernel
MAX_NAME = 31  # bytes, without the NUL

_SUBSYSTEM = 6 << 8  # NFNL_SUBSYS_IPSET
_PROTOCOL = 6  # the oldest version that kernels still take; what 7 adds isn't used here
_NESTED = 0x8000
_NET_ORDER = 0x4000
_LIST_NAMES, _LIST_HEADERS = 2, 4  # IPSET_FLAG_LIST_SETNAME, IPSET_FLAG_LIST_HEADER
_NOMATCH = 4  # IPSET_FLAG_NOMATCH
# enum ipset_attr, at command level and inside "data"
_A_PROTOCOL, _A_NAME, _A_TYPE, _A_NAME2, _A_REVISION, _A_FAMILY, _A_FLAGS, _A_DATA, _A_ADT, _A_LINE = (
    1, 2, 3, 3, 4, 5, 6, 7, 8, 9,
)  # fmt: skip
_D_IP, _D_CIDR, _D_TIMEOUT, _D_FLAGS, _D_HASHSIZE, _D_MAXELEM = 1, 3, 6, 8, 18, 19
_D_ELEMENTS, _D_REFERENCES, _D_MEMSIZE = 24, 25, 26

# The newest revision that every kernel since 3.18 and every ipset tool since 6.22 knows: a set of a newer one
# can't be listed by an older tool.
_REVISION = {"hash:net": 6, "hash:ip": 4}
_NFPROTO = {Family.V4: 2, Family.V6: 10}
_FAMILY = {2: Family.V4, 10: Family.V6}

CHUNK = 1200  # entries a message: 62,400 bytes of IPv6, and the list's attribute may take 65,535


def _head(length: int, kind: int) -> bytes:
    return struct.pack("=HH", length, kind)


def _entry_head(family: Family) -> bytes:
    # An address stands in an attribute of its family's number, inside one that says which address it is.
    return _head(8 + family.size, _D_IP | _NESTED) + _head(
        4 + family.size, family.size // 16 + 1 | _NET_ORDER
    )


_ENTRY_HEAD = {4: _entry_head(Family.V4), 16: _entry_head(Family.V6)}
_CIDR_HEAD = _head(5, _D_CIDR)
_TIMEOUT_HEAD = _head(8, _D_TIMEOUT | _NET_ORDER)
_LINE_HEAD = _head(8, _A_LINE | _NET_ORDER)
_CIDR_TAIL = [_CIDR_HEAD + bytes((n, 0, 0, 0)) for n in range(129)]
_NUMBER = struct.Struct(">I")
# How nearly every element is listed: address, prefix length, timeout. Reading them in one go takes a third of the time.
_PLAIN = {24 + size: struct.Struct(f">8s{size}s4sB3x4sI") for size in (4, 16)}
_LISTED_HEAD = {size: head[:6] + struct.pack("=H", size // 16 + 1) for size, head in _ENTRY_HEAD.items()}
_ATTRIBUTE = struct.Struct("=HH")


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
    """One element as the kernel holds it. `timeout` is in seconds: 0 is for ever, None in sets without timeouts."""

    key: AddressKey
    timeout: int | None
    nomatch: bool = False  # an exception that somebody put in by hand


def words(error: int) -> str | None:
    """Put an error of ipset's own into words; None where it is a common errno."""
    return _WORDS.get(error, f"ipset error {error}") if error >= 4096 else None


def _message(command: int, about: str, name: str, *attributes: bytes, flags: int = 0) -> Message:
    named = (wire.text(_A_NAME, name),) if name else ()
    # struct nfgenmsg: family, version, resource
    payload = struct.pack("=BBH", 2, 0, 0) + b"".join((wire.u8(_A_PROTOCOL, _PROTOCOL), *named, *attributes))
    return Message(_SUBSYSTEM | command, flags | wire.NLM_F_ACK, payload, about, name)


def _u32(kind: int, value: int) -> bytes:
    return wire.u32(kind | _NET_ORDER, value)


def create(name: str, kind: str, family: Family, maxelem: int, *, timeouts: bool) -> Message:
    """Make an empty set."""
    if kind not in _REVISION:
        raise ValueError(f"ipset type {kind} is not one of {', '.join(_REVISION)}")
    options = [_u32(_D_MAXELEM, maxelem)]
    if timeouts:
        options.append(_u32(_D_TIMEOUT, 300))  # the default for elements that bring none; ours all do
    return _create(name, kind, _REVISION[kind], family, options)


def create_like(name: str, model: Header, maxelem: int) -> Message:
    """Make an empty set with all the properties of another, but for its size."""
    options = [_u32(_D_MAXELEM, maxelem), _u32(_D_HASHSIZE, 1 << max(10, (model.elements // 4).bit_length()))]
    for kind, payload in model.create:
        # What is four bytes long is a number, what is one byte long has no order.
        options.append(wire.attribute(kind | _NET_ORDER if len(payload) == 4 else kind, payload))
    if model.family is None:
        raise ValueError(f"set {model.name} has no address family")
    return _create(name, model.type, model.revision, model.family, options)


def _create(name: str, kind: str, revision: int, family: Family, options: Iterable[bytes]) -> Message:
    attributes = (
        wire.text(_A_TYPE, kind),
        wire.u8(_A_REVISION, revision),
        wire.u8(_A_FAMILY, _NFPROTO[family]),
        wire.nested(_A_DATA, *options),
    )
    return _message(
        CREATE, f"creating ipset {name}", name, *attributes, flags=wire.NLM_F_CREATE | wire.NLM_F_EXCL
    )


def destroy(name: str) -> Message:
    """Remove a set that nothing refers to."""
    return _message(DESTROY, f"destroying ipset {name}", name)


def flush(name: str) -> Message:
    """Empty a set."""
    return _message(FLUSH, f"flushing ipset {name}", name)


def swap(first: str, second: str) -> Message:
    """Exchange two sets' contents and properties under their names, for whoever refers to them, in one step."""
    return _message(SWAP, f"swapping ipsets {first} and {second}", first, wire.text(_A_NAME2, second))


def list_names() -> Message:
    """Ask for the names of all sets."""
    return _message(LIST, "listing the ipsets", "", _u32(_A_FLAGS, _LIST_NAMES), flags=wire.NLM_F_DUMP)


def list_header(name: str) -> Message:
    """Ask for one set's header."""
    about = f"reading ipset {name}'s header"
    return _message(LIST, about, name, _u32(_A_FLAGS, _LIST_HEADERS), flags=wire.NLM_F_DUMP)


def list_elements(name: str) -> Message:
    """Ask for one set's header and elements."""
    return _message(LIST, f"listing ipset {name}", name, flags=wire.NLM_F_DUMP)


def pack(key: AddressKey, timeout: int | None) -> bytes:
    """Pack one element, ready to be numbered; a timeout of None is left out."""
    size = len(key) & ~1
    body = _ENTRY_HEAD[size] + key[:size] + _CIDR_TAIL[key[size] if len(key) & 1 else size * 8]
    return body if timeout is None else body + _TIMEOUT_HEAD + _NUMBER.pack(timeout)


def bulk(command: int, name: str, packed: Sequence[bytes], first_line: int) -> Message:
    """Add or delete many elements. Each carries a line number, which the kernel hands back with an error.

    Without NLM_F_EXCL adding what is there renews it, and deleting what is missing is no error.
    """
    line = first_line
    parts: list[bytes] = []
    for body in packed:
        parts += (_head(12 + len(body), _A_DATA | _NESTED), body, _LINE_HEAD, _NUMBER.pack(line))
        line += 1
    verb = "adding to" if command == ADD else "deleting from"
    # The kernel writes the failed line into the first of these two, in the copy that it returns.
    return _message(
        command, f"{verb} ipset {name}", name, _u32(_A_LINE, 0), wire.nested(_A_ADT, b"".join(parts))
    )


def failed_line(echo: memoryview) -> int | None:
    """Read the failed line from the request that an error returns; None where the error isn't one element's.

    `echo` is what follows the error number: the request's header, its nfgenmsg and its attributes.
    """
    found = wire.table(echo[wire.HEADER_LENGTH + 4 :]).get(_A_LINE)
    return None if found is None else wire.number(found)


def name_of(payload: memoryview) -> str:
    """Read the set's name from one message of a list."""
    return wire.string(wire.table(payload[4:]).get(_A_NAME, b""))


def header(payload: memoryview) -> Header | None:
    """Read a set's header from the first message of its list; None from the following ones."""
    top = wire.table(payload[4:])
    if _A_TYPE not in top or _A_DATA not in top:
        return None
    options = wire.table(top[_A_DATA])
    variable = {_D_ELEMENTS, _D_REFERENCES, _D_MEMSIZE, _D_MAXELEM, _D_HASHSIZE}
    return Header(
        name=wire.string(top[_A_NAME]),
        type=wire.string(top[_A_TYPE]),
        revision=wire.number(top.get(_A_REVISION, b"")),
        family=_FAMILY.get(wire.number(top.get(_A_FAMILY, b""))),
        timeouts=_D_TIMEOUT in options,
        maxelem=wire.number(options.get(_D_MAXELEM, b"")),
        elements=wire.number(options.get(_D_ELEMENTS, b"")),
        references=wire.number(options.get(_D_REFERENCES, b"")),
        create=tuple((kind, bytes(value)) for kind, value in options.items() if kind not in variable),
    )


def raw_elements(payload: memoryview) -> Iterator[memoryview]:
    """Walk over the elements in one message of a list, each as the attributes that it consists of."""
    for kind, adt in wire.attributes(payload[4:]):
        if kind == _A_ADT:
            for inner, body in wire.attributes(adt):
                if inner == _A_DATA:
                    yield body


def held(body: memoryview) -> Held | None:
    """Read one element; None where it is of a shape that no set of ours has."""
    plain = _PLAIN.get(len(body))
    if plain is not None:
        head, address, cidr, prefix, timeout_head, timeout = plain.unpack(body)
        if (head, cidr, timeout_head) == (_LISTED_HEAD[len(address)], _CIDR_HEAD, _TIMEOUT_HEAD):
            return Held(address if prefix == len(address) * 8 else address + bytes((prefix,)), timeout)
    return _held(body)


def _held(body: memoryview) -> Held | None:
    parts = wire.table(body)
    address = next((bytes(a) for _, a in wire.attributes(parts.get(_D_IP, b""))), b"")
    if len(address) not in _ENTRY_HEAD:
        return None
    prefix = wire.number(parts[_D_CIDR]) if _D_CIDR in parts else len(address) * 8
    key = address if prefix == len(address) * 8 else address + bytes((prefix,))
    timeout = wire.number(parts[_D_TIMEOUT]) if _D_TIMEOUT in parts else None
    return Held(key, timeout, bool(wire.number(parts.get(_D_FLAGS, b"")) & _NOMATCH))


def copied(body: memoryview) -> bytes:
    """Turn a listed element into one that can be added to another set, with all its extensions.

    The kernel lists whole seconds, rounded down; one is put on top, lest the copy end too early.
    """
    parts: list[bytes] = []
    at = 0
    while at + 4 <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        value = bytes(body[at + 4 : at + length])
        if (
            kind & _NESTED
        ):  # an address: the kernel lists it without the flag that it insists on when one is added
            value = b"".join(
                wire.attribute(inner | _NET_ORDER, bytes(a)) for inner, a in wire.attributes(value)
            )
        elif kind & 0x3FFF == _D_TIMEOUT and any(value):
            value = _NUMBER.pack(min(MAX_TIMEOUT, _NUMBER.unpack(value)[0] + 1))
        parts.append(wire.attribute(kind, value))
        at += (max(length, 4) + 3) & ~3
    return b"".join(parts)
