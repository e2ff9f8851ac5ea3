"""What one nftables set needs, as requests in an order that the kernel takes."""

from __future__ import annotations

from bisect import bisect_right
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from fwbouncer.core.model import FOREVER, Change, Element, Kind, Millis, SetChange, SetKey
from fwbouncer.kernel import elements, mend, nft
from fwbouncer.kernel.called import set_name
from fwbouncer.kernel.nft import Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fwbouncer.config.schema import Nft
    from fwbouncer.kernel.standing import StandingSet
    from fwbouncer.kernel.wire import Message

_PASSING: Millis = 3_600_000  # timeout of an element that the same transaction takes out again


def filling(
    place: Nft, target: SetKey, there: StandingSet | None, part: SetChange, now: Millis
) -> Iterator[Message]:
    """Yield one set's change.

    What the kernel may still hold is added, then deleted: adding what is there and deleting what was just added
    never fail, while deleting what has expired would undo the whole transaction.
    """
    name = set_name(place, target)
    interval = bool(there.flags & nft.SET_INTERVAL) if there else target.kind is Kind.RANGES
    timed = there is None or bool(there.flags & nft.SET_TIMEOUT)
    pack = partial(
        elements.messages,
        family=target.family,
        table=place.table,
        name=name,
        interval=interval,
        tag=place.set_only,
    )
    if part.flush and there is not None:
        yield mend.flush_set(place, name)
    gone = part.remove + _perhaps_there(part, interval=interval)
    if gone:
        yield from pack(Verb.NEW_ELEMENT, elements=[(e, _PASSING if timed else FOREVER) for e in gone])
        yield from pack(Verb.DEL_ELEMENT, elements=[(e, FOREVER) for e in gone])
    come = chain(part.renew, part.add)
    left = ((e, max(1, u - now) if timed and u < FOREVER else FOREVER) for e, u in come)
    yield from pack(Verb.NEW_ELEMENT, elements=left)


def _perhaps_there(part: SetChange, *, interval: bool) -> list[Element]:
    """Return which of the elements to be renewed the kernel may hold.

    Not those that reach into an interval that goes: there they can't be, and the kernel neither takes them beside it
    nor finds them again behind it.
    """
    renewed = [element for element, _ in part.renew]
    if not interval or not part.remove:
        return renewed
    half = len(part.remove[0]) // 2
    going = sorted(part.remove)
    starts = [element[:half] for element in going]

    def reaches(element: Element) -> bool:
        below = bisect_right(starts, element[half:]) - 1
        return below >= 0 and going[below][half:] >= element[:half]

    return [element for element in renewed if not reaches(element)]


def emptying(place: Nft, name: str, there: StandingSet, held: Iterable[Element]) -> list[Message]:
    """Return what takes elements of ours out of a set of the administrator's."""
    interval, timed = bool(there.flags & nft.SET_INTERVAL), bool(there.flags & nft.SET_TIMEOUT)
    pack = partial(
        elements.messages, family=place.family, table=place.table, name=name, interval=interval, tag=True
    )
    gone = [(element, _PASSING if timed else FOREVER) for element in held]
    return [*pack(Verb.NEW_ELEMENT, elements=gone), *pack(Verb.DEL_ELEMENT, elements=gone)]


def parted(change: Change) -> tuple[Change, Change]:
    """Part a change in what can let somebody in, the second, and the rest."""
    letting = {
        target: part for target, part in change.items() if part.remove and not part.add and not part.renew
    }
    return {target: part for target, part in change.items() if target not in letting}, letting


def halves(change: Change) -> list[Change]:
    """Part a change in two that may follow each other; nothing if it can't be parted.

    Ranges stay together, since those that go make room for those that come; hosts are independent of each other.
    """
    target = max(change, key=lambda t: len(change[t]), default=None)
    if target is None or target.kind is Kind.RANGES or len(change[target]) < 2:
        return []
    part = change[target]
    first, second = SetChange(flush=part.flush), SetChange()
    for name in ("remove", "renew", "add"):
        whole = getattr(part, name)
        getattr(first, name).extend(whole[::2])
        getattr(second, name).extend(whole[1::2])
    return [change | {target: first}, {target: second}]
