"""Claims on addresses, as rows of columns: an object a claim would cost five times the memory.

Several decisions can ban one address; each is a claim of its own, and the rows of one address form a chain.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, TypeAlias

from fwbouncer.core.index import Index

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fwbouncer.core.model import AddressKey, Label, Millis, Page

NONE = -1

Columns: TypeAlias = "tuple[array[int], list[AddressKey], array[int], list[Label | None]]"


class Claims:
    """The rows, found by decision and by address."""

    def __init__(self) -> None:
        self._row = Index()
        self._ids = array("q")
        self._keys: list[AddressKey] = []
        self._deadlines = array("q")
        self._labels: list[Label | None] = []  # None marks a free row
        self._next = array("i")
        self._head: dict[AddressKey, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._row)

    @property
    def distinct(self) -> int:
        """Count the addresses and networks that are banned, however often."""
        return len(self._head)

    @property
    def lowest(self) -> int:
        """Return the lowest id; 0 if there is none."""
        return min(self._row, default=0)

    def key(self, decision: int) -> AddressKey:
        """Return what a claim bans; nothing for a decision that is not there."""
        row = self._row.get(decision)
        return b"" if row is None else self._keys[row]

    def keys(self) -> list[AddressKey]:
        """Return every address and network that is banned."""
        return list(self._head)

    @property
    def rows(self) -> int:
        """Count the rows that `section` can return, free ones included."""
        return len(self._ids)

    def section(self, first: int, stop: int) -> Columns:
        """Copy ids, keys, deadlines and labels of some rows, quickly; those whose label is None are free.

        Who walks over all while pages come in sees every claim that was there all the time.
        """
        rows = slice(first, stop)
        return self._ids[rows], self._keys[rows], self._deadlines[rows], self._labels[rows]

    def deadline(self, group: str, key: AddressKey) -> Millis:
        """Return until when a group's claims ban an address; 0 if none does."""
        latest, row = 0, self._head.get(key, NONE)
        while row != NONE:
            label = self._labels[row]
            if label is not None and label.group == group and self._deadlines[row] > latest:
                latest = self._deadlines[row]
            row = self._next[row]
        return latest

    def deadlines(self, group: str, keys: Iterable[AddressKey]) -> list[Millis]:
        """Say the same of many addresses, several times as fast."""
        head, following, labels, until = self._head.get, self._next, self._labels, self._deadlines
        return [
            until[row]
            if (row := head(key, NONE)) != NONE
            and following[row] == NONE
            and (label := labels[row])
            and label.group == group
            else self.deadline(group, key)
            for key in keys
        ]

    def claims(self, key: AddressKey) -> list[tuple[int, Millis, Label]]:
        """Return the id, deadline and label of every claim on exactly this address or network."""
        found = []
        row = self._head.get(key, NONE)
        while row != NONE:
            label = self._labels[row]
            if label is not None:
                found.append((self._ids[row], self._deadlines[row], label))
            row = self._next[row]
        return found

    def addresses(self) -> Iterator[tuple[str, AddressKey, Millis]]:
        """Yield every group and address with the deadline that the group's claims give it."""
        following = self._next
        for key, row in self._head.items():
            if following[row] == NONE:
                label = self._labels[row]
                if label is not None:
                    yield label.group, key, self._deadlines[row]
            else:
                latest: dict[str, Millis] = {}
                for _, deadline, label in self.claims(key):
                    latest[label.group] = max(deadline, latest.get(label.group, 0))
                for group, deadline in latest.items():
                    yield group, key, deadline

    def _fill(self, page: Page) -> bool:
        """Take in a first page, column by column; returns False, and does nothing, where an id comes twice."""
        if not self._row.fill(page.ids):
            return False
        count = len(page.ids)
        self._ids, self._deadlines = page.ids[:], page.deadlines[:]
        self._keys, self._labels = page.keys[:], [*page.labels]
        self._next = array("i", [NONE]) * count
        self._head = head = dict(zip(page.keys, range(count), strict=True))
        if len(head) < count:  # some addresses have several claims
            for row, key in enumerate(page.keys):
                if head[key] != row:
                    self._next[row], self._next[head[key]] = self._next[head[key]], row
        return True

    def _put(self, decision: int, key: AddressKey, deadline: Millis, label: Label) -> int:
        """Enter a claim; returns its row."""
        head = self._head.get(key, NONE)
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
        self._row.put(decision, row)
        return row

    def _take_out(self, row: int) -> None:
        """Make a row free."""
        key = self._keys[row]
        head = self._head[key]
        if head == row:
            if self._next[row] == NONE:
                del self._head[key]
            else:
                self._head[key] = self._next[row]
        else:
            while self._next[head] != row:
                head = self._next[head]
            self._next[head] = self._next[row]
        self._row.take_out(self._ids[row])
        self._labels[row], self._keys[row], self._deadlines[row] = None, b"", 0
        self._free.append(row)
