"""What every backend does with bans: who is out, until when, and what of it is done at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fwbouncer.core.model import Family, Kind, SetChange, SetKey
from fwbouncer.errors import KernelError
from tests.contract.kernels import where
from tests.contract.subjects import MINUTE

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwbouncer.core.model import Element, Holding, Millis
    from tests.contract.subjects import Subject

NET4, NET6 = "198.18.16.0/20", "2001:db8:ba1::/48"
EDGES4 = ("198.18.16.0", "198.18.31.255")
EDGES6 = ("2001:db8:ba1::", "2001:db8:ba1:ffff:ffff:ffff:ffff:ffff")
BESIDE = ("198.18.15.255", "198.18.32.0", "2001:db8:ba0:ffff:ffff:ffff:ffff:ffff", "2001:db8:ba2::")
HOSTS = ("198.18.0.7", "2001:db8:ba0::7")


def _about(expected: Millis, left: Millis | None) -> bool:
    """Tell whether a witness that counts in seconds may have meant that."""
    return left is not None and expected - 2500 <= left <= expected + 1500


def _settles(subject: Subject, read: Callable[[], int], expected: int) -> bool:
    """Read up to fifty times, until the number is the expected one."""
    for _ in range(50):
        if read() == expected:
            return True
        subject.sleep(100)
    return False


class TestAdding:
    """New bans."""

    def test_packets_of_the_banned_are_dropped_and_no_others(self, subject: Subject) -> None:
        """Hosts and networks, to their first and last address, in both families; their neighbours pass."""
        subject.backend().apply(subject.change(add=dict.fromkeys((NET4, NET6, *HOSTS), MINUTE)))
        beside = {*BESIDE, "198.18.0.6", "198.18.0.8", "2001:db8:ba0::6", "2001:db8:ba0::8"}
        assert subject.passing(*HOSTS, *EDGES4, *EDGES6, *beside) == beside

    def test_each_ban_has_its_own_end(self, subject: Subject) -> None:
        """The kernel knows every deadline, so it keeps them while nobody is there."""
        ends = {HOSTS[0]: MINUTE, HOSTS[1]: 5 * MINUTE, NET4: 60 * MINUTE, NET6: 24 * 60 * MINUTE}
        subject.backend().apply(subject.change(add=ends))
        for address, end in zip((*HOSTS, EDGES4[1], EDGES6[1]), ends.values(), strict=True):
            assert _about(end, subject.left(address)), address

    @pytest.mark.parametrize(
        ("network", "first", "last"),
        [
            ("0.0.0.0/24", "0.0.0.0", "0.0.0.255"),
            ("255.255.255.0/24", "255.255.255.0", "255.255.255.255"),
            ("255.255.255.255-255.255.255.255", "255.255.255.255", "255.255.255.255"),
            ("128.0.0.0/1", "128.0.0.0", "255.255.255.255"),
            ("::/16", "::", "0:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("ffff::/16", "ffff::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ],
    )
    def test_the_ends_of_the_address_space(
        self, subject: Subject, network: str, first: str, last: str
    ) -> None:
        """An interval whose end has no address behind it is an interval like any other: in, found, and out."""
        backend = subject.backend()
        backend.apply(subject.change(add={network: MINUTE}))
        assert _about(MINUTE, subject.left(first))
        assert _about(MINUTE, subject.left(last))
        held = backend.dump()
        assert [len(elements) for elements in held.values() if elements] == [1]
        backend.apply(subject.change(remove=(network,)))
        assert subject.left(first) is subject.left(last) is None

    def test_intervals_side_by_side_stay_apart(self, subject: Subject) -> None:
        """Where one ends and the next begins each keeps its own deadline, and each goes alone."""
        backend = subject.backend()
        parts = {
            "198.18.0.0-198.18.0.9": MINUTE,
            "198.18.0.10-198.18.0.10": 9 * MINUTE,
            "198.18.0.11-198.18.0.99": MINUTE,
        }
        change = subject.change(add=parts)
        backend.apply(change)
        assert _about(MINUTE, subject.left("198.18.0.9"))
        assert _about(9 * MINUTE, subject.left("198.18.0.10"))
        assert _elements(backend.dump()) == {
            target: {e for e, _ in part.add} for target, part in change.items()
        }
        backend.apply(subject.change(remove=("198.18.0.10-198.18.0.10",)))
        assert subject.passing("198.18.0.9", "198.18.0.10", "198.18.0.11") == {"198.18.0.10"}

    def test_the_same_ban_twice_is_no_error(self, subject: Subject) -> None:
        """Whoever added it first, it is there."""
        backend = subject.backend()
        for _ in range(2):
            backend.apply(subject.change(add={HOSTS[0]: MINUTE, NET4: MINUTE}))
        assert _about(MINUTE, subject.left(HOSTS[0]))


class TestRenewing:
    """Bans that change."""

    @pytest.mark.parametrize("banned", [HOSTS[0], HOSTS[1], NET4, NET6])
    @pytest.mark.parametrize("end", [MINUTE, 30 * MINUTE], ids=["shorter", "longer"])
    def test_a_renewed_ban_has_the_new_end(self, subject: Subject, banned: str, end: Millis) -> None:
        """Earlier or later than the old one, also on kernels that leave the timeout of what is there."""
        backend = subject.backend()
        backend.apply(subject.change(add={banned: 10 * MINUTE}))
        backend.apply(subject.change(renew={banned: end}))
        assert _about(end, subject.left(banned.split("/")[0]))

    def test_renewing_what_is_not_there_bans_it(self, subject: Subject) -> None:
        """It may have run out while the change was under way."""
        subject.backend().apply(subject.change(renew=dict.fromkeys((*HOSTS, NET4, NET6), MINUTE)))
        assert subject.passing(*HOSTS, *EDGES4, *EDGES6) == set()

    @pytest.mark.parametrize("verb", ["add", "renew"])
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (["198.18.16.0/20"], ["198.18.16.0/24"]),
            (["198.18.16.0/20"], ["198.18.0.0/16"]),
            (["198.18.16.0/20"], ["198.18.31.255-198.18.31.255"]),
            (
                ["198.18.16.0/20"],
                ["198.18.16.0-198.18.20.0", "198.18.20.1-198.18.20.1", "198.18.20.2-198.18.31.255"],
            ),
            (["198.18.16.0-198.18.20.0", "198.18.20.1-198.18.31.255"], ["198.18.16.0/20"]),
            (
                ["198.18.16.0-198.18.20.0", "198.18.20.1-198.18.31.255"],
                ["198.18.16.0/24", "198.18.17.0-198.18.31.255"],
            ),
            (["2001:db8:ba1::/48"], ["2001:db8:ba1::/49", "2001:db8:ba1:8000::/49"]),
            (["255.255.0.0/16"], ["255.255.0.0/17", "255.255.128.0/17"]),
            (["255.255.0.0/17", "255.255.128.0/17"], ["255.255.0.0/16"]),
        ],
    )
    def test_intervals_are_cut_anew_in_one_change(
        self, subject: Subject, before: list[str], after: list[str], verb: str
    ) -> None:
        """Narrower, wider, split and joined, whether or not the new pieces may be there already."""
        backend = subject.backend()
        backend.apply(subject.change(add=dict.fromkeys(before, MINUTE)))
        told = dict.fromkeys(after, 5 * MINUTE)
        change = subject.change(remove=tuple(before), **{verb: told})  # type: ignore[arg-type]
        backend.apply(change)
        assert _elements(backend.dump()) == {
            target: {element for element, _ in (*part.add, *part.renew)} for target, part in change.items()
        }
        for piece in after:
            assert _about(5 * MINUTE, subject.left(piece.split("/")[0].split("-")[0])), piece

    def test_nobody_slips_through_while_intervals_are_cut(self, subject: Subject) -> None:
        """There is no moment between the old pieces and the new ones, whichever come and go."""
        backend = subject.backend()
        backend.apply(subject.change(add={NET4: MINUTE}))
        before = subject.generation()
        pieces = {"198.18.16.0-198.18.20.0": MINUTE, "198.18.20.1-198.18.31.255": 2 * MINUTE}
        with subject.watched("198.18.20.1") as passed:
            backend.apply(subject.change(remove=(NET4,), add=pieces))
            assert not subject.atomic or subject.generation() == before + 1
            backend.apply(subject.change(remove=tuple(pieces), add={NET4: MINUTE}))
        assert not any(passed)


class TestEnding:
    """Bans that are over."""

    def test_bans_end_by_themselves_on_time(self, subject: Subject) -> None:
        """Neither before their deadline nor long after it, with nobody there to end them."""
        soon: Millis = 1200
        subject.backend().apply(
            subject.change(add={HOSTS[0]: soon, NET4: soon, HOSTS[1]: MINUTE, NET6: MINUTE})
        )
        subject.sleep(600)
        assert subject.passing(HOSTS[0], EDGES4[0]) == set()
        subject.sleep(900 + subject.late)
        assert subject.passing(*HOSTS, EDGES4[0], EDGES6[0]) == {HOSTS[0], EDGES4[0]}

    def test_a_ban_again_right_after_its_end_holds(self, subject: Subject) -> None:
        """What is over may still stand in the kernel's memory: the same, a narrower and a wider one get in."""
        backend = subject.backend()
        again = {NET4: NET4, "198.18.64.0/20": "198.18.64.0/24", "198.19.16.0/20": "198.19.0.0/16"}
        changed = tuple(old for old, new in again.items() if old != new)
        for wait in (0, 3, 30):
            backend.apply(subject.change(renew=dict.fromkeys((*again, HOSTS[0]), 300)))
            subject.sleep(301 + subject.late + wait)
            told = dict.fromkeys((*again.values(), HOSTS[0]), MINUTE)
            backend.apply(subject.change(remove=changed, renew=told))
            for address in (HOSTS[0], "198.18.16.1", "198.18.64.1", "198.19.16.1"):
                assert _about(MINUTE, subject.left(address)), address
            backend.apply(subject.change(remove=tuple(told)))

    def test_removing_lets_packets_pass_at_once(self, subject: Subject) -> None:
        """And only those of whom was removed."""
        backend = subject.backend()
        backend.apply(subject.change(add=dict.fromkeys((*HOSTS, NET4, NET6), MINUTE)))
        backend.apply(subject.change(remove=(HOSTS[0], NET6)))
        assert subject.passing(*HOSTS, *EDGES4, *EDGES6) == {HOSTS[0], *EDGES6}

    def test_removing_what_ran_out_does_not_undo_the_rest(self, subject: Subject) -> None:
        """One element that is gone already must not cost all the others of its change."""
        backend = subject.backend()
        backend.apply(subject.change(add={HOSTS[0]: 200, NET4: 200}))
        subject.sleep(260 + subject.late)
        backend.apply(
            subject.change(remove=(HOSTS[0], NET4, "198.18.9.9", "198.19.0.0/24"), add={HOSTS[1]: MINUTE})
        )
        assert subject.passing(*HOSTS, EDGES4[0]) == {HOSTS[0], EDGES4[0]}


