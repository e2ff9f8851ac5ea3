"""What the kernel must be told: the elements in which it differs, or may differ, from what is wanted.

The kernel is believed to hold what is wanted, except for the elements noted here with what it holds of them
instead. Only acknowledged writes move that belief, so a failed write loses nothing. At rest the notes are empty,
however many bans there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fwbouncer.core.model import Change, Element, Holding, Layout, Millis, SetChange, SetKey
from fwbouncer.core.room import squeeze

if TYPE_CHECKING:
    from collections.abc import Iterable

# How far a dumped deadline may be off and still be taken for the wanted one: the LAPI rounds, dumps take time.
TOLERANCE: Millis = 1500
# For so long after its deadline an element may still be in the kernel; one that is added again within that time
# must be taken out first, because before Linux 6.12 adding a present element leaves its old timeout.
GRACE: Millis = 10_000
# Stands for "not seen in a dump of its set": while the kernel resizes a hash table a dump of it can miss elements,
# and an element that has just run out can still be in the way of one that is added plainly.
_UNSEEN: Millis = 1


class Desired(Protocol):
    """What the differences are taken against."""

    def deadlines(self, target: SetKey, elements: Iterable[Element]) -> Iterable[Millis]:
        """Say of each of these elements until when a set must hold it; 0 if it must not."""

    def elements(self) -> Iterable[tuple[SetKey, Element, Millis]]:
        """Yield everything that must be held."""


class Delta:
    """Notes per set: element -> the deadline that the kernel holds it with; 0 where it doesn't hold it."""

    def __init__(self) -> None:
        self._notes: dict[SetKey, dict[Element, Millis]] = {}
        self._timeless: frozenset[SetKey] = frozenset()
        self._room: dict[SetKey, int] = {}
        self._unread: frozenset[SetKey] = frozenset()
        self.held_back = 0

    def __len__(self) -> int:
        return sum(map(len, self._notes.values()))

    def note(self, changed: dict[SetKey, dict[Element, Millis]]) -> None:
        """Note elements whose wanted deadline changed, with the one they had before."""
        for target, elements in changed.items():
            notes = self._notes.get(target)
            if notes:
                for element, before in elements.items():
                    notes.setdefault(element, before)
            else:
                self._notes[target] = elements  # ours from now on: there may be a million

    def rebase(self, holding: Holding, desired: Desired, layout: Layout, now: Millis) -> int:
        """Start over from what the kernel holds; returns in how many elements that is not what is wanted."""
        self._timeless = layout.timeless
        self._unread = layout.unread
        self._room = {target: size - len(holding.get(target, ())) for target, size in layout.sizes}
        # What was about to be given another deadline is given it, however small the difference.
        due = {
            target: {e for e, held in notes.items() if held > _UNSEEN}
            for target, notes in self._notes.items()
        }
        self._notes = notes_of = {target: dict(elements) for target, elements in holding.items()}
        for target, element, deadline in desired.elements():
            notes = notes_of.get(target)
            if notes is None:
                notes = notes_of[target] = {}
            held = notes.get(element, _UNSEEN if target in holding else 0)
            close = abs(held - deadline) <= TOLERANCE and element not in due.get(target, ())
            if held > _UNSEEN and (target in layout.timeless or close):
                del notes[element]
            elif held or deadline > now:
                notes[element] = held
        self._notes = {target: notes for target, notes in notes_of.items() if notes}
        return len(self)

    def plan(self, desired: Desired, now: Millis) -> Change:
        """Say what to tell the kernel now; forgets notes that time has settled."""
        change: Change = {}
        self.held_back = 0
        for target in self._unread - self._notes.keys():
            change[target] = SetChange(flush=True)
        for target, notes in self._notes.items():
            part = SetChange(flush=target in self._unread)
            deadlines = [*desired.deadlines(target, notes)]
            freed = self._sort(part, notes, deadlines, now, timeless=target in self._timeless)
            if target in self._room:
                self._room[target] += freed
                part = self._fitting(target, part, notes)
            if part:
                change[target] = part
        return change

    def commit(self, change: Change, desired: Desired) -> None:
        """Take the kernel's word that it did it: what it was told is now what it holds."""
        self._unread -= change.keys()
        for target, part in change.items():
            notes = self._notes.get(target, {})
            told = [*((element, 0) for element in part.remove), *part.renew, *part.add]
            elements = [element for element, _ in told]
            wanted = desired.deadlines(target, elements)
            if target in self._room:
                came = len(part.add) + sum(notes.get(element) == _UNSEEN for element, _ in part.renew)
                self._room[target] += len(part.remove) - came
            later = [each for each, until in zip(told, wanted, strict=True) if until != each[1]]
            if len(told) == len(notes) and all(map(notes.__contains__, elements)):
                notes.clear()
            else:
                for element in elements:
                    notes.pop(element, None)
            notes.update(later)  # those changed once more while the kernel was busy
            if not notes:
                self._notes.pop(target, None)

    @staticmethod
    def _sort(
        part: SetChange,
        notes: dict[Element, Millis],
        deadlines: list[Millis],
        now: Millis,
        *,
        timeless: bool,
    ) -> int:
        """Put each noted element where it belongs; notes that need nothing, now or later, are forgotten.

        Returns how many elements have gone from the kernel by themselves.
        """
        settled: list[Element] = []
        freed = 0
        if not any(notes.values()) and min(deadlines, default=0) > now:  # all are new, as in a first load
            part.add = [*zip(notes, deadlines, strict=True)]
            return freed
        for (element, held), wanted in zip(notes.items(), deadlines, strict=True):
            if wanted > now:
                if held == 0:
                    part.add.append((element, wanted))
                elif held == wanted or (timeless and held != _UNSEEN):
                    settled.append(element)
                else:
                    part.renew.append((element, wanted))
            elif held > now or (timeless and held):
                part.remove.append(element)
            elif held + GRACE <= now:
                settled.append(element)
                freed += held > _UNSEEN
        for element in settled:
            del notes[element]
        return freed

    def _fitting(self, target: SetKey, part: SetChange, notes: dict[Element, Millis]) -> SetChange:
        """Leave out of a change what a set of fixed size has no room for."""
        absent = {element for element, _ in part.renew if notes[element] == _UNSEEN}
        room = self._room[target]
        if len(part.add) + len(absent) <= room + len(part.remove):
            return part
        part, waiting = squeeze(part, room, absent)
        self.held_back += waiting
        return part
