"""Which of all decisions are meant: by origin, scenario, type, family, addresses, and how soon they end."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import translate
from re import Pattern
from re import compile as compiled
from typing import TYPE_CHECKING

from fwbouncer.core.addresses import supernets
from fwbouncer.core.model import AddressKey, Family, Label, Millis, family_of, is_range
from fwbouncer.core.ranges import span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwbouncer.core.claims import Columns
    from fwbouncer.core.ledger import Ledger

Claim = tuple[int, AddressKey, Millis, Label]  # id, address, deadline, label
_MOST = 100_000  # labels that are remembered; scenarios are free text


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked for; what is not given leaves nobody out. Patterns are a shell's (`*`, `?`), case is ignored."""

    origin: str = ""
    scenario: str = ""
    type: str = ""
    family: Family | None = None
    within: AddressKey | None = None  # decisions that have an address in common with this network
    before: Millis | None = None  # decisions that end before this


class Sieve:
    """Lets through the claims of a selection, column by column: a million rows cost some hundredths of a second."""

    def __init__(self, wanted: Selection) -> None:
        self._wanted = wanted
        texts = {"origin": wanted.origin, "scenario": wanted.scenario, "type": wanted.type}
        self._patterns: dict[str, Pattern[str]] = {
            name: compiled(translate(text.casefold())) for name, text in texts.items() if text
        }
        self._inside = _Inside(wanted.within) if wanted.within is not None else None
        # Most decisions share few labels. A label is kept, or another one could get its identity.
        self._known: dict[int, Label | None] = {}
        self._good: set[int] = set()

    def around(self, ledger: Ledger) -> Iterator[Claim]:
        """Yield the claims that are meant on networks around the one asked for; `sift` leaves them out."""
        within = self._wanted.within
        for key in supernets(within) if within is not None else ():
            for decision, deadline, label in ledger.claims(key):
                if self._passes([label], [deadline], [key], [0], inside=None):
                    yield decision, key, deadline, label

    def sift(self, columns: Columns) -> Iterator[Claim]:
        """Yield those of some rows that are meant."""
        ids, keys, deadlines, labels = columns
        chosen = self._passes(labels, deadlines, keys, range(len(keys)), inside=self._inside)
        for row in chosen:
            label = labels[row]
            if label is not None:
                yield ids[row], keys[row], deadlines[row], label

    def _passes(
        self,
        labels: Sequence[Label | None],
        deadlines: Sequence[Millis],
        keys: Sequence[AddressKey],
        rows: Sequence[int],
        *,
        inside: _Inside | None,
    ) -> Sequence[int]:
        before, family = self._wanted.before, self._wanted.family
        if inside is not None:
            rows = inside.rows(keys)
        if before is not None:
            rows = [row for row in rows if deadlines[row] < before]
        if family is not None:
            lengths = {family.size, family.size + 1}
            rows = [row for row in rows if len(keys[row]) in lengths]
        if self._patterns:
            self._learn(labels)
            good = self._good
            rows = [row for row in rows if id(labels[row]) in good]
        return rows

    def _learn(self, labels: Sequence[Label | None]) -> None:
        """Find out which labels are meant."""
        if len(self._known) > _MOST:
            self._known.clear()
            self._good.clear()
        fresh = set(map(id, labels)) - self._known.keys()
        for label in labels if fresh else ():
            if id(label) in fresh and id(label) not in self._known:
                self._known[id(label)] = label
                if label is not None and self._fits(label):
                    self._good.add(id(label))

    def _fits(self, label: Label) -> bool:
        return all(p.match(getattr(label, name).casefold()) for name, p in self._patterns.items())


class _Inside:
    """Finds the keys inside a network, without a look at most of them."""

    def __init__(self, network: AddressKey) -> None:
        family = family_of(network)
        first, last = span(network, family)
        self._size = family.size
        self._first = first.to_bytes(family.size, "big")
        # A network's key ends in its prefix length, so it sorts behind its first address.
        self._last = last.to_bytes(family.size, "big") + b"\xff"
        self._prefix = network[family.size] if is_range(network) else family.size * 8

    def rows(self, keys: Sequence[AddressKey]) -> list[int]:
        first, last, size, prefix = self._first, self._last, self._size, self._prefix
        near = [row for row, key in enumerate(keys) if first <= key <= last]
        return [
            row
            for row in near
            if len(keys[row]) == size or (len(keys[row]) == size + 1 and keys[row][size] >= prefix)
        ]
