"""The ledger on disk: what was banned last, for the time between a boot and the LAPI's first answer.

The file is replaced as a whole or not at all, and read as if an enemy had written it.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from array import array
from contextlib import suppress
from functools import cache
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

from fwbouncer.core.guard import refusal
from fwbouncer.core.model import Page, family_of, is_range
from fwbouncer.host.logs import fields
from fwbouncer.host.state_format import Moment, Saved, StateError, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwbouncer.core.model import AddressKey, Label, Millis

    # Makes the label of an origin, a scenario and a type; None where such decisions are not for us any more.
    LabelOf = Callable[[str, str, str], Label | None]

_log = logging.getLogger("fwbouncer.state")

MAX_SIZE = 300_000_000  # some eight million claims; no LAPI has as many
# No decision lasts longer than Go's durations: 292 years.
_LONGEST: Millis = 292 * 366 * 24 * 3_600_000
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def moment() -> Moment:
    """Read the clocks."""
    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return Moment(boot=boot, wall=time.time_ns() // 1_000_000, boot_id=_boot_id())


@cache
def _boot_id() -> bytes:
    with suppress(OSError, ValueError):
        return bytes.fromhex(_BOOT_ID.read_text().strip().replace("-", ""))[:16].ljust(16, b"\0")
    return b"\0" * 16


def save(path: Path, parts: list[bytes]) -> int:
    """Replace the file; returns its size. Raises OSError, and then the file is as it was."""
    if sum(map(len, parts)) > MAX_SIZE:
        raise OSError(errno.EFBIG, "too many bans for a state file")
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700)
    fresh = path.with_name(path.name + ".new")
    with suppress(FileNotFoundError):  # left by a crash
        fresh.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(fresh, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for part in parts:
                _write(file.fileno(), part)
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise
    _sync_folder(path.parent)
    return sum(map(len, parts))


def load(path: Path, clock: Callable[[], Moment], lengths: frozenset[int], label_of: LabelOf) -> Page | None:
    """Return what is still banned, deadlines on this boot's clock; None where there is no file that can be used.

    `lengths` are those of the address keys that are wanted. A file that can't be used is set aside with a warning.
    """
    try:
        saved = unpack(_read(path))
        return _page(saved, clock(), lengths, label_of)
    except FileNotFoundError:
        return None
    except (StateError, OSError, MemoryError) as error:
        _log.warning(
            "the state file %s is not used: %s%s",
            path, error, _set_aside(path), extra=fields("state_refused"),
        )  # fmt: skip
        return None


def _read(path: Path) -> bytes:
    # O_NONBLOCK: opening a pipe would wait for its other end.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            raise StateError("it is a symbolic link") from error
        raise
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise StateError("it is no regular file")
        if found.st_uid not in {0, os.geteuid()}:
            raise StateError(f"it belongs to user {found.st_uid}")
        if found.st_mode & 0o022:
            raise StateError("others may write it")
        if found.st_size > MAX_SIZE:
            raise StateError(f"it is larger than {MAX_SIZE} bytes")
        return file.read(MAX_SIZE)


def _page(saved: Saved, now: Moment, lengths: frozenset[int], label_of: LabelOf) -> Page:
    """Check every claim as if the LAPI had sent it, and leave out what is over or not for us."""
    shift = _shift(saved.at, now)
    labels = [label_of(*texts) for texts in saved.texts]
    soonest, latest = now.boot - shift, now.boot - shift + _LONGEST
    kept, page = bytearray(len(saved.keys)), Page(startup=False)
    for row, (key, deadline, number) in enumerate(
        zip(saved.keys, saved.deadlines, saved.labels, strict=True)
    ):
        label = labels[number]
        if not soonest < deadline < latest or label is None or len(key) not in lengths:
            continue
        if refusal(key) is None and _is_key(key):
            kept[row] = 1
            page.labels.append(label)
    if saved.keys and not page.labels:
        raise StateError("nothing in it is in force any more")
    # No lists of numbers in between: what is freed amid what stays is memory that the system doesn't get back.
    page.ids = array("q", compress(saved.ids, kept))
    page.keys = list(compress(saved.keys, kept))
    page.deadlines = array("q", map(shift.__add__, compress(saved.deadlines, kept)))
    return page


def _shift(saved: Moment, now: Moment) -> Millis:
    """Return what to add to a saved deadline so that it is on the clock of this boot."""
    if saved.boot_id == now.boot_id and any(now.boot_id) and saved.boot <= now.boot:
        return 0
    # A machine without a battery for its clock starts in the past: then no time has passed that we know of.
    passed = max(0, now.wall - saved.wall)
    return now.boot - saved.boot - passed


def _is_key(key: AddressKey) -> bool:
    """Tell whether a key is as all keys are: its prefix possible, its host bits zero."""
    if not is_range(key):
        return True
    bits = family_of(key).size * 8
    return key[-1] <= bits and int.from_bytes(key[:-1], "big") % (1 << (bits - key[-1])) == 0


def _set_aside(path: Path) -> str:
    """Rename a file or symbolic link, so that it can be looked at; says so in words."""
    try:
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            return ""  # whatever it is, it is not ours to move
        aside = path.with_name(path.name + ".bad")
        path.replace(aside)
    except OSError:
        return ""
    return f"; it is now {aside}"


def _write(descriptor: int, part: bytes) -> None:
    view = memoryview(part)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    """Make a rename last; file systems that can't sync a directory need no such help."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
