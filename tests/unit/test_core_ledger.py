"""Claims by decision id, held against a dict that knows no shortcuts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.ledger import JITTER, Ledger
from fwbouncer.core.model import Label, family_of
from tests.unit.core_naive import DURATIONS, HOUR, IDS, LABELS, Naive, page, pages, thorough

if TYPE_CHECKING:
    from fwbouncer.core.model import AddressKey, Millis

A: AddressKey = bytes([192, 0, 2, 1])
B: AddressKey = bytes([192, 0, 2, 2])
SSH, SMTP, CAPI = LABELS
NOW: Millis = 1_000_000


def _same(naive: Naive, ledger: Ledger) -> None:
    expected = {
        (decision, claim.key, claim.deadline, claim.label) for decision, claim in naive.claims.items()
    }
    held = {
        (i, key, deadline, label)
        for _, key, _ in ledger.addresses()
        for i, deadline, label in ledger.claims(key)
    }
    assert expected == held
    assert expected == {
        row for row in zip(*ledger.section(0, ledger.rows), strict=True) if row[3] is not None
    }
    assert Counter((c.label, len(c.key)) for c in naive.claims.values()) == _counted(ledger)
    assert len(expected) == len(ledger)
    listed = list(ledger.addresses())
    assert {(group, key, naive.deadline(group, key)) for group, key in naive.places()} == set(listed)
    assert len(listed) == len(set(listed))
    banned = Counter((group, family_of(key)) for group, key in naive.places())
    assert banned == Counter(ledger.census.banned())


def _counted(ledger: Ledger) -> Counter[tuple[Label, int]]:
    counts: Counter[tuple[Label, int]] = Counter()
    for label, length, count in ledger.census:
        counts[label, length] += count
    return counts


@thorough
@given(st.data())
def test_any_history_ends_as_in_the_naive_model(data: st.DataObject) -> None:
    """Pages, repeated ids, changed addresses, snapshots and time: the claims are those of a plain dict."""
    now, ledger, naive = NOW, Ledger(), Naive()
    for _ in range(data.draw(st.integers(1, 8), "steps")):
        answer = data.draw(pages(now, startup=st.booleans()), "page")
        ledger.absorb(answer, now)
        naive.absorb(answer)
        if answer.startup:
            gone = [i for i, c in naive.claims.items() if i not in answer.ids and c.deadline > now + JITTER]
            assert sorted(gone) == sorted(ledger.missing(now))
            ledger.drop(gone)
            naive.drop(gone)
        _same(naive, ledger)
        again = {label: data.draw(st.sampled_from([label, *LABELS, None])) for label in LABELS}
        naive.regroup(again)
        ledger.regroup(lambda label, _, again=again: again[label])  # type: ignore[misc]
        _same(naive, ledger)
        now += data.draw(st.one_of(st.integers(0, 5_000), DURATIONS), "time passes")
        assert naive.expire(now) == ledger.expire(now)
        _same(naive, ledger)


@thorough
@given(st.data())
def test_notes_tell_what_stood_before_any_change(data: st.DataObject) -> None:
    """What changed since the last look is noted with its deadline at that look; nothing else changed."""
    now, ledger, naive = NOW, Ledger(), Naive()
    for _ in range(data.draw(st.integers(1, 6), "steps")):
        before = {(group, key): naive.deadline(group, key) for group, key in naive.places()}
        for _ in range(data.draw(st.integers(1, 3), "pages before a look")):
            answer = data.draw(pages(now), "page")
            ledger.absorb(answer, now)
            naive.absorb(answer)
            now += data.draw(DURATIONS, "time passes")
            ledger.expire(now)
            naive.expire(now)
        notes = {
            (g, k): deadline
            for (g, _), found in ledger.take_touched().items()
            for k, deadline in found.items()
        }
        assert {place: before.get(place, 0) for place in notes} == notes
        for place in before.keys() | naive.places():
            assert place in notes or before.get(place, 0) == naive.deadline(*place)
        assert ledger.take_touched() == {}


@thorough
@given(st.data())
def test_the_alarm_is_never_late(data: st.DataObject) -> None:
    """Whoever sleeps until `next_expiry` misses no deadline, and does not wake for nothing all the time."""
    now, ledger, naive = NOW, Ledger(), Naive()
    for _ in range(data.draw(st.integers(1, 6), "steps")):
        answer = data.draw(pages(now), "page")
        ledger.absorb(answer, now)
        naive.absorb(answer)
        first = min((claim.deadline for claim in naive.claims.values()), default=None)
        alarm = ledger.next_expiry()
        assert first is None or (alarm is not None and alarm <= first)
        if data.draw(st.booleans(), "expire now"):
            assert naive.expire(now) == ledger.expire(now)
        for _ in range(data.draw(st.integers(0, 4), "alarms")):
            alarm = ledger.next_expiry()
            if alarm is None:
                assert not naive.claims
                break
            now = max(now, alarm)
            assert all(claim.deadline >= now for claim in naive.claims.values())
            assert naive.expire(now) == ledger.expire(now)


def test_sleeping_from_alarm_to_alarm_ends() -> None:
    """A claim of a year is ended after a few wakings, not after one each window."""
    ledger = Ledger()
    ledger.absorb(page([(1, A, NOW + 365 * 24 * HOUR, SSH)]), NOW)
    wakings = 0
    while (alarm := ledger.next_expiry()) is not None:
        ledger.expire(alarm)
        wakings += 1
    assert len(ledger) == 0
    assert wakings <= 3


class TestOneAddress:
    """Decisions on the same address."""

    def test_the_end_of_one_leaves_the_other(self) -> None:
        """An address is free only when its last decision has ended."""
        ledger = Ledger()
        ledger.absorb(page([(1, A, NOW + HOUR, SSH), (2, A, NOW + 2 * HOUR, SMTP)]), NOW)
        ledger.absorb(page([], ended=[2]), NOW)
        assert ledger.deadline(SSH.group, A) == NOW + HOUR
        ledger.absorb(page([], ended=[1]), NOW)
        assert ledger.deadline(SSH.group, A) == 0

    def test_ending_twice_is_the_same_as_once(self) -> None:
        """The LAPI tells an end twice: its windows overlap."""
        ledger = Ledger()
        ledger.absorb(page([(1, A, NOW + HOUR, SSH), (2, A, NOW + HOUR, SSH)]), NOW)
        for _ in range(2):
            ledger.absorb(page([], ended=[1]), NOW)
        assert ledger.deadline(SSH.group, A) == NOW + HOUR

    def test_a_page_that_ends_and_renews_keeps_the_ban(self) -> None:
        """What ended counts before what is new."""
        ledger = Ledger()
        ledger.absorb(page([(1, A, NOW + HOUR, SSH)]), NOW)
        ledger.absorb(page([(1, A, NOW + 2 * HOUR, SSH)], ended=[1]), NOW)
        assert ledger.deadline(SSH.group, A) == NOW + 2 * HOUR

    def test_a_renewal_counts_also_where_it_is_shorter(self) -> None:
        """The LAPI's latest word on a decision is the one that holds."""
        ledger = Ledger()
        for deadline in (NOW + HOUR, NOW + 3 * HOUR, NOW + 2 * HOUR):
            ledger.absorb(page([(1, A, deadline, SSH)]), NOW)
            assert deadline == ledger.deadline(SSH.group, A)

    def test_rounding_is_no_renewal(self) -> None:
        """A deadline told a second earlier or later, over and over, changes nothing and never adds up."""
        ledger = Ledger()
        ledger.absorb(page([(1, A, NOW + HOUR, SSH)]), NOW)
        ledger.take_touched()
        for late in (JITTER, -JITTER, JITTER, 700, 0):
            ledger.absorb(page([(1, A, NOW + HOUR + late, SSH)], startup=True), NOW)
        assert ledger.take_touched() == {}
        assert ledger.deadline(SSH.group, A) == NOW + HOUR

    def test_an_id_that_names_another_address_frees_the_old_one(self) -> None:
        """After the LAPI's database was made anew its ids start over."""
        ledger = Ledger()
        ledger.absorb(page([(1, A, NOW + HOUR, SSH)]), NOW)
        ledger.absorb(page([(1, B, NOW + HOUR, CAPI)]), NOW)
        assert ledger.deadline(SSH.group, A) == 0
        assert ledger.deadline(CAPI.group, B) == NOW + HOUR
        assert len(ledger) == 1


