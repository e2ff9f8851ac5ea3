"""Which claims came and went lately, where these are few: for whoever tells them one by one."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fwbouncer.core.model import AddressKey, Label, Millis, Page

MOST = 100  # claims that are kept; of more, none is worth telling by itself


class Entry(NamedTuple):
    """One claim."""

    decision: int
    key: AddressKey
    deadline: Millis
    label: Label


class Journal:
    """Notes claims until somebody takes the notes."""

    def __init__(self) -> None:
        self._came: dict[int, Entry] = {}
        self._went: dict[int, Entry] = {}
        self._room = MOST

    def came(self, decision: int, key: AddressKey, deadline: Millis, label: Label) -> None:
        """Note a claim that is new."""
        if self._room > 0:
            self._came[decision] = Entry(decision, key, deadline, label)
        self._room -= 1

    def came_all(self, page: Page) -> None:
        """Note all claims of a page."""
        for claim in islice(zip(page.ids, page.keys, page.deadlines, page.labels, strict=True), MOST):
            self.came(*claim)
        self._room -= max(0, len(page.ids) - MOST)

    def went(self, decision: int, key: AddressKey, deadline: Millis, label: Label) -> None:
        """Note a claim that is over; one that came since the last look was never told, and need not be."""
        if self._room > 0 and self._came.pop(decision, None) is None:
            self._went[decision] = Entry(decision, key, deadline, label)
        self._room -= 1

    def take(self) -> tuple[list[Entry], list[Entry], int]:
        """Return who came and who went since the last time; or nobody, and how many there were, if many.

        A claim that went and came again has changed: it counts as one that came.
        """
        noted, many = MOST - self._room, self._room < 0
        went = [entry for entry in self._went.values() if entry.decision not in self._came]
        found = ([], [], noted) if many else ([*self._came.values()], went, 0)
        self._came, self._went, self._room = {}, {}, MOST
        return found
