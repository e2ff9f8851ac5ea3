"""The words that every room shares: what a decision is here, where it goes, what a change to the kernel is.

Times are whole milliseconds on one clock, CLOCK_BOOTTIME: it counts while the machine sleeps and never jumps
when somebody sets the date. An *address key* is bytes, and its length says what it is:

    4 bytes   an IPv4 host         5 bytes    an IPv4 network, then its prefix length
    16 bytes  an IPv6 host         17 bytes   an IPv6 network, then its prefix length

Keys are in network order with all host bits zero, so equal networks have equal keys.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

Millis: TypeAlias = int
AddressKey: TypeAlias = bytes
# What a kernel set holds: an address key, or, where ranges are flattened, first address + last address.
Element: TypeAlias = bytes


class Family(Enum):
    """An address family, by the number that people write."""

    V4 = 4
    V6 = 6

    @property
    def size(self) -> int:
        """Bytes in an address."""
        return 4 if self is Family.V4 else 16

    @staticmethod
    def of(length: int) -> Family:
        """Return the family of address keys that have this length."""
        return Family.V4 if length < 8 else Family.V6


class Kind(Enum):
    """What a kernel set is made for."""

    HOSTS = "hosts"
    RANGES = "ranges"


@dataclass(frozen=True, slots=True)
class Label:
    """Who asked for a ban and why. Decisions that share all of it share one object."""

    origin: str  # as the LAPI wrote it, cut to 255 characters; hostile until escaped
    scenario: str  # likewise; the name of the list where the origin is "lists"
    type: str  # "ban" and what else the configuration supports, in lower case
    group: str  # the name of the sets that this decision goes to; safe for a kernel name


@dataclass(frozen=True, slots=True)
class SetKey:
    """One kernel set, in our words; a backend knows its name."""

    group: str
    family: Family
    kind: Kind


@dataclass(slots=True)
class Page:
    """One parsed answer of the decision stream, by columns: row i of the four lists is one decision."""

    startup: bool
    ids: array[int] = field(default_factory=lambda: array("q"))
    keys: list[AddressKey] = field(default_factory=list)
    deadlines: array[int] = field(default_factory=lambda: array("q"))  # Millis
    labels: list[Label] = field(default_factory=list)
    ended: array[int] = field(default_factory=lambda: array("q"))  # ids of decisions that are over
    rejects: Counter[str] = field(default_factory=Counter)  # reason -> how many decisions were skipped for it
    # A few rejects for the log: the decision's id, if it has one that can be, and words, escaped.
    examples: list[tuple[int | None, str]] = field(default_factory=list)
    ignored: Counter[str] = field(
        default_factory=Counter
    )  # likewise, what is well-formed but not ours: "scope AS"


@dataclass(slots=True)
class SetChange:
    """What one set needs. `remove` and `renew` name elements that the kernel holds or held a moment ago."""

    flush: bool = False  # empty the set first, in the same transaction: what it holds isn't known
    remove: list[Element] = field(default_factory=list)
    renew: list[tuple[Element, Millis]] = field(default_factory=list)
    add: list[tuple[Element, Millis]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.remove) + len(self.renew) + len(self.add)

    def __bool__(self) -> bool:
        return self.flush or len(self) > 0


Change: TypeAlias = dict[SetKey, SetChange]
# What a kernel holds: element -> deadline. A deadline of FOREVER is an element without a timeout.
Holding: TypeAlias = dict[SetKey, dict[Element, Millis]]
FOREVER: Millis = 2**62
# The group of every decision where the administrator's own set takes them all.
ONE_GROUP = "all"
# Not a group of bans but who passes ahead of them. No origin's group can be called so: see core/names.py.
NEVER_BLOCK = "never-block"
# Nor is this one a group of bans: it is the name of the counter of all packets that our chains see.
PROCESSED = "processed"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a backend lays decisions out in sets."""

    flatten: bool  # ranges become disjoint intervals (nftables); otherwise nested networks stay as they are (ipset)
    mixed: frozenset[tuple[str, Family]] = (
        frozenset()
    )  # (group, family) whose one set takes hosts and ranges alike
    timeless: frozenset[SetKey] = frozenset()  # sets without timeouts: the daemon itself removes what ends
    sizes: tuple[tuple[SetKey, int], ...] = ()  # sets that hold no more than so many elements
    spares: frozenset[Family] = (
        frozenset()
    )  # families with a never-block set ahead of the bans; in the others it is cut out of the bans' sets
    unread: frozenset[SetKey] = frozenset()  # sets too large to be dumped: they are flushed and filled anew


def family_of(key: AddressKey) -> Family:
    """Return the family that a key's length tells."""
    return Family.of(len(key))


def is_range(key: AddressKey) -> bool:
    """Tell a network's key from a host's."""
    return len(key) & 1 == 1
