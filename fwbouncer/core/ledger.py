"""Who claims which address until when: every decision by its id, each ending on its own, with notes on what changed."""

from __future__ import annotations

from collections import defaultdict
from itertools import repeat
from typing import TYPE_CHECKING

from fwbouncer.core.census import Census
from fwbouncer.core.claims import Claims
from fwbouncer.core.endings import Endings
from fwbouncer.core.journal import Journal
from fwbouncer.core.model import AddressKey, Family, Label, Millis, Page, family_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

# The LAPI rounds durations to whole seconds, so each snapshot tells the same deadline a little differently.
JITTER: Millis = 1500
# A decision that is over this long before its deadline was ended by somebody, it did not run out.
_EARLY: Millis = 5000

# By group and length of the address key, which tells hosts from networks and IPv4 from IPv6.
Touched = dict[tuple[str, int], dict[AddressKey, Millis]]


class Ledger(Claims):
    """All claims. Each change notes in `touched`, by group and address, the deadline that stood before."""

    def __init__(self) -> None:
        super().__init__()
        self._endings = Endings()
        self._seen = bytearray()  # rows that the last page named
        self.touched: Touched = {}
        self.census = Census()
        self.journal = Journal()
        self.begun = 0  # claims that ever came
        self.over = 0  # claims that ever went, one way or another
        self.changes = 0  # grows with each change that isn't merely a claim running out

    def absorb(self, page: Page, now: Millis) -> bool:
        """Take in a page: what ended, then what is new. Claims that a snapshot lacks stay; see `missing`.

        Returns True where somebody ended a decision early and another of its origin still bans the address:
        decisions whose alert was deleted vanish from the LAPI without a word, so it is worth a second look.
        """
        doubtful = False
        for decision in page.ended:
            doubtful |= self._end(decision, now)
        self._seen = seen = bytearray(len(self._ids) + len(page.ids))
        if not self._ids and self._fill(page):  # the largest page of all: nothing to compare it with
            self._enter(page)
            return doubtful
        for claim in zip(page.ids, page.keys, page.deadlines, page.labels, strict=True):
            row = self._row.get(claim[0])
            seen[self._insert(*claim) if row is None else self._renew(row, *claim)] = 1
        self._row.tidy()
        return doubtful

    def missing(self, now: Millis) -> list[int]:
        """Return the ids that the page absorbed last lacks, if it was a snapshot; not those about to run out."""
        seen, deadlines = self._seen, self._deadlines
        return [i for i, row in self._row.items() if not seen[row] and deadlines[row] > now + JITTER]

    def ending(self, now: Millis) -> int:
        """Count the claims that are about to run out and so are never missing; call `expire` first."""
        return self._endings.before(now + JITTER)

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
        for decision, row in [*self._row.items()]:
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

    def expire(self, now: Millis) -> int:
        """End the claims whose deadline has come; returns how many."""
        count = 0
        for row in self._endings.due(self._deadlines, now):
            if self._labels[row] is not None:
                self._remove(row)
                count += 1
        return count

    def next_expiry(self) -> Millis | None:
        """Return a time at which `expire` may have something to do; never later than the next deadline."""
        return self._endings.next()

    def take_touched(self) -> Touched:
        """Hand over the notes about what changed, and start new ones."""
        touched, self.touched = self.touched, {}
        return touched

    def _enter(self, page: Page) -> None:
        """Note, count and file what fills the rows."""
        alike: defaultdict[tuple[int, int], list[AddressKey]] = defaultdict(list)
        for key, label in zip(page.keys, page.labels, strict=True):
            alike[id(label), len(key)].append(
                key
            )  # by identity: hashing a label takes longer than all the rest
        labels = {id(label): label for label in page.labels}
        fresh: Touched = {}
        for (who, length), keys in alike.items():
            notes = fresh.setdefault((labels[who].group, length), {})
            before = len(notes)
            notes.update(zip(keys, repeat(0)))
            self.census.count(labels[who], length, len(keys), len(notes) - before)
        for place, notes in fresh.items():
            notes.update(self.touched.get(place, {}))
            self.touched[place] = notes
        self._endings.fill(page.deadlines)
        self._seen = bytearray(b"\1" * len(page.ids))
        self.journal.came_all(page)
        self.begun += len(page.ids)
        self.changes += len(page.ids)

    def _insert(self, decision: int, key: AddressKey, deadline: Millis, label: Label) -> int:
        before = self._note(label.group, key)
        row = self._put(decision, key, deadline, label)
        self._endings.add(row, deadline)
        self.census.count(label, len(key), 1, not before)
        self.journal.came(decision, key, deadline, label)
        self.begun += 1
        self.changes += 1
        return row

    def _renew(self, row: int, decision: int, key: AddressKey, deadline: Millis, label: Label) -> int:
        held = self._labels[row]
        if self._keys[row] != key or (held is not label and held != label):
            self._remove(row)
            return self._insert(decision, key, deadline, label)
        if abs(self._deadlines[row] - deadline) > JITTER:
            self._note(label.group, key)
            self._deadlines[row] = deadline
            self.changes += 1
            self._endings.add(row, deadline)
        return row

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
        decision, key, deadline, label = (
            self._ids[row],
            self._keys[row],
            self._deadlines[row],
            self._labels[row],
        )
        if label is not None:
            self._note(label.group, key)
            self.journal.went(decision, key, deadline, label)
        self._take_out(row)
        if label is not None:
            self.census.count(label, len(key), -1, -(not self.deadline(label.group, key)))
        self.over += 1

    def _note(self, group: str, key: AddressKey) -> Millis:
        """Note the deadline that stands; returns it."""
        notes = self.touched.get((group, len(key)))
        if notes is None:
            notes = self.touched[group, len(key)] = {}
        deadline = self.deadline(group, key)
        notes.setdefault(key, deadline)
        return deadline
