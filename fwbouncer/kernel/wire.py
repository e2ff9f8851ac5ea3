"""Bytes <-> netlink messages: headers, attributes, acknowledgements. Knows no socket and no subsystem.

Headers are in the host's byte order; the payloads of netfilter's attributes are in network order.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import TYPE_CHECKING, Literal, NamedTuple

from fwbouncer.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NLM_F_REQUEST = 0x01
NLM_F_ACK = 0x04
NLM_F_DUMP_INTR = 0x10
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_DUMP = 0x300

NLMSG_ERROR = 2
NLMSG_DONE = 3

_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_ACK_CAPPED = 0x100
_ACK_TLVS = 0x200
_MAX_ATTRIBUTE = 0xFFFF  # nla_len is a u16

_ORDER: Literal["little", "big"] = sys.byteorder
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
HEADER_LENGTH = _HEADER.size


class Message(NamedTuple):
    """One request, not yet numbered. `about` says in words what it does, for the error that names it."""

    kind: int
    flags: int
    payload: bytes
    about: str
    subject: str = ""  # the name of the set that it works on


class Reply(NamedTuple):
    """One message from the kernel."""

    kind: int
    flags: int
    sequence: int
    port: int
    payload: memoryview


class Ack(NamedTuple):
    """The kernel's word on one request: 0 or an errno, and what it says about it."""

    sequence: int
    error: int
    words: str


class Fields(dict[int, memoryview]):
    """Attributes by kind. One that must be there and isn't is a KernelError."""

    def __missing__(self, kind: int) -> memoryview:
        """Refuse."""
        raise KernelError(f"the kernel's answer lacks attribute {kind}")


def attribute(kind: int, payload: bytes) -> bytes:
    """Pack one attribute, padded to four bytes."""
    length = 4 + len(payload)
    if length > _MAX_ATTRIBUTE:
        raise ValueError(f"attribute {kind} of {length} bytes is over the limit of {_MAX_ATTRIBUTE}")
    return _ATTRIBUTE.pack(length, kind) + payload + b"\0" * (-length & 3)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Pack attributes into one."""
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """Pack a NUL-terminated string."""
    raw = value.encode()
    if b"\0" in raw:
        raise ValueError(f"attribute {kind}: a name can't hold a NUL byte")
    return attribute(kind, raw + b"\0")


def u8(kind: int, value: int) -> bytes:
    """Pack one byte."""
    return attribute(kind, struct.pack("B", value))


def u16(kind: int, value: int) -> bytes:
    """Pack 16 bits in network order."""
    return attribute(kind, struct.pack(">H", value))


def u32(kind: int, value: int) -> bytes:
    """Pack 32 bits in network order; negative numbers as their two's complement."""
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def u64(kind: int, value: int) -> bytes:
    """Pack 64 bits in network order."""
    return attribute(kind, struct.pack(">Q", value))


def number(payload: bytes | memoryview) -> int:
    """Read an attribute's payload as an unsigned number in network order."""
    return int.from_bytes(payload, "big")


def string(payload: bytes | memoryview) -> str:
    """Read an attribute's payload as a NUL-terminated string; what is no UTF-8 is escaped."""
    return bytes(payload).split(b"\0", 1)[0].decode(errors="backslashreplace")


def encode(message: Message, sequence: int) -> bytes:
    """Give a message its number and put its header in front."""
    length = HEADER_LENGTH + len(message.payload)
    return _HEADER.pack(length, message.kind, message.flags | NLM_F_REQUEST, sequence, 0) + message.payload


def encode_all(messages: Iterable[Message], first_sequence: int) -> bytes:
    """Give messages numbers, one after the other, and join them for one send."""
    parts: list[bytes] = []
    for sequence, message in enumerate(messages, first_sequence):
        length = HEADER_LENGTH + len(message.payload)
        parts.append(_HEADER.pack(length, message.kind, message.flags | NLM_F_REQUEST, sequence, 0))
        parts.append(message.payload)
        parts.append(b"\0" * (-length & 3))
    return b"".join(parts)


def replies(data: bytes | memoryview) -> Iterator[Reply]:
    """Split what one receive returned. Stops at a length that can't be: the kernel never sends one."""
    view = memoryview(data)
    at = 0
    while at + HEADER_LENGTH <= len(view):
        length, kind, flags, sequence, port = _HEADER.unpack_from(view, at)
        if length < HEADER_LENGTH or at + length > len(view):
            return
        yield Reply(kind, flags, sequence, port, view[at + HEADER_LENGTH : at + length])
        at += (length + 3) & ~3


def attributes(payload: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """Walk over the attributes in a payload, in order; a broken length ends the walk."""
    view = memoryview(payload)
    at = 0
    while at + 4 <= len(view):
        length, kind = _ATTRIBUTE.unpack_from(view, at)
        if length < 4 or at + length > len(view):
            return
        yield kind & _TYPE_MASK, view[at + 4 : at + length]
        at += (length + 3) & ~3


def table(payload: bytes | memoryview) -> Fields:
    """Read the attributes in a payload by kind; of several of one kind, the last."""
    return Fields(attributes(payload))


def acknowledgement(reply: Reply) -> Ack:
    """Read an NLMSG_ERROR message, which is also how success is told."""
    error = -int.from_bytes(reply.payload[:4], _ORDER, signed=True)
    words = ""
    if reply.flags & _ACK_TLVS:
        # Behind the errno stands the request's header and, unless capped, its payload; then the kernel's words.
        request_length = int.from_bytes(reply.payload[4:8], _ORDER)
        skip = HEADER_LENGTH if reply.flags & _ACK_CAPPED else (request_length + 3) & ~3
        said = table(reply.payload[4 + skip :]).get(1)
        words = string(said) if said is not None else ""
    return Ack(reply.sequence, error, words)


def describe(ack: Ack) -> str:
    """Put an acknowledgement's error into words."""
    error = os.strerror(ack.error & 0x7FFFFFFF)
    return f"{error}: {ack.words}" if ack.words else error
