"""What the core should be doing, written so plainly that it can hardly be wrong; random input for both."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st

from fwbouncer.core.ledger import JITTER
from fwbouncer.core.model import AddressKey, Label, Millis, Page, family_of
from tests.effort import examples

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HOUR: Millis = 3_600_000
# Machines that test are slow at times: no example fails for its time alone.
thorough = settings(max_examples=examples(100))
# Corners of sixteen addresses each: at the very bottom, in the middle, at the very top.
CORNERS = tuple(
    ip_address(text).packed
    for text in ("255.255.255.240", "2001:db8::40", "0.0.0.0", "10.0.0.64", "::", "ffff:" * 7 + "fff0")
)
ADDRESSES = tuple((int.from_bytes(c, "big") + n).to_bytes(len(c), "big") for c in CORNERS for n in range(16))
GROUPS = ("crowdsec", "CAPI")
LABELS = (
    Label("crowdsec", "ssh-bf", "ban", GROUPS[0]),
    Label("crowdsec", "smtp-bf", "ban", GROUPS[0]),
    Label("CAPI", "ssh-bf", "ban", GROUPS[1]),
)


def network(address: bytes, bits: int) -> AddressKey:
    """Return the key of the network around an address that leaves so many bits open; 0 is the host."""
    if bits == 0:
        return address
    first = int.from_bytes(address, "big") >> bits << bits
    return first.to_bytes(len(address), "big") + bytes([len(address) * 8 - bits])


def holds(key: AddressKey, address: bytes) -> bool:
    """Tell whether an address is the key's own or in its network."""
    if len(key) in {4, 16}:
        return key == address
    bits = 8 * len(address) - key[-1]
    return family_of(key) is family_of(address) and network(address, bits) == key


def page(
    rows: Iterable[tuple[int, AddressKey, Millis, Label]], ended: Iterable[int] = (), *, startup: bool = False
) -> Page:
    """Build a page from rows instead of columns."""
    made = Page(startup, ended=array("q", ended))
    for decision, key, deadline, label in rows:
        made.ids.append(decision)
        made.keys.append(key)
        made.deadlines.append(deadline)
        made.labels.append(label)
    return made


@dataclass(slots=True)
class Claim:
    """One decision."""

    key: AddressKey
    deadline: Millis
    label: Label


@dataclass(slots=True)
class Naive:
    """Who must be banned: every decision in a dict, every question a loop over all of them."""

    claims: dict[int, Claim] = field(default_factory=dict)

    def absorb(self, page: Page) -> None:
        """Take a page in: what ended, then what is new."""
        self.drop(page.ended)
        for decision, key, deadline, label in zip(
            page.ids, page.keys, page.deadlines, page.labels, strict=True
        ):
            old = self.claims.get(decision)
            same = old is not None and (old.key, old.label) == (key, label)
            if old is None or not same or abs(old.deadline - deadline) > JITTER:
                self.claims[decision] = Claim(key, deadline, label)

    def drop(self, decisions: Iterable[int]) -> None:
        """End claims."""
        for decision in decisions:
            self.claims.pop(decision, None)

    def regroup(self, again: Mapping[Label, Label | None]) -> None:
        """Sort claims anew."""
        for decision, claim in list(self.claims.items()):
            label = again[claim.label]
            if label is None:
                del self.claims[decision]
            elif label.group != claim.label.group:
                self.claims[decision] = Claim(claim.key, claim.deadline, label)

    def expire(self, now: Millis) -> int:
        """End what has run out."""
        over = [decision for decision, claim in self.claims.items() if claim.deadline <= now]
        self.drop(over)
        return len(over)

    def deadline(self, group: str, key: AddressKey) -> Millis:
        """Return until when exactly this key is banned by a group."""
        return max(
            (c.deadline for c in self.claims.values() if (c.key, c.label.group) == (key, group)), default=0
        )

    def until(self, group: str, address: bytes) -> Millis:
        """Return until when a group bans an address, by itself or in a network."""
        found = (c.deadline for c in self.claims.values() if c.label.group == group and holds(c.key, address))
        return max(found, default=0)

    def places(self) -> set[tuple[str, AddressKey]]:
        """Return what is claimed by which group."""
        return {(claim.label.group, claim.key) for claim in self.claims.values()}


IDS = st.integers(1, 12)
# From one that is over at once, by way of the LAPI's rounding, to the longest that anybody bans.
DURATIONS = st.one_of(
    st.integers(1, 3_000),
    st.integers(3_000, 60_000),
    st.sampled_from([4 * HOUR, 4 * HOUR + JITTER, 4 * HOUR + JITTER + 1, 24 * HOUR, 24 * 366 * HOUR]),
)


def keys(corners: int = len(CORNERS)) -> st.SearchStrategy[AddressKey]:
    """Draw hosts, and networks of 2 to 16 addresses, that often hold each other."""
    addresses = st.sampled_from(ADDRESSES[: 16 * corners])
    return st.builds(network, addresses, st.sampled_from([0, 0, 1, 2, 3, 4]))


def pages(
    now: Millis, *, startup: st.SearchStrategy[bool] | None = None, corners: int = len(CORNERS)
) -> st.SearchStrategy[Page]:
    """Draw pages in which ids come twice, come again with another address, and end without having been."""
    row = st.tuples(
        IDS, keys(corners), DURATIONS.map(lambda duration: now + duration), st.sampled_from(LABELS)
    )
    return st.builds(
        lambda rows, ended, startup: page(rows, ended, startup=startup),
        st.lists(row, max_size=6),
        st.lists(IDS, max_size=3),
        st.just(False) if startup is None else startup,
    )
