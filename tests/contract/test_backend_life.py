"""What every backend does with its own: adopting, mending and removing it, counting, naming, and being full."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fwbouncer.core.model import FOREVER, ONE_GROUP, Family, Kind, SetChange, SetKey
from fwbouncer.errors import SetFull
from tests.contract.kernels import where
from tests.contract.subjects import MINUTE

if TYPE_CHECKING:
    from fwbouncer.kernel.backend import Backend
    from tests.contract.subjects import Subject

NET4, NET6 = "198.18.16.0/20", "2001:db8:ba1::/48"
HOST4, HOST6 = "198.18.0.7", "2001:db8:ba0::7"
ALL = dict.fromkeys((NET4, NET6, HOST4, HOST6), MINUTE)


class TestAdoption:
    """A second life finds what the first one left."""

    def test_a_dump_is_what_was_put(self, subject: Subject) -> None:
        """Every element of every set, each with its deadline; one is later by no more than the writing took."""
        began = subject.now()
        change = subject.change(add=ALL)
        subject.backend().apply(change)
        held = {target: elements for target, elements in subject.backend().dump().items() if elements}
        spent = subject.now() - began
        assert held.keys() == change.keys()
        for target, part in change.items():
            for element, deadline in part.add:
                off = held[target].pop(element) - deadline
                assert -200 - subject.late < off < 200 + subject.late + spent
            assert held[target] == {}

    def test_adopting_writes_nothing(self, subject: Subject) -> None:
        """Who finds all as it must be leaves it alone, down to the counters."""
        subject.backend().apply(subject.change(add=ALL))
        before = subject.generation()
        second = subject.backend()
        assert second.whole()
        second.apply({})
        assert subject.generation() == before

    @where("builds")
    def test_counters_survive(self, subject: Subject) -> None:
        """What was dropped stays counted through changes, new groups and adoption."""
        backend = subject.backend()
        backend.apply(subject.change(add=ALL))
        subject.passing(HOST4, HOST4, "198.18.16.9")
        backend.apply(subject.change(remove=(NET4,), add={"198.18.0.8": MINUTE}))
        backend.apply(subject.change(group="CAPI", add={"198.18.0.9": MINUTE}))
        second = subject.backend()
        second.apply({})
        subject.passing("198.18.0.8", "198.18.0.9")
        assert _packets(second, subject.group) >= 3
        assert _packets(second, "CAPI") == 1
        assert _packets(second, "processed") >= 4


class TestSkeleton:
    """What stands around the sets."""

    @where("builds")
    def test_nothing_is_not_whole(self, subject: Subject) -> None:
        """Before the first change there is something to do, and after it there is not."""
        backend = subject.backend()
        assert not backend.whole()
        backend.apply({})
        assert backend.whole()
        assert subject.backend().whole()

    def test_after_a_flush_an_empty_change_and_the_bans_mend_all(self, subject: Subject) -> None:
        """Somebody flushes; the next look finds it out; the same bans go in again."""
        backend = subject.backend()
        backend.apply(subject.change(add=ALL))
        subject.flush()
        held = backend.dump()
        if not any(held.values()):  # an owned table is still there
            assert not (subject.builds and backend.whole())
            backend.apply(subject.change(add=ALL))
        assert backend.whole()
        assert subject.passing(HOST4, HOST6, "198.18.16.9", "2001:db8:ba1::9", "198.18.0.6") == {"198.18.0.6"}


class TestWatching:
    """What happens behind the backend's back."""

    def test_what_others_do_is_noticed_and_what_we_do_is_not(self, subject: Subject) -> None:
        """Changes of our own go unremarked; a flush shows at the next look, unless it could do nothing."""
        backend = subject.backend()
        changes = (
            subject.change(add=ALL),
            subject.change(renew={HOST4: 9 * MINUTE}, remove=(HOST6,)),
            subject.change(add={"198.18.0.8": MINUTE}),
        )
        for change in changes:
            backend.apply(change)
            assert backend.disturbed() is None
        subject.flush()
        noticed = backend.disturbed()
        assert (noticed is None) == any(backend.dump().values())
        backend.apply(changes[0])
        assert backend.disturbed() is None


class TestRemoving:
    """The end."""

    def test_nothing_is_left(self, subject: Subject) -> None:
        """No table, no set, no rule, and every packet passes."""
        backend = subject.backend()
        backend.apply(subject.change(add=ALL))
        backend.remove()
        assert subject.empty()
        assert subject.passing(HOST4, HOST6) == {HOST4, HOST6}

    def test_removing_twice_is_the_same_as_once(self, subject: Subject) -> None:
        """Nothing is no error."""
        backend = subject.backend()
        backend.remove()
        backend.apply(subject.change(add=ALL))
        backend.remove()
        backend.remove()
        assert subject.empty()

    def test_a_removed_backend_can_begin_again(self, subject: Subject) -> None:
        """All of it is built anew, with the next change."""
        backend = subject.backend()
        backend.apply(subject.change(add=ALL))
        backend.remove()
        backend.dump()
        backend.apply(subject.change(add={HOST4: MINUTE}))
        assert subject.passing(HOST4, HOST6) == {HOST6}

    def test_what_belongs_to_others_is_never_touched(self, subject: Subject) -> None:
        """What others have lives through everything, also what is named almost like ours."""
        subject.crowd()
        before = subject.others()
        backend = subject.backend()
        backend.apply(subject.change(add=ALL))
        backend.apply(subject.change(remove=tuple(ALL)))
        assert subject.others() == before
        backend.remove()
        assert subject.others() == before


