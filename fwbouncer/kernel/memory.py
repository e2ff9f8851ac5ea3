"""A kernel in a dict: where tests look what a change did, and what mode dry-run writes to.

It has the kernel's manners, the bad ones too. A change is done whole or not at all; elements go on their own
time, and what is over may linger for a moment; adding what is there leaves its old timeout, as Linux did
before 6.12; intervals may not overlap; a set of fixed size can be full.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from fwbouncer.core.model import (
    FOREVER,
    NEVER_BLOCK,
    Change,
    Element,
    Family,
    Holding,
    Kind,
    Layout,
    Millis,
    SetChange,
    SetKey,
)
from fwbouncer.errors import KernelError, SetFull
from fwbouncer.kernel.backend import Clock, Counted, Held

_log = logging.getLogger(__name__)

Fault = Callable[[], None]
_Set = dict[Element, Millis]


class Memory:
    """The sets as dicts. `interfere` and `flush` play those who share a kernel with us."""

    def __init__(self, clock: Clock, layout: Layout | None = None, *, linger: Millis = 0) -> None:
        """`linger` is for how long after its end an element still stands in the way of a plain add."""
        self._clock = clock
        self._layout = layout or Layout(flatten=True)
        self._sizes = dict(self._layout.sizes)
        self._linger = linger
        self._sets: Holding = {}
        self._faults: deque[Fault] = deque()
        self._dropped: Counter[tuple[str, Family]] = Counter()
        self._seen: Counter[tuple[str, Family]] = Counter()
        self._skeleton = self._found_skeleton = False
        self._disturber: str | None = None

    def layout(self) -> Layout:
        """Say what it was made with, or last changed to."""
        return self._layout

    def dump(self) -> Holding:
        """Copy out what has not ended yet; of sets that are too large to be read, nothing."""
        now, unread = self._clock(), self._layout.unread
        self._found_skeleton = self._skeleton
        return {
            target: {e: d for e, d in held.items() if d > now and target not in unread}
            for target, held in self._sets.items()
        }

    def whole(self) -> bool:
        """Say whether nobody has flushed since the last change, as far as the last look tells."""
        return self._found_skeleton

    def apply(self, change: Change) -> None:
        """Build the sets anew beside the old ones, and swap them in once nothing was refused."""
        if self._faults:
            self._faults.popleft()()
        now = self._clock()
        built = {target: self._built(target, part, now) for target, part in change.items()}
        self._sets.update(built)
        self._skeleton = self._found_skeleton = True

    def counters(self) -> list[Counted]:
        """Return what `meet` counted, 40 bytes a packet."""
        dropped = [Counted(group, family, n, 40 * n) for (group, family), n in self._dropped.items()]
        return dropped + [Counted(group, family, n, 40 * n) for (group, family), n in self._seen.items()]

    def holders(self, address: bytes) -> list[Held]:
        """Return the sets that hold an address now; rules there are none."""
        now, found = self._clock(), []
        for target, held in list(self._sets.items()):
            if target.family.size != len(address):
                continue
            ends = [d for e, d in list(held.items()) if d > now and _holds(e, address)]
            if ends:
                found.append(Held(target, f"{target.group} ({target.kind.value})", max(ends), ()))
        return found

    def fileno(self) -> int | None:
        """Nothing ever becomes readable."""
        return None

    def pulse(self) -> float | None:
        """Nobody needs to look by the clock: who disturbs a dict knows it."""
        return None

    def disturbed(self) -> str | None:
        """Name who interfered since the last call."""
        disturber, self._disturber = self._disturber, None
        return disturber

    def remove(self) -> None:
        """Forget everything."""
        self._sets, self._skeleton, self._found_skeleton = {}, False, False
        self._dropped.clear()
        self._seen.clear()

    def close(self) -> None:
        """Nothing is open."""

    # What follows is for tests: the others on the machine, the packets, the faults.

    def fail(self, error: KernelError, times: int = 1) -> None:
        """Let the next changes fail, one after the other."""

        def refuse() -> None:
            raise error

        self._faults.extend([refuse] * times)

    def before_next(self, mutation: Fault) -> None:
        """Let something happen right before the next change is carried out."""
        self._faults.append(mutation)

    def flush(self) -> None:
        """Let somebody remove all of it, as `nft flush ruleset` does."""
        self._sets, self._skeleton, self._disturber = {}, False, "somebody"

    def interfere(self, target: SetKey, element: Element, deadline: Millis) -> None:
        """Let somebody put an element, or take it out with a deadline of 0."""
        held = self._sets.setdefault(target, {})
        held.pop(element, None)
        if deadline:
            held[element] = deadline
        self._disturber = "somebody"

    def change_layout(self, layout: Layout) -> None:
        """Let the administrator make his sets anew in another way; they are empty then."""
        self._layout, self._sizes = layout, dict(layout.sizes)
        self.flush()

    def bans(self, address: bytes) -> dict[str, Millis]:
        """Return the groups that ban an address now, each with the deadline; none where it is never blocked."""
        now, found = self._clock(), dict[str, Millis]()
        for target, held in self._sets.items():
            if target.family.size != len(address):
                continue
            for element, deadline in held.items():
                if deadline > now and _holds(element, address):
                    found[target.group] = max(deadline, found.get(target.group, 0))
        return {} if NEVER_BLOCK in found else found

    def meet(self, source: bytes) -> bool:
        """Let a packet come in; returns whether it passes."""
        family = Family.V4 if len(source) == 4 else Family.V6
        groups = self.bans(source)
        self._seen["processed", family] += 1
        for group in sorted(groups)[:1]:  # the first rule that matches ends its way
            self._dropped[group, family] += 1
        return not groups

    # How a change is carried out.

    def _built(self, target: SetKey, part: SetChange, now: Millis) -> _Set:
        found = {} if part.flush else self._sets.get(target, {})
        standing = {e: d for e, d in found.items() if d + self._linger > now}
        timeless = target in self._layout.timeless
        told = [(e, d, True) for e, d in part.renew] + [(e, d, False) for e, d in part.add]
        for element in [*part.remove, *(e for e, _, _ in told)]:
            self._check(target, element)
        for element in part.remove:
            self._make_room(target, standing, element)
            standing.pop(element, None)
        for element, deadline, again in told:
            self._make_room(target, standing, element)
            if again:
                standing.pop(element, None)
            if element not in standing:
                standing[element] = FOREVER if timeless else deadline
        if self._intervals(target):
            _refuse_overlaps(target, standing, now)
        return standing

    def _make_room(self, target: SetKey, standing: _Set, element: Element) -> None:
        # Also to be removed or renewed an element is added first, and what is absent then needs a place.
        if element not in standing and len(standing) >= self._sizes.get(target, FOREVER):
            raise SetFull(f"{target.group} ({target.kind.value}, IPv{target.family.value})")

    def _intervals(self, target: SetKey) -> bool:
        return target.kind is Kind.RANGES or (target.group, target.family) in self._layout.mixed

    def _check(self, target: SetKey, element: Element) -> None:
        size = target.family.size
        if not self._layout.flatten:
            fits = len(element) in {size, size + 1} and (len(element) == size or _is_network(element))
        elif self._intervals(target):
            fits = len(element) == 2 * size and element[:size] <= element[size:]
        else:
            fits = len(element) == size
        if not fits:
            raise KernelError(f"{target} can't hold {element.hex()}")


class DryRun(Memory):
    """Says in the log what would be done, in the words of cs-firewall-bouncer's own dry run."""

    def __init__(self, clock: Clock) -> None:
        """Ranges are not cut up: the log shows what was decided."""
        super().__init__(clock, Layout(flatten=False))
        self._started = False

    def dump(self) -> Holding:
        """Say the first time that this is the start."""
        if not self._started:
            self._started = True
            _log.info("backend.Init() called")
        return super().dump()

    def apply(self, change: Change) -> None:
        """Name every element that would go or come."""
        for part in change.values():
            for element in part.remove:
                _log.info("backend.Delete() called with %s", _text(element))
            for element, _ in (*part.renew, *part.add):
                _log.info("backend.Add() called with %s", _text(element))
        super().apply(change)
        _log.info("backend.Commit() called")

    def remove(self) -> None:
        """Say that this is the end."""
        _log.info("backend.ShutDown() called")
        super().remove()


def _holds(element: Element, address: bytes) -> bool:
    size = len(address)
    if len(element) == size:
        return element == address
    if len(element) == 2 * size:
        return element[:size] <= address <= element[size:]
    shift = size * 8 - element[-1]
    return int.from_bytes(address, "big") >> shift == int.from_bytes(element[:-1], "big") >> shift


def _is_network(element: Element) -> bool:
    bits = 8 * (len(element) - 1)
    if element[-1] > bits:
        return False
    return int.from_bytes(element[:-1], "big") % (1 << (bits - element[-1])) == 0


def _refuse_overlaps(target: SetKey, standing: _Set, now: Millis) -> None:
    size = target.family.size
    before = b""
    for element in sorted(e for e, deadline in standing.items() if deadline > now):
        if before and element[:size] <= before:
            raise KernelError(f"{target}: {element.hex()} overlaps another interval")
        before = element[size:]


def _text(element: Element) -> str:
    if len(element) & 1:
        return str(ip_network((element[:-1], element[-1])))
    return str(ip_address(element))
