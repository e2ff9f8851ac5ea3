"""One family's rules in mode iptables, in one or two tables: read, compared, and brought to where they must be."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fwbouncer.kernel import iptables
from fwbouncer.kernel.iptables import RAW, Chain, Line, Skeleton, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fwbouncer.core.model import Family
    from fwbouncer.kernel.xtables import Filter

log = logging.getLogger(__name__)

_NOTHING = Skeleton({}, ())
Wanted = dict[str, Skeleton]  # by the table's name


class _Rules:
    """One table."""

    def __init__(self, filter_: Filter) -> None:
        self.filter = filter_
        self.table: Table = {}
        self._mark = b""
        self._taken_for: tuple[Skeleton, object] | None = None

    def look(self) -> None:
        """Read it. The mark goes first: what changes between the two shows at the next look."""
        self._mark = self.filter.mark()
        self.table = self.filter.save()

    def moved(self) -> bool:
        """Tell whether somebody changed it since the last look."""
        return self.filter.mark() != self._mark

    def faults(self, wanted: Skeleton) -> list[str]:
        """Say where it differs from what must stand there."""
        return [] if self._taken(wanted) else iptables.faults(self.table, wanted)

    def mend(self, wanted: Skeleton) -> None:
        """Make it right, in one step."""
        if not self.moved() and not self._mending(wanted):
            return
        self.look()  # for the counters, which the rewritten rules start from
        lines = self._mending(wanted)
        if not lines:
            return
        self.filter.restore(lines)
        self.look()
        odd = iptables.faults(self.table, wanted)
        self._taken_for = (wanted, self._shape()) if odd else None
        if (
            odd
        ):  # written without an error, so it stands; another release of iptables may word rules otherwise
            log.warning(
                "iptables shows our rules in other words than they were written in: %s", "; ".join(odd)
            )

    def remove(self) -> None:
        """Take everything of ours out."""
        self.look()
        lines = iptables.removal(self.table)
        if lines:
            self.filter.restore(lines)

    def _taken(self, wanted: Skeleton) -> bool:
        return self._taken_for == (wanted, self._shape())

    def _mending(self, wanted: Skeleton) -> list[str]:
        return [] if self._taken(wanted) else iptables.mending(self.table, wanted)

    def _shape(self) -> object:
        return {name: chain.rules() for name, chain in self.table.items()}


class Ruleset:
    """All tables of one family that we have to do with."""

    def __init__(self, family: Family, tables: Mapping[str, Filter]) -> None:
        self._family = family
        self._tables = {name: _Rules(one) for name, one in tables.items()}

    def look(self) -> None:
        """Read the tables."""
        for rules in self._tables.values():
            rules.look()

    def moved(self) -> bool:
        """Tell whether somebody changed a table since the last look."""
        return any(rules.moved() for rules in self._tables.values())

    def chains(self, table: str) -> Table:
        """Return a table as it was read last."""
        return self._tables[table].table if table in self._tables else {}

    def origins(self) -> dict[str, str | None]:
        """Return the sets that our rules use, with the origins in their comments."""
        return {
            matched[0]: matched[1]
            for _, _, line in self._ours(read_anew=False)
            if (matched := iptables.set_of(line.rule)) is not None
        }

    def counted(self) -> Iterator[tuple[str, str, Line]]:
        """Read the tables anew; yield each rule of a chain of ours or that leads to one, behind its table and chain."""
        yield from self._ours(read_anew=True)

    def every(self) -> Iterator[tuple[str, iptables.Rule]]:
        """Read the tables anew; yield each rule with the chain that it stands in, of whomever it is."""
        for name, rules in self._tables.items():
            for chain, there in rules.filter.save().items():
                yield from ((f"{RAW} {chain}" if name == RAW else chain, rule) for rule in there.rules())

    def faults(self, wanted: Wanted) -> list[str]:
        """Say where the tables differ from what must stand in them."""
        return [
            f"IPv{self._family.value}: {'raw: ' if name == RAW else ''}{fault}"
            for name, rules in self._tables.items()
            for fault in rules.faults(wanted.get(name, _NOTHING))
        ]

    def mend(self, wanted: Wanted) -> None:
        """Make all tables right. No ban is lifted while rules move from one to the other."""
        wrong = [name for name, rules in self._tables.items() if rules.faults(wanted.get(name, _NOTHING))]
        if len(wrong) > 1:
            first = self._tables[wrong[0]]
            first.mend(iptables.joined(first.table, wanted.get(wrong[0], _NOTHING)))
        for name, rules in reversed(self._tables.items()):
            rules.mend(wanted.get(name, _NOTHING))

    def remove(self) -> None:
        """Take everything of ours out."""
        for rules in self._tables.values():
            rules.remove()

    def _ours(self, *, read_anew: bool) -> Iterator[tuple[str, str, Line]]:
        for name, rules in self._tables.items():
            table = rules.filter.save() if read_anew else rules.table
            for chain, lines in table.items():
                yield from ((name, chain, line) for line in _lines(chain, lines))


def _lines(name: str, chain: Chain) -> Iterator[Line]:
    return (line for line in chain.lines if iptables.is_ours(name) or line.rule == iptables.JUMP)