class TestDoubt:
    """Ends that may hide others."""

    def test_an_early_end_beside_another_claim_of_the_same_origin_is_doubtful(self) -> None:
        """The other decision may have been deleted with its alert, of which the LAPI says nothing."""
        ledger = Ledger()
        ledger.absorb(page([(1, A, NOW + HOUR, SSH), (2, A, NOW + HOUR, SMTP)]), NOW)
        assert ledger.absorb(page([], ended=[1]), NOW)

    def test_running_out_is_not_doubtful(self) -> None:
        """An end at the deadline is what everybody expects."""
        ledger = Ledger()
        ledger.absorb(page([(1, A, NOW + 2_000, SSH), (2, A, NOW + HOUR, SMTP)]), NOW)
        assert not ledger.absorb(page([], ended=[1]), NOW)

    def test_an_end_beside_another_origin_is_not_doubtful(self) -> None:
        """Origins don't share alerts."""
        ledger = Ledger()
        ledger.absorb(page([(1, A, NOW + HOUR, SSH), (2, A, NOW + HOUR, CAPI)]), NOW)
        assert not ledger.absorb(page([], ended=[1]), NOW)


def test_rows_are_used_again() -> None:
    """A ledger through which a million decisions have gone is as large as what it holds."""
    ledger = Ledger()
    for round_ in range(50):
        rows = [(round_ * 100 + n, bytes([10, 0, 0, n]), NOW + round_ + 1, SSH) for n in range(100)]
        ledger.absorb(page(rows), NOW + round_)
        ledger.expire(NOW + round_ + 1)
    assert len(ledger) == 0
    assert len(ledger._ids) == 100
    assert ledger.next_expiry() is None