@where("builds")
class TestGroups:
    """Sets for each group."""

    @pytest.mark.parametrize(
        "group",
        ["a", "lists-firehol_voip.txt", "0", "-", "..", "x" * 100, "Drop", "policy", "a-ranges.b", "CAPI_2"],
    )
    def test_odd_names_are_names(self, subject: Subject, group: str) -> None:
        """Every name that decisions can have makes a set that bans and is known again."""
        change = subject.change(group=group, add=ALL)
        subject.backend().apply(change)
        assert subject.passing(HOST4, HOST6, "198.18.16.9", "2001:db8:ba1::9") == set()
        held = subject.backend().dump()
        assert {target for target, elements in held.items() if elements} == set(change)

    def test_many_groups_stand_side_by_side(self, subject: Subject) -> None:
        """Sixty-five groups that come one by one and at once; each bans its own."""
        backend = subject.backend()
        for number in range(65):
            change = subject.change(group=f"group-{number}", add={f"198.18.1.{number}": MINUTE})
            backend.apply(change)
        assert subject.passing(*(f"198.18.1.{number}" for number in range(66))) == {"198.18.1.65"}
        assert subject.backend().whole()

    def test_one_address_in_two_groups_is_free_when_both_let_go(self, subject: Subject) -> None:
        """Groups don't know each other."""
        backend = subject.backend()
        for group in ("one", "two"):
            backend.apply(subject.change(group=group, add={HOST4: MINUTE}))
        backend.apply(subject.change(group="one", remove=(HOST4,)))
        assert subject.passing(HOST4) == set()
        backend.apply(subject.change(group="two", remove=(HOST4,)))
        assert subject.passing(HOST4) == {HOST4}


class TestGiven:
    """Sets that the administrator made: what they can't do is asked of nobody."""

    TARGET = SetKey(ONE_GROUP, Family.V4, Kind.HOSTS)

    @where("tight")
    def test_a_full_set_says_so_and_keeps_what_it_has(self, subject: Subject) -> None:
        """One too many is refused with all that came along with it."""
        subject.give(size=2)
        backend = subject.backend()
        assert dict(backend.layout().sizes)[self.TARGET] == 2
        backend.apply(subject.change(group=ONE_GROUP, add={"192.0.2.1": MINUTE}))
        with pytest.raises(SetFull):
            backend.apply(subject.change(group=ONE_GROUP, add={"192.0.2.2": MINUTE, "192.0.2.3": MINUTE}))
        assert len(backend.dump()[self.TARGET]) == 1

    @where("tight")
    def test_in_a_full_set_those_who_go_make_room_for_those_who_come(self, subject: Subject) -> None:
        """In the same change; and who stays can be renewed."""
        subject.give(size=2)
        backend = subject.backend()
        backend.apply(subject.change(group=ONE_GROUP, add={"192.0.2.1": MINUTE, "192.0.2.2": MINUTE}))
        change = subject.change(
            group=ONE_GROUP, remove=("192.0.2.1",), renew={"192.0.2.2": 9 * MINUTE}, add={"192.0.2.3": MINUTE}
        )
        backend.apply(change)
        assert sorted(backend.dump()[self.TARGET]) == [bytes([192, 0, 2, 2]), bytes([192, 0, 2, 3])]

    @where("flat")
    def test_an_interval_set_takes_hosts_and_ranges(self, subject: Subject) -> None:
        """All of them as intervals, in the one set that there is."""
        subject.give(interval=True)
        backend = subject.backend()
        assert backend.layout().mixed == {(ONE_GROUP, Family.V4)}
        told = {"192.0.2.1": MINUTE, "192.0.2.16/28": MINUTE, "192.0.2.0-192.0.2.0": MINUTE}
        backend.apply(subject.change(group=ONE_GROUP, mixed=True, add=told))
        assert len(backend.dump()[self.TARGET]) == 3
        assert subject.left("192.0.2.31") is not None
        assert subject.left("192.0.2.2") is None

    @where("given")
    def test_a_set_without_timeouts_holds_for_ever(self, subject: Subject) -> None:
        """Nothing ends by itself there, and everything can be removed."""
        subject.give(timed=False)
        backend = subject.backend()
        assert self.TARGET in backend.layout().timeless
        address = bytes([192, 0, 2, 1])
        backend.apply({self.TARGET: SetChange(add=[(address, subject.now() + 200)])})
        subject.sleep(300)
        assert backend.dump()[self.TARGET] == {address: FOREVER}
        backend.apply({self.TARGET: SetChange(renew=[(address, subject.now() + MINUTE)])})
        backend.apply({self.TARGET: SetChange(remove=[address])})
        assert backend.dump()[self.TARGET] == {}


def _packets(backend: Backend, group: str) -> int:
    return sum(counted.packets for counted in backend.counters() if counted.group == group)
