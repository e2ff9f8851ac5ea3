"""Set elements <-> bytes, in bulk: this is where a hundred thousand bans become one transaction.

Packed by hand because a general encoder takes twenty times as long. A host is one element; a range is two, its first
address and the one behind its last, the latter marked as an end and without a timeout.
"""

from __future__ import annotations

import struct
import sys
from itertools import islice
from typing import TYPE_CHECKING

from fwbouncer.core.model import FOREVER, Element, Family, Millis
from fwbouncer.errors import KernelError
from fwbouncer.kernel import wire
from fwbouncer.kernel.nft import ELEMENT_INTERVAL_END, Verb, request
from fwbouncer.kernel.wire import NLM_F_CREATE, Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_LIST, _KEY, _FLAGS, _TIMEOUT, _EXPIRATION, _USERDATA = 1, 1, 3, 4, 5, 6
_MAX_LIST = 0xFFFF - 4  # the elements of one message stand in one attribute
_END = wire.u32(_FLAGS, ELEMENT_INTERVAL_END)
TAG = b"\x00\x0afwbouncer\x00"  # what nft shows as comment "fwbouncer"

Timed = tuple[Element, Millis]  # with a timeout from now; FOREVER for none


def messages(  # noqa: PLR0913 - a set's whole address, and how it is made
    verb: Verb, family: Family, table: str, name: str, elements: Iterable[Timed], *, interval: bool, tag: bool
) -> Iterator[Message]:
    """Pack elements into as many requests as their attribute limit asks for; hosts one request at a time."""
    word = "add to" if verb is Verb.NEW_ELEMENT else "take out of"
    head = wire.text(1, table) + wire.text(2, name)
    flags = NLM_F_CREATE if verb is Verb.NEW_ELEMENT else 0
    for packed, count in _packed(family, elements, interval, TAG if tag else b""):
        about = f"{word} set {name} ({count} elements)"
        yield request(verb, family, head, wire.nested(3, packed), about=about, flags=flags, subject=name)


def _packed(
    family: Family, elements: Iterable[Timed], interval: bool, tag: bytes
) -> Iterator[tuple[bytes, int]]:
    pack = _ranges if interval else _hosts
    # A million hosts at once would take a hundred megabytes more; ranges are few, and must be sorted.
    at_once = sys.maxsize if interval else _MAX_LIST // _length(family.size, timed=True, tag=tag)
    rest = iter(elements)
    while some := list(islice(rest, at_once)):
        for timed in (True, False):
            chosen = [e for e in some if (e[1] < FOREVER) == timed]
            if chosen:
                yield from pack(family, chosen, timed, tag)


def _hosts(family: Family, elements: Sequence[Timed], timed: bool, tag: bytes) -> Iterator[tuple[bytes, int]]:
    keys, left = zip(*elements, strict=True)
    yield _columns(family, keys, left if timed else None, tag), len(elements)


def _ranges(
    family: Family, elements: Sequence[Timed], timed: bool, tag: bytes
) -> Iterator[tuple[bytes, int]]:
    size = family.size
    past_all = 1 << (size * 8)
    keys, left = zip(*sorted(elements), strict=True)
    starts = _columns(family, [key[:size] for key in keys], left if timed else None, tag)
    length = _length(size, timed=timed, tag=tag)
    parts = []
    for number, key in enumerate(keys):
        behind = int.from_bytes(key[size:], "big") + 1
        # A range up to the last address of all has no end element: there is no address behind it.
        end = b"" if behind == past_all else _end(behind.to_bytes(size, "big"))
        parts.append(starts[number * length : (number + 1) * length] + end)
    at_once = _MAX_LIST // max(map(len, parts))
    for at in range(0, len(parts), at_once):
        part = parts[at : at + at_once]
        yield b"".join(part), len(part)


def _columns(family: Family, keys: Sequence[bytes], left: Sequence[Millis] | None, tag: bytes) -> bytes:
    """Pack elements of equal length: all bytes that stand at one place in them are written in one go."""
    size, timed = family.size, left is not None
    length = _length(size, timed=timed, tag=tag)
    packed = bytearray(_element(size, timed=timed, tag=tag) * len(keys))
    columns = [(12, size, b"".join(keys))]
    if left is not None:
        columns.append((12 + size + 4, 8, struct.pack(f">{len(left)}Q", *left)))
    for start, width, values in columns:
        for at in range(width):
            packed[start + at :: length] = values[at::width]
    return bytes(packed)


