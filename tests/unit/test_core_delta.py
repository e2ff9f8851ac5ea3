"""What is told to the kernel, and what is believed afterwards: cases that once went wrong, or easily could."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.core.delta import GRACE, TOLERANCE, Delta
from fwbouncer.core.model import FOREVER, Family, Kind, Layout, SetChange, SetKey
from fwbouncer.core.room import squeeze

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwbouncer.core.model import Element, Millis

NOW: Millis = 1_000_000
SET = SetKey("crowdsec", Family.V4, Kind.HOSTS)
A, B, C, D = (bytes([192, 0, 2, n]) for n in range(4))


class Wishes:
    """What is wanted, as a dict."""

    def __init__(self, **elements: Millis) -> None:
        self.wanted = {bytes([192, 0, 2, "ABCD".index(name)]): until for name, until in elements.items()}

    def deadlines(self, target: SetKey, elements: Iterable[Element]) -> Iterable[Millis]:
        """Look up in the dict."""
        return (self.wanted.get(element, 0) for element in elements)

    def elements(self) -> Iterable[tuple[SetKey, Element, Millis]]:
        """Yield the dict."""
        return ((SET, element, until) for element, until in self.wanted.items())


class TestBelief:
    """Only acknowledged writes move it."""

    def test_a_failed_write_is_planned_again(self) -> None:
        """A plan that nobody acknowledged changes nothing."""
        delta, wishes = Delta(), Wishes(A=NOW + 5000)
        delta.note({SET: {A: 0}})
        assert delta.plan(wishes, NOW) == delta.plan(wishes, NOW) == {SET: SetChange(add=[(A, NOW + 5000)])}

    def test_what_was_acknowledged_is_not_told_again(self) -> None:
        """At rest nothing is noted."""
        delta, wishes = Delta(), Wishes(A=NOW + 5000)
        delta.note({SET: {A: 0}})
        delta.commit(delta.plan(wishes, NOW), wishes)
        assert (delta.plan(wishes, NOW), len(delta)) == ({}, 0)

    def test_a_change_during_the_write_is_told_by_the_next(self) -> None:
        """The kernel is believed to hold what it was told, not what has become of it since."""
        delta, wishes = Delta(), Wishes(A=NOW + 5000)
        delta.note({SET: {A: 0}})
        change = delta.plan(wishes, NOW)
        wishes.wanted[A] = NOW + 9000
        delta.note({SET: {A: NOW + 5000}})
        delta.commit(change, wishes)
        assert delta.plan(wishes, NOW) == {SET: SetChange(renew=[(A, NOW + 9000)])}

    def test_what_ran_out_needs_no_word(self) -> None:
        """The kernel removes by itself what has come to its end."""
        delta, wishes = Delta(), Wishes()
        delta.note({SET: {A: NOW - 1}})
        assert delta.plan(wishes, NOW) == {}
        assert len(delta) == 1
        delta.plan(wishes, NOW + GRACE)
        assert len(delta) == 0

    def test_a_ban_right_after_the_last_one_ended_is_a_renewal(self) -> None:
        """The old element may still be there, and a plain add would leave its end as it is."""
        delta, wishes = Delta(), Wishes(A=NOW + 5000)
        delta.note({SET: {A: NOW - 1}})
        assert delta.plan(wishes, NOW) == {SET: SetChange(renew=[(A, NOW + 5000)])}


class TestDump:
    """Starting over from what the kernel holds."""

    def test_adoption_writes_nothing(self) -> None:
        """Deadlines that the LAPI's rounding moved a little are left as they are."""
        delta = Delta()
        assert (
            delta.rebase({SET: {A: NOW + 5000 - TOLERANCE}}, Wishes(A=NOW + 5000), Layout(flatten=True), NOW)
            == 0
        )

    def test_an_element_without_a_timeout_gets_one(self) -> None:
        """Somebody put it there by hand, or a `0s` did: no ban is for ever."""
        delta, wishes = Delta(), Wishes(A=NOW + 5000)
        delta.rebase({SET: {A: FOREVER, B: FOREVER}}, wishes, Layout(flatten=True), NOW)
        assert delta.plan(wishes, NOW) == {SET: SetChange(remove=[B], renew=[(A, NOW + 5000)])}

    def test_what_a_timeless_set_lacks_is_put_in(self) -> None:
        """Also where the set is there and holds others."""
        delta, wishes = Delta(), Wishes(A=NOW + 5000, B=NOW + 5000)
        delta.rebase({SET: {A: FOREVER}}, wishes, Layout(flatten=True, timeless=frozenset({SET})), NOW)
        assert [element for element, _ in delta.plan(wishes, NOW)[SET].renew] == [B]

    def test_what_a_set_lacks_may_be_in_the_way_still(self) -> None:
        """A dump hides what has just run out, and before Linux 6.12 a plain add would leave that as it is."""
        delta, wishes = Delta(), Wishes(A=NOW + 5000)
        delta.rebase({SET: {}}, wishes, Layout(flatten=True), NOW)
        assert delta.plan(wishes, NOW) == {SET: SetChange(renew=[(A, NOW + 5000)])}


class TestRoom:
    """Sets of fixed size."""

    @staticmethod
    def _delta(wishes: Wishes, size: int, **held: Millis) -> Delta:
        delta = Delta()
        delta.rebase({SET: Wishes(**held).wanted}, wishes, Layout(flatten=True, sizes=((SET, size),)), NOW)
        return delta

    def test_what_a_dump_did_not_see_needs_a_place(self) -> None:
        """Told as a renewal it is a new element all the same."""
        wishes = Wishes(A=NOW + 5000, B=NOW + 6000, C=NOW + 7000)
        delta = self._delta(wishes, 2, A=NOW + 5000)
        assert delta.plan(wishes, NOW) == {SET: SetChange(renew=[(C, NOW + 7000)])}
        assert delta.held_back == 1

    def test_places_of_those_who_ran_out_are_given_away(self) -> None:
        """Nobody has to wait for the next dump to take a place that time has freed."""
        wishes = Wishes(A=NOW + 5000, B=NOW + 60_000)
        delta = self._delta(wishes, 1, A=NOW + 5000)
        assert (delta.plan(wishes, NOW), delta.held_back) == ({}, 1)
        del wishes.wanted[A]
        delta.note({SET: {A: NOW + 5000}})
        later = NOW + 5000 + GRACE
        delta.plan(wishes, later)
        assert delta.plan(wishes, later) == {SET: SetChange(renew=[(B, NOW + 60_000)])}

    def test_a_ban_is_not_cut_up_before_all_its_pieces_fit(self) -> None:
        """Else those would go free for whom there is no place."""
        pieces = [(A + B, 5), (C + C, 9), (D + D, 5)]
        part = SetChange(remove=[A + D], add=pieces)
        assert squeeze(part, 1, ()) == (SetChange(), 3)
        cut, waiting = squeeze(part, 2, ())
        assert (cut.remove, sorted(cut.add), waiting) == ([A + D], pieces, 0)

    def test_somebody_who_is_let_go_is_let_go_in_a_full_set_too(self) -> None:
        """Then those who last longest take the places."""
        part = SetChange(remove=[A + D], add=[(A + A, 5), (C + C, 9)])
        assert squeeze(part, 0, ()) == (SetChange(remove=[A + D], add=[(C + C, 9)]), 1)