class TestLargeAndBad:
    """Changes of any size, and those that can't be carried out."""

    def test_a_hundred_thousand_bans_and_a_thousand_ranges(self, subject: Subject) -> None:
        """All go in and all go out; where changes are steps, in one each: whoever looks sees none or all."""
        backend = subject.backend()
        end = subject.now() + 60 * MINUTE
        hosts = [(bytes([20, n >> 16, n >> 8 & 255, n & 255]), end) for n in range(100_000)]
        change = {SetKey(subject.group, Family.V4, Kind.HOSTS): SetChange(add=hosts)}
        for text in (f"30.{n >> 8}.{n & 255}.0/24" for n in range(1000)):
            for target, element in subject.places(text, subject.group):
                change.setdefault(target, SetChange()).add.append((element, end))
        before, began = subject.generation(), subject.now()
        backend.apply(change)
        took = subject.now() - began  # a ban may last longer by that
        assert not subject.atomic or subject.generation() == before + 1
        # While the kernel still makes the table larger a dump can miss some.
        assert _settles(subject, lambda: sum(map(len, backend.dump().values())), 101_000)
        for address in ("20.1.134.159", "30.3.231.255"):
            asked = subject.now()
            left = subject.left(address)  # looks through all of them: on a slow machine that takes its time
            assert left is not None
            assert end - subject.now() - 2500 <= left <= end - asked + took + 1500
        backend.apply({target: SetChange(remove=[e for e, _ in part.add]) for target, part in change.items()})
        assert not subject.atomic or subject.generation() == before + 2
        assert sum(map(len, backend.dump().values())) == 0

    @where("atomic")
    def test_a_change_that_is_refused_leaves_nothing(self, subject: Subject) -> None:
        """One impossible element, and neither the good ones nor those to be removed are touched."""
        backend = subject.backend()
        backend.apply(subject.change(add={HOSTS[0]: MINUTE}))
        before = backend.dump()
        bad = {
            "198.18.16.0/20": MINUTE,
            "198.18.20.0-198.18.40.0": MINUTE,
            HOSTS[1]: MINUTE,
            "198.18.0.9": MINUTE,
        }
        with pytest.raises(KernelError):
            backend.apply(subject.change(remove=(HOSTS[0],), add=bad))
        assert subject.passing(*HOSTS, "198.18.0.9", "198.18.16.0") == {HOSTS[1], "198.18.0.9", "198.18.16.0"}
        assert _elements(backend.dump()) == _elements(before)
        backend.apply(subject.change(add={HOSTS[1]: MINUTE}))
        assert subject.passing(*HOSTS) == set()


def _elements(held: Holding) -> dict[SetKey, set[Element]]:
    return {target: set(elements) for target, elements in held.items() if elements}
