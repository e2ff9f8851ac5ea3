"""What the kernel holds and the state file doesn't know: it stays until the LAPI has spoken.

The file may be older than the kernel, so what is found is claimed as if it had been decided. Such claims have ids
below zero, which the LAPI never gives, so that its first snapshot lacks them and settles them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.core.delta import TOLERANCE
from fwbouncer.core.guard import refusal
from fwbouncer.core.model import Label, Page
from fwbouncer.core.names import parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.delta import Desired
    from fwbouncer.core.model import AddressKey, Element, Family, Holding, Layout, Millis

# What was found without a timeout must get one for the case that it is written anew; the kernel takes no 2^62.
_LONGEST: Millis = 366 * 24 * 3_600_000


def strangers(holding: Holding, desired: Desired, layout: Layout, below: int, now: Millis) -> Page:
    """Return claims for what the kernel bans, or bans for longer, than is wanted; their ids are below `below`."""
    page = Page(startup=False)
    decision = below
    for target, elements in holding.items():
        label = Label(parts(target.group)[0], "found in the kernel", "ban", target.group)
        wishes = desired.deadlines(target, elements)
        for (element, held), wanted in zip(elements.items(), wishes, strict=True):
            known = wanted > now if target in layout.timeless else held <= wanted + TOLERANCE
            if known or held <= now:
                continue
            for key in keys_of(element, target.family):
                if refusal(key) is None:
                    decision -= 1
                    page.ids.append(decision)
                    page.keys.append(key)
                    page.deadlines.append(min(held, now + _LONGEST))
                    page.labels.append(label)
    return page


def keys_of(element: Element, family: Family) -> Iterator[AddressKey]:
    """Yield the hosts and networks that make up an interval; any other element is a key itself."""
    size = family.size
    if len(element) != 2 * size:
        yield element
        return
    first, last = int.from_bytes(element[:size], "big"), int.from_bytes(element[size:], "big")
    while first <= last:
        free = (first & -first).bit_length() - 1 if first else size * 8
        free = min(free, (last - first + 1).bit_length() - 1)
        address = first.to_bytes(size, "big")
        # A host in an interval is the same address as one that the LAPI names: it must have the same key.
        yield address + bytes([size * 8 - free]) if free else address
        first += 1 << free
