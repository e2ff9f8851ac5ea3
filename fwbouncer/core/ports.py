"""Sets of TCP and UDP ports, kept as disjoint spans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LAST = 65535

Span = tuple[int, int]  # first and last port, both included


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports from 1 to 65535; `of` makes it from spans that may overlap. Equal sets are equal objects."""

    spans: tuple[Span, ...] = ()

    @classmethod
    def of(cls, *spans: Span | int) -> Ports:
        """Gather spans and single ports. Raises ValueError for what is no port."""
        merged: list[Span] = []
        for first, last in sorted((span, span) if isinstance(span, int) else span for span in spans):
            if not 0 < first <= last <= LAST:
                raise ValueError(f"{first}-{last} are no ports")
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = merged[-1][0], max(last, merged[-1][1])
            else:
                merged.append((first, last))
        return cls(tuple(merged))

    @classmethod
    def together(cls, several: Iterable[Ports]) -> Ports:
        """Return what is in any of these."""
        return cls.of(*(span for ports in several for span in ports.spans))

    def __bool__(self) -> bool:
        return bool(self.spans)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.spans)

    def __iter__(self) -> Iterator[int]:
        return (port for first, last in self.spans for port in range(first, last + 1))

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and any(first <= port <= last for first, last in self.spans)

    def __or__(self, other: Ports) -> Ports:
        return Ports.together((self, other))

    def __and__(self, other: Ports) -> Ports:
        pairs = ((max(a, c), min(b, d)) for a, b in self.spans for c, d in other.spans)
        return Ports.of(*(span for span in pairs if span[0] <= span[1]))

    def __sub__(self, other: Ports) -> Ports:
        left = list(self.spans)
        for first, last in other.spans:
            pieces = (((a, min(b, first - 1)), (max(a, last + 1), b)) for a, b in left)
            left = [span for pair in pieces for span in pair if span[0] <= span[1]]
        return Ports.of(*left)

    def __str__(self) -> str:
        return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in self.spans)


NO_PORTS = Ports()


def words(ports: Ports | None) -> str:
    """Write which ports are meant; None is all of them."""
    return "all" if ports is None else str(ports) or "none"