def _length(size: int, *, timed: bool, tag: bytes) -> int:
    return 12 + size + (12 if timed else 0) + (len(wire.attribute(_USERDATA, tag)) if tag else 0)


def _element(size: int, *, timed: bool, tag: bytes) -> bytes:
    """Return an element with neither address nor timeout in it: element and key (12), address, timeout (4 + 8), tag."""
    length = _length(size, timed=timed, tag=tag)
    head = struct.pack("=HHHHHH", length, _LIST | 0x8000, 8 + size, _KEY | 0x8000, 4 + size, 1)
    timeout = struct.pack("=HHQ", 12, _TIMEOUT, 0) if timed else b""
    return head + bytes(size) + timeout + (wire.attribute(_USERDATA, tag) if tag else b"")


def _end(key: bytes) -> bytes:
    return wire.nested(_LIST, _END, wire.nested(_KEY, wire.attribute(1, key)))


def read(payload: memoryview, family: Family, *, tagged: bool) -> list[tuple[bytes, bool, Millis]]:
    """Read one dumped message: address, whether it ends a range, milliseconds left (FOREVER without a timeout).

    With `tagged`, elements that don't carry our tag are left out.
    """
    listed = wire.table(payload[4:]).get(3)
    if listed is None:
        return []
    if not tagged:
        uniform = _read_uniform(listed, family)
        if uniform is not None:
            return uniform
    found = []
    for _, element in wire.attributes(listed):
        fields = wire.table(element)
        flags = wire.number(fields[_FLAGS]) if _FLAGS in fields else 0
        end = bool(flags & ELEMENT_INTERVAL_END)
        if _KEY not in fields or (tagged and not end and bytes(fields.get(_USERDATA, b"")) != TAG):
            continue
        left = wire.number(fields[_EXPIRATION]) if _EXPIRATION in fields else FOREVER
        address = bytes(wire.table(fields[_KEY])[1])
        if len(address) != family.size:
            raise KernelError(f"an element of {len(address)} bytes is no address")
        found.append((address, end, left))
    return found


def _read_uniform(listed: memoryview, family: Family) -> list[tuple[bytes, bool, Millis]] | None:
    """Read hosts with timeouts, of which the kernel writes each in the same number of bytes; None for others.

    A host is: element (4), key (4), value (4) and address, timeout (4 + 8), expiration (4 + 8).
    """
    size = family.size
    length = 12 + size + 24
    count = len(listed) // length
    if count == 0 or count * length != len(listed):
        return None
    data = bytes(listed)
    timeout, expiration = 12 + size, 24 + size
    headers = {
        0: data[:12],
        timeout: data[timeout : timeout + 4],
        expiration: data[expiration : expiration + 4],
    }
    kinds = struct.unpack("=HHHHHH", headers[0])
    if kinds[0] != length or kinds[3] & 0x3FFF != _KEY:
        return None
    if headers[timeout] != struct.pack("=HH", 12, _TIMEOUT) or headers[expiration] != struct.pack(
        "=HH", 12, _EXPIRATION
    ):
        return None
    # Every element must have the same headers: compare them column by column, which costs next to nothing.
    for at, header in headers.items():
        for offset, value in enumerate(header, at):
            if data[offset::length] != bytes([value]) * count:
                return None
    layout = struct.Struct(f">12x{size}s16xQ")
    return [(key, False, left) for key, left in layout.iter_unpack(data)]


def pair(found: Iterable[tuple[bytes, bool, Millis]], family: Family) -> dict[Element, Millis]:
    """Put range starts and ends together: element -> milliseconds left.

    An end whose start has expired is still listed until the kernel collects it; it belongs to nobody.
    """
    last = (1 << (family.size * 8)) - 1
    ranges: dict[Element, Millis] = {}
    start: bytes | None = None
    left = 0
    # At one address the end of a range comes before the start of the next.
    for address, end, remaining in sorted(found, key=lambda item: (item[0], not item[1])):
        if start is not None and address > start:  # a dump that was disturbed can list an element twice
            stop = int.from_bytes(address, "big") - 1
            ranges[start + stop.to_bytes(family.size, "big")] = left
        start, left = (None, 0) if end else (address, remaining)
    if start is not None:
        ranges[start + last.to_bytes(family.size, "big")] = left
    return ranges