def test_census_counts_by_origin_and_kind_of_address() -> None:
    """Status shows how many claims each origin has, and how many are hosts and networks of each family."""
    ledger = Ledger()
    rows: list[tuple[int, AddressKey, Millis, Label]] = [
        (1, A, NOW + HOUR, SSH),
        (2, A, NOW + HOUR, CAPI),
        (3, bytes([10, 0, 0, 0, 8]), NOW + HOUR, CAPI),
        (4, b"\1" * 16, NOW + HOUR, CAPI),
    ]
    ledger.absorb(page(rows), NOW)
    ledger.absorb(page([], ended=[2]), NOW)
    counted = {(label.origin, length): count for label, length, count in ledger.census}
    assert counted == {("crowdsec", 4): 1, ("CAPI", 5): 1, ("CAPI", 16): 1}


@thorough
@given(st.lists(IDS, max_size=4))
def test_dropping_what_is_not_there_changes_nothing(decisions: list[int]) -> None:
    """Unknown ids are nobody's."""
    ledger = Ledger()
    ledger.drop(decisions)
    ledger.absorb(page([], ended=decisions), NOW)
    assert ledger.take_touched() == {}


def test_labels_are_let_go_of() -> None:
    """A scenario that no claim has any more takes no memory, however many there were."""
    ledger = Ledger()
    for n in range(100):
        label = Label("crowdsec", f"scenario {n}", "ban", "crowdsec")
        ledger.absorb(page([(n, A, NOW + 10, label), (-1 - n, B, NOW + 10, label)]), NOW)
        ledger.absorb(page([], ended=[n, -1 - n]), NOW)
    assert not ledger.census._labels
    assert not ledger.census._counts
