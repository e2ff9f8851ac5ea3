"""Which decisions a list holds: the fast way chooses what a plain look at each would."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.addresses import read
from fwbouncer.core.ledger import Ledger
from fwbouncer.core.model import Family, Label, family_of
from fwbouncer.core.ranges import span
from fwbouncer.core.selection import Selection, Sieve
from tests.unit.core_naive import ADDRESSES, GROUPS, network, page, thorough

if TYPE_CHECKING:
    from fwbouncer.core.model import AddressKey
    from fwbouncer.core.selection import Claim

LABELS = [
    Label(origin, scenario, kind, GROUPS[0])
    for origin in ("CAPI", "crowdsec", "cscli-import")
    for scenario in ("crowdsecurity/ssh-bf", "manual [1]", "")
    for kind in ("ban", "captcha")
]
KEYS = st.builds(network, st.sampled_from(ADDRESSES), st.integers(0, 5))
CLAIMS = st.lists(st.tuples(KEYS, st.integers(1, 50), st.sampled_from(LABELS)), max_size=20)
SELECTIONS = st.builds(
    Selection,
    origin=st.sampled_from(["", "capi", "C*", "cscli", "cscli*"]),
    scenario=st.sampled_from(["", "*ssh*", "MANUAL*", "*[[]1]", "?"]),
    type=st.sampled_from(["", "ban", "c*"]),
    family=st.sampled_from([None, *Family]),
    within=st.none() | KEYS,
    before=st.none() | st.integers(1, 50),
)


def _meant(claim: Claim, wanted: Selection) -> bool:
    _, key, deadline, label = claim
    for name in ("origin", "scenario", "type"):
        pattern = getattr(wanted, name)
        if pattern and not fnmatchcase(getattr(label, name).casefold(), pattern.casefold()):
            return False
    if wanted.family is not None and family_of(key) is not wanted.family:
        return False
    if wanted.before is not None and deadline >= wanted.before:
        return False
    return wanted.within is None or _meet(key, wanted.within)


def _meet(one: AddressKey, other: AddressKey) -> bool:
    family = family_of(one)
    if family_of(other) is not family:
        return False
    (a, b), (c, d) = span(one, family), span(other, family)
    return a <= d and c <= b


@thorough
@given(CLAIMS, SELECTIONS, st.integers(1, 7))
def test_the_sieve_lets_through_what_is_meant(
    claims: list[tuple[AddressKey, int, Label]], wanted: Selection, step: int
) -> None:
    """Walked over in slices of any length, a ledger gives each claim that is meant, and gives it once."""
    ledger = Ledger()
    every = [(n, key, 1000 + deadline, label) for n, (key, deadline, label) in enumerate(claims)]
    ledger.absorb(page(every), 0)
    ledger.absorb(page([], ended=[0, 3]), 0)
    later = Selection(
        wanted.origin,
        wanted.scenario,
        wanted.type,
        wanted.family,
        wanted.within,
        None if wanted.before is None else wanted.before + 1000,
    )
    sieve = Sieve(later)
    found = list(sieve.around(ledger))
    for at in range(0, ledger.rows, step):
        found += sieve.sift(ledger.section(at, at + step))
    assert sorted(found) == [claim for claim in every if claim[0] not in (0, 3) and _meant(claim, later)]


def test_a_range_finds_what_is_around_it() -> None:
    """Who asks for an address gets the ban of the network that it is in."""
    ledger = Ledger()
    ledger.absorb(page([(1, read("10.0.0.0/8"), 99, LABELS[0]), (2, read("10.1.0.0/16"), 99, LABELS[0])]), 0)
    sieve = Sieve(Selection(within=read("10.1.2.3")))
    assert [claim[0] for claim in sieve.around(ledger)] == [2, 1]
    assert not list(sieve.sift(ledger.section(0, ledger.rows)))
