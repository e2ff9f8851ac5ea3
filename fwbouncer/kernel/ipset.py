"""ipset's commands as netlink messages, entries in bulk among them. Knows no socket."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fwbouncer.kernel import wire
from fwbouncer.kernel.ipset_numbers import (
    LIST_HEADERS,
    LIST_NAMES,
    NESTED,
    NET_ORDER,
    NFPROTO,
    PROTOCOL,
    REVISION,
    SUBSYSTEM,
    Command,
    Data,
    Top,
)
from fwbouncer.kernel.wire import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fwbouncer.core.model import AddressKey, Family
    from fwbouncer.kernel.ipset_list import Header

CHUNK = 1200  # entries a message: 62,400 bytes of IPv6, and the list's attribute may take 65,535


def _head(length: int, kind: int) -> bytes:
    return struct.pack("=HH", length, kind)


def _entry_head(size: int) -> bytes:
    # An address stands in an attribute of its family's number, 1 or 2, inside one that says which address it is.
    return _head(8 + size, Data.IP | NESTED) + _head(4 + size, size // 16 + 1 | NET_ORDER)


_ENTRY_HEAD = {size: _entry_head(size) for size in (4, 16)}
_PREFIX = [_head(5, Data.PREFIX) + bytes((n, 0, 0, 0)) for n in range(129)]
_TIMEOUT_HEAD = _head(8, Data.TIMEOUT | NET_ORDER)
_LINE_HEAD = _head(8, Top.LINE | NET_ORDER)
_NUMBER = struct.Struct(">I")


def create(name: str, kind: str, family: Family, maxelem: int, *, timeouts: bool) -> Message:
    """Make an empty set."""
    options = [_u32(Data.MAXELEM, maxelem)]
    if timeouts:
        options.append(_u32(Data.TIMEOUT, 300))  # the default for elements that bring none; ours all do
    return _create(name, kind, REVISION[kind], family, options)


def create_like(name: str, model: Header, maxelem: int) -> Message:
    """Make an empty set with all the properties of another, but for its size."""
    if model.family is None:
        raise ValueError(f"set {model.name} has no address family")
    buckets = 1 << max(10, (model.elements // 4).bit_length())
    options = [_u32(Data.MAXELEM, maxelem), _u32(Data.HASHSIZE, buckets)]
    for kind, payload in model.create:
        # What is four bytes long is a number; what is one byte long has no order.
        options.append(wire.attribute(kind | NET_ORDER if len(payload) == 4 else kind, payload))
    return _create(name, model.type, model.revision, model.family, options)


def destroy(name: str) -> Message:
    """Remove a set that nothing refers to; a missing one is no error."""
    return _message(Command.DESTROY, f"destroying ipset {name}", name)


def swap(first: str, second: str) -> Message:
    """Exchange, in one step, what stands under two names, for whoever refers to them."""
    about = f"swapping ipsets {first} and {second}"
    return _message(Command.SWAP, about, first, wire.text(Top.OTHER_NAME, second))


def list_names() -> Message:
    """Ask for the names of all sets."""
    flags = _u32(Top.FLAGS, LIST_NAMES)
    return _message(Command.LIST, "listing the ipsets", "", flags, flags=wire.NLM_F_DUMP)


def list_header(name: str) -> Message:
    """Ask for one set's header."""
    flags = _u32(Top.FLAGS, LIST_HEADERS)
    return _message(Command.LIST, f"reading ipset {name}'s header", name, flags, flags=wire.NLM_F_DUMP)


def list_elements(name: str) -> Message:
    """Ask for one set's header and elements."""
    return _message(Command.LIST, f"listing ipset {name}", name, flags=wire.NLM_F_DUMP)


def test(name: str, address: bytes) -> Message:
    """Ask whether a set matches an address; in a set of networks, one that holds it is enough."""
    return _message(
        Command.TEST, f"looking into ipset {name}", name, wire.nested(Top.DATA, pack(address, None))
    )


def pack(key: AddressKey, timeout: int | None) -> bytes:
    """Pack one element, ready to be numbered; a timeout of None is left out."""
    size = len(key) & ~1
    body = _ENTRY_HEAD[size] + key[:size] + _PREFIX[key[size] if len(key) & 1 else size * 8]
    return body if timeout is None else body + _TIMEOUT_HEAD + _NUMBER.pack(timeout)


def bulk(command: Command, name: str, packed: Sequence[bytes], first_line: int) -> Message:
    """Add or delete many elements. Each carries a line number, which the kernel hands back with an error.

    Without NLM_F_EXCL adding what is there renews it, and deleting what is missing is no error.
    """
    line = first_line
    parts: list[bytes] = []
    for body in packed:
        parts += (_head(12 + len(body), Top.DATA | NESTED), body, _LINE_HEAD, _NUMBER.pack(line))
        line += 1
    about = f"{'adding to' if command is Command.ADD else 'deleting from'} ipset {name}"
    # The kernel writes the failed line into the first of these two, in the copy that it returns.
    return _message(command, about, name, _u32(Top.LINE, 0), wire.nested(Top.ELEMENTS, b"".join(parts)))


def failed_line(echo: memoryview) -> int | None:
    """Read the failed line from the request that an error returns; None where the error isn't one element's.

    `echo` is what follows the error number: the request's header, its nfgenmsg and its attributes.
    """
    found = wire.table(echo[wire.HEADER_LENGTH + 4 :]).get(Top.LINE)
    return None if found is None else wire.number(found)


def _create(name: str, kind: str, revision: int, family: Family, options: Iterable[bytes]) -> Message:
    attributes = (
        wire.text(Top.TYPE, kind),
        wire.u8(Top.REVISION, revision),
        wire.u8(Top.FAMILY, NFPROTO[family]),
        wire.nested(Top.DATA, *options),
    )
    flags = wire.NLM_F_CREATE | wire.NLM_F_EXCL
    return _message(Command.CREATE, f"creating ipset {name}", name, *attributes, flags=flags)


def _message(command: Command, about: str, name: str, *attributes: bytes, flags: int = 0) -> Message:
    named = (wire.text(Top.NAME, name),) if name else ()
    # struct nfgenmsg: family, version, resource
    payload = struct.pack("=BBH", 2, 0, 0) + b"".join((wire.u8(Top.PROTOCOL, PROTOCOL), *named, *attributes))
    return Message(SUBSYSTEM | command, flags | wire.NLM_F_ACK, payload, about, name)


def _u32(kind: int, value: int) -> bytes:
    return wire.u32(kind | NET_ORDER, value)
