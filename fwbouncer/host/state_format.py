"""The bytes of the state file: a header with a checksum, then the claims by columns, then the labels they share.

Deadlines are on CLOCK_BOOTTIME of the boot that wrote them, and the header tells what both clocks said then: so a
deadline is as good as one in wall-clock time, and exact while the machine has not been booted since.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from array import array
from dataclasses import dataclass
from itertools import chain, compress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.claims import Columns
    from fwbouncer.core.model import AddressKey, Label, Millis

MAGIC = b"fwbstate"
VERSION = 1
# Magic, version, size of a claim's label number, both clocks, the boot's id, claims, labels, bytes behind the header.
_HEAD = struct.Struct("<8sIIqq16sIIQ")
_DIGEST = 32
_TEXTS = ("origin", "scenario", "type")


class StateError(ValueError):
    """These bytes are not a state file that can be used."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What the clocks say at one moment."""

    boot: Millis  # CLOCK_BOOTTIME
    wall: Millis  # UTC since 1970
    boot_id: bytes = b"\0" * 16  # of this boot; zeros where it isn't known


@dataclass(frozen=True, slots=True)
class Saved:
    """What a file holds: row i of the first four is one claim."""

    at: Moment
    ids: array[int]
    keys: list[AddressKey]
    deadlines: array[int]  # on at.boot's clock
    labels: array[int]  # numbers into `texts`
    texts: list[tuple[str, str, str]]  # origin, scenario, type


class Packer:
    """Makes a file's bytes, some claims at a time: a million at once would stop all other threads for long."""

    def __init__(self) -> None:
        self._columns: tuple[list[bytes], ...] = ([], [], [], [], [])  # as they follow each other in the file
        self._labels: list[Label] = []  # kept, so that no other object gets the identity of one
        # By identity, since most labels are shared objects and comparing them is slow; equal ones may come twice.
        self._numbers: dict[int, int] = {}
        self._claims = 0

    def add(self, columns: Columns) -> None:
        """Take in claims; rows without a label are left out."""
        ids, keys, deadlines, labels = columns
        if None in labels:
            there = [label is not None for label in labels]
            ids, deadlines = array("q", compress(ids, there)), array("q", compress(deadlines, there))
            keys, labels = list(compress(keys, there)), list(compress(labels, there))
        known = {id(label): label for label in labels if label is not None}
        for each in known.keys() - self._numbers.keys():
            self._numbers[each] = len(self._labels)
            self._labels.append(known[each])
        numbers = array("I", map(self._numbers.__getitem__, map(id, labels)))
        parts = (_raw(ids), _raw(deadlines), _raw(numbers), bytes(map(len, keys)), b"".join(keys))
        for column, part in zip(self._columns, parts, strict=True):
            column.append(part)
        self._claims += len(keys)

    def finish(self, at: Moment) -> list[bytes]:
        """Return all in parts, with the header ahead."""
        words = (_text(getattr(label, name)) for label in self._labels for name in _TEXTS)
        parts = [*chain.from_iterable(self._columns), b"".join(words)]
        sizes = self._claims, len(self._labels), sum(map(len, parts))
        head = _HEAD.pack(MAGIC, VERSION, 4, at.wall, at.boot, at.boot_id, *sizes)
        return [head, _digest([head, *parts]), *parts]


def unpack(data: bytes) -> Saved:
    """Read a file's bytes, whoever wrote them; raises StateError. Takes memory in proportion to their length."""
    if data[: len(MAGIC)] != MAGIC:
        raise StateError("it is no state file" if data else "it is empty")
    if len(data) < _HEAD.size + _DIGEST:
        raise StateError("it breaks off")
    _, version, label_size, wall, boot, boot_id, claims, labels, size = _HEAD.unpack_from(data)
    if version != VERSION or label_size != 4:
        raise StateError(f"it has format {version}, and this fwbouncer knows only {VERSION}")
    view = memoryview(data)
    body = view[_HEAD.size + _DIGEST :]
    if len(body) != size:
        raise StateError("it breaks off" if len(body) < size else "it goes on behind its end")
    if _digest([view[: _HEAD.size], body]) != view[_HEAD.size :][:_DIGEST]:
        raise StateError("its checksum is wrong")
    if labels > claims or claims * 21 > size or labels * 6 > size:
        raise StateError("its counts are out of order")
    ends = [claims * 8, claims * 16, claims * 20, claims * 21]
    keys, rest = _keys(body[ends[2] : ends[3]], body[ends[3] :])
    numbers = _array("I", body[ends[1] : ends[2]])
    if max(numbers, default=-1) >= labels:
        raise StateError("a claim's label is missing")
    return Saved(
        at=Moment(boot=boot, wall=wall, boot_id=boot_id),
        ids=_array("q", body[: ends[0]]),
        keys=keys,
        deadlines=_array("q", body[ends[0] : ends[1]]),
        labels=numbers,
        texts=_texts(rest, labels),
    )


def _keys(lengths: memoryview, body: memoryview) -> tuple[list[AddressKey], memoryview]:
    raw, sizes = bytes(body[: sum(lengths)]), bytes(lengths)
    if not set(sizes) <= {4, 5, 16, 17} or len(raw) != sum(sizes):
        raise StateError("its addresses are out of order")
    keys, at = [], 0
    for size in sizes:
        keys.append(raw[at : at + size])
        at += size
    return keys, body[at:]


def _texts(body: memoryview, count: int) -> list[tuple[str, str, str]]:
    words = _words(bytes(body))
    try:
        texts = [(next(words), next(words), next(words)) for _ in range(count)]
        more = next(words, None)
    except (StopIteration, struct.error, UnicodeDecodeError) as error:
        raise StateError("its labels are out of order") from error
    if more is not None:
        raise StateError("it has more labels than it says")
    return texts


def _words(raw: bytes) -> Iterator[str]:
    at = 0
    while at < len(raw):
        (size,) = struct.unpack_from("<H", raw, at)
        at += 2 + size
        if at > len(raw):
            return
        yield raw[at - size : at].decode("utf-8")


def _text(text: str) -> bytes:
    raw = text[:255].encode("utf-8", "replace")
    return struct.pack("<H", len(raw)) + raw


def _raw(column: array[int]) -> bytes:
    return _little(column[:] if sys.byteorder == "big" else column).tobytes()


def _array(code: str, raw: memoryview) -> array[int]:
    column = array(code)
    column.frombytes(raw)
    return _little(column)


def _little(column: array[int]) -> array[int]:
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _digest(parts: list[bytes] | list[memoryview]) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for part in parts:
        digest.update(part)
    return digest.digest()
