"""What still fits into a set of fixed size, and who waits where not everything does.

Only an administrator's own sets have a size, and the kernel refuses a whole change for one element too many. Those
who are in stay in: a ban that must be cut anew, because another one reaches into its network, waits as it is until
all its pieces fit. Only where somebody must be let go is it cut in any case.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fwbouncer.core.model import SetChange

if TYPE_CHECKING:
    from collections.abc import Container

    from fwbouncer.core.model import Element, Millis

_Span = tuple[bytes, bytes]


@dataclass(slots=True)
class _Bundle:
    """Elements that overlap, so that they go and come together."""

    last: bytes
    gone: list[Element] = field(default_factory=list)
    renewed: list[tuple[Element, Millis]] = field(default_factory=list)
    come: list[tuple[Element, Millis]] = field(default_factory=list)
    costs: int = 0  # places that it takes, less those that it frees

    @property
    def rank(self) -> tuple[bool, Millis]:
        """Sort first what takes no place, then the bans that last longest."""
        return self.costs > 0, -max((until for _, until in (*self.come, *self.renewed)), default=0)

    def lets_go(self) -> bool:
        """Tell whether some address that goes doesn't come back."""
        spans = [_numbers(element) for element, _ in (*self.come, *self.renewed)]
        for first, last in map(_numbers, self.gone):
            covered = sum(max(0, min(last, end) - max(first, start) + 1) for start, end in spans)
            if covered <= last - first:
                return True
        return False


def squeeze(part: SetChange, free: int, absent: Container[Element]) -> tuple[SetChange, int]:
    """Cut a change to what fits into `free` places; returns it and how many elements wait.

    `absent` are those elements to be renewed that were not seen, and so need a place like new ones.
    """
    cut, waiting = SetChange(flush=part.flush), 0
    for bundle in sorted(_bundles(part, absent), key=lambda bundle: bundle.rank):
        come = sorted(bundle.come, key=lambda pair: -pair[1])
        renewed = bundle.renewed
        if bundle.costs > free:
            if not bundle.lets_go():
                waiting += len(come) + sum(element in absent for element, _ in renewed)
                continue
            renewed = [pair for pair in renewed if pair[0] not in absent]
            come = (come + [pair for pair in bundle.renewed if pair[0] in absent])[: free + len(bundle.gone)]
            waiting += len(bundle.come) + len(bundle.renewed) - len(renewed) - len(come)
            free += len(bundle.gone) - len(come)
        else:
            free -= bundle.costs
        cut.remove += bundle.gone
        cut.renew += renewed
        cut.add += come
    return cut, waiting


def _bundles(part: SetChange, absent: Container[Element]) -> list[_Bundle]:
    """Put together what overlaps; hosts and nested networks never do."""
    told: list[tuple[_Span, Element, Millis | None, bool]] = [
        *((_span(element), element, None, False) for element in part.remove),
        *((_span(element), element, until, True) for element, until in part.renew),
        *((_span(element), element, until, False) for element, until in part.add),
    ]
    bundles: list[_Bundle] = []
    for (first, last), element, until, again in sorted(told, key=lambda row: row[0]):
        if not bundles or first > bundles[-1].last:
            bundles.append(_Bundle(last))
        bundle = bundles[-1]
        bundle.last = max(last, bundle.last)
        if until is None:
            bundle.gone.append(element)
            bundle.costs -= 1
        elif again:
            bundle.renewed.append((element, until))
            bundle.costs += element in absent
        else:
            bundle.come.append((element, until))
            bundle.costs += 1
    return bundles


def _span(element: Element) -> _Span:
    """Return the first and last address of an interval; any other element stands for itself."""
    half = len(element) // 2
    return (element[:half], element[half:]) if len(element) in {8, 32} else (element, element)


def _numbers(element: Element) -> tuple[int, int]:
    first, last = _span(element)
    return int.from_bytes(first, "big"), int.from_bytes(last, "big")
