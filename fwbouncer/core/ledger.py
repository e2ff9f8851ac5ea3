"""Who claims which address until when: every decision by its id, in columns, with the addresses as an index.

Several decisions can ban one address; each is a claim of its own and ends on its own. A claim is a row number
into parallel columns (an object a decision would cost five times the memory); the rows of one address form a
chain.
"""

from __future__ import annotations

import heapq
from array import array
from typing import TYPE_CHECKING, TypeAlias

from fwbouncer.core.census import Census
from fwbouncer.core.journal import Journal
from fwbouncer.core.model import AddressKey, Family, Label, Millis, Page, family_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

# The LAPI rounds durations to whole seconds, so each snapshot tells the same deadline a little differently.
JITTER: Millis = 1500
# A decision that is over this long before its deadline was ended by somebody, it did not run out.
_EARLY: Millis = 5000
_WINDOW = 19  # bits: deadlines are kept in windows of some nine minutes until they are near
_NONE = -1

Columns: TypeAlias = "tuple[array[int], list[AddressKey], array[int], list[Label | None]]"
Touched = dict[str, dict[AddressKey, Millis]]


class Ledger:
    """All claims. Each change notes in `touched`, by group and address, the deadline that stood before."""

    def __init__(self) -> None:
        self._row: dict[int, int] = {}
        self._ids = array("q")
        self._keys: list[AddressKey] = []
        self._deadlines = array("q")
        self._labels: list[Label | None] = []  # None marks a free row
        self._next = array("q")
        self._head: dict[AddressKey, int] = {}
        self._free: list[int] = []
        self._later: dict[int, array[int]] = {}
        self._soon: list[tuple[Millis, int]] = []
        self.touched: Touched = {}
        self.census = Census()
        self.journal = Journal()
        self.begun = 0  # claims that ever came
        self.over = 0  # claims that ever went, one way or another
        self.changes = 0  # grows with each change that isn't merely a claim running out

    def __len__(self) -> int:
        return len(self._row)

    @property
    def distinct(self) -> int:
        """Count the addresses and networks that are banned, however often."""
        return len(self._head)

    def absorb(self, page: Page, now: Millis) -> bool:
        """Take in a page: what ended, then what is new. Claims that a snapshot lacks stay; see `missing`.

        Returns True where somebody ended a decision early and another of its origin still bans the address:
        decisions whose alert was deleted vanish from the LAPI without a word, so it is worth a second look.
        """
        doubtful = False
        for decision in page.ended:
            doubtful |= self._end(decision, now)
        row_of = self._row
        for decision, key, deadline, label in zip(
            page.ids, page.keys, page.deadlines, page.labels, strict=True
        ):
            row = row_of.get(decision)
            if row is None:
                self._insert(decision, key, deadline, label)
            else:
                self._renew(row, key, deadline, label)
        return doubtful

    def missing(self, page: Page, now: Millis) -> list[int]:
        """Return the ids that a snapshot should have held and did not; those about to run out don't count."""
        seen = set(page.ids)
        deadlines = self._deadlines
        return [i for i, row in self._row.items() if i not in seen and deadlines[row] > now + JITTER]

    def ending(self, now: Millis) -> int:
        """Count the claims that are about to run out and so are never missing; call `expire` first."""
        return sum(deadline <= now + JITTER for deadline, _ in self._soon)

    def drop(self, decisions: Iterable[int]) -> None:
        """End claims without the LAPI's word for it."""
        for decision in decisions:
            row = self._row.get(decision)
            if row is not None:
                self._remove(row)
                self.changes += 1

    def regroup(self, again: Callable[[Label, int], Label | None]) -> int:
        """Sort every claim anew, given its label and its id; one without a label ends. Returns how many moved."""
        moved = 0
        for decision, row in list(self._row.items()):
            label = self._labels[row]
            if label is None:
                continue
            after = again(label, decision)
            if after is None:
                self._remove(row)
            elif after.group != label.group:
                key = self._keys[row]
                self._note(label.group, key)
                self._note(after.group, key)
                self.census.count(after, len(key), 1, not self.deadline(after.group, key))
                self._labels[row] = after
                self.census.count(label, len(key), -1, -(not self.deadline(label.group, key)))
            else:
                continue
            moved += 1
        self.changes += moved
        return moved

    def beyond(self, families: Collection[Family]) -> list[int]:
        """Return the ids of all claims of other families than these."""
        keys = self._keys
        return [i for i, row in self._row.items() if family_of(keys[row]) not in families]

    @property
    def lowest(self) -> int:
        """Return the lowest id; 0 if there is none."""
        return min(self._row, default=0)

    def key(self, decision: int) -> AddressKey:
        """Return what a claim bans."""
        return self._keys[self._row[decision]]

    def keys(self) -> list[AddressKey]:
        """Return every address and network that is banned."""
        return list(self._head)

    def columns(self) -> Columns:
        """Copy ids, keys, deadlines and labels, quickly; rows whose label is None are free."""
        return self.section(0, self.rows)

    def expire(self, now: Millis) -> int:
        """End the claims whose deadline has come; returns how many."""
        for window in [w for w in self._later if w << _WINDOW <= now + (1 << _WINDOW)]:
            for row in self._later.pop(window):
                # A row that was renewed since has been filed again; one that was given away may be, too.
                if self._labels[row] is not None and self._deadlines[row] >> _WINDOW == window:
                    heapq.heappush(self._soon, (self._deadlines[row], row))
        count = 0
        while self._soon and self._soon[0][0] <= now:
            deadline, row = heapq.heappop(self._soon)
            if self._labels[row] is not None and self._deadlines[row] == deadline:
                self._remove(row)
                count += 1
        return count

    def next_expiry(self) -> Millis | None:
        """Return a time at which `expire` may have something to do; never later than the next deadline."""
        times = [self._soon[0][0]] if self._soon else []
        if self._later:  # a window is opened by the time the one before it begins
            times.append((min(self._later) - 1) << _WINDOW)
        return min(times, default=None)

    def take_touched(self) -> Touched:
        """Hand over the notes about what changed, and start new ones."""
        touched, self.touched = self.touched, {}
        return touched

    def deadline(self, group: str, key: AddressKey) -> Millis:
        """Return until when a group's claims ban an address; 0 if none does."""
        return self._latest(self._head.get(key, _NONE), group)

    def claims(self, key: AddressKey) -> list[tuple[int, Millis, Label]]:
        """Return the id, deadline and label of every claim on exactly this address or network."""
        found = []
        row = self._head.get(key, _NONE)
        while row != _NONE:
            label = self._labels[row]
            if label is not None:
                found.append((self._ids[row], self._deadlines[row], label))
            row = self._next[row]
        return found

    def addresses(self) -> Iterator[tuple[str, AddressKey, Millis]]:
        """Yield every group and address with the deadline that the group's claims give it."""
        following = self._next
        for key, row in self._head.items():
            if following[row] == _NONE:
                label = self._labels[row]
                if label is not None:
                    yield label.group, key, self._deadlines[row]
            else:
                latest: dict[str, Millis] = {}
                for _, deadline, label in self.claims(key):
                    latest[label.group] = max(deadline, latest.get(label.group, 0))
                for group, deadline in latest.items():
                    yield group, key, deadline

    @property
    def rows(self) -> int:
        """Count the rows that `section` can return, free ones included."""
        return len(self._ids)

    def section(self, first: int, stop: int) -> Columns:
        """Copy some rows; who walks over all while pages come in sees every claim that was there all the time."""
        rows = slice(first, stop)
        return self._ids[rows], self._keys[rows], self._deadlines[rows], self._labels[rows]

    def _insert(self, decision: int, key: AddressKey, deadline: Millis, label: Label) -> None:
        head = self._head.get(key, _NONE)
        notes = self.touched.get(label.group)
        if notes is None:
            notes = self.touched[label.group] = {}
        before = 0 if head == _NONE else self._latest(head, label.group)
        notes.setdefault(key, before)
        if self._free:
            row = self._free.pop()
            self._ids[row], self._keys[row], self._deadlines[row] = decision, key, deadline
            self._labels[row], self._next[row] = label, head
        else:
            row = len(self._ids)
            self._ids.append(decision)
            self._keys.append(key)
            self._deadlines.append(deadline)
            self._labels.append(label)
            self._next.append(head)
        self._head[key] = row
        self._row[decision] = row
        self.census.count(label, len(key), 1, not before)
        self.journal.came(decision, key, deadline, label)
        self.begun += 1
        self.changes += 1
        window = deadline >> _WINDOW
        rows = self._later.get(window)
        if rows is None:
            rows = self._later[window] = array("q")
        rows.append(row)

    def _renew(self, row: int, key: AddressKey, deadline: Millis, label: Label) -> None:
        if self._keys[row] != key or self._labels[row] != label:
            decision = self._ids[row]
            self._remove(row)
            self._insert(decision, key, deadline, label)
        elif abs(self._deadlines[row] - deadline) > JITTER:
            self._note(label.group, key)
            self._deadlines[row] = deadline
            self.changes += 1
            self._later.setdefault(deadline >> _WINDOW, array("q")).append(row)

    def _end(self, decision: int, now: Millis) -> bool:
        row = self._row.get(decision)
        if row is None:
            return False
        key, label, deadline = self._keys[row], self._labels[row], self._deadlines[row]
        self._remove(row)
        self.changes += 1
        early = deadline > now + _EARLY
        return early and label is not None and any(c[2].origin == label.origin for c in self.claims(key))

    def _remove(self, row: int) -> None:
        key, label = self._keys[row], self._labels[row]
        if label is not None:
            self._note(label.group, key)
            self.journal.went(self._ids[row], key, self._deadlines[row], label)
        head = self._head[key]
        if head == row:
            if self._next[row] == _NONE:
                del self._head[key]
            else:
                self._head[key] = self._next[row]
        else:
            while self._next[head] != row:
                head = self._next[head]
            self._next[head] = self._next[row]
        del self._row[self._ids[row]]
        if label is not None:
            self.census.count(label, len(key), -1, -(not self.deadline(label.group, key)))
        self.over += 1
        self._labels[row] = None
        self._keys[row] = b""
        self._free.append(row)

    def _note(self, group: str, key: AddressKey) -> None:
        notes = self.touched.setdefault(group, {})
        if key not in notes:
            notes[key] = self.deadline(group, key)

    def _latest(self, row: int, group: str) -> Millis:
        latest = 0
        while row != _NONE:
            label = self._labels[row]
            if label is not None and label.group == group:
                latest = max(latest, self._deadlines[row])
            row = self._next[row]
        return latest
