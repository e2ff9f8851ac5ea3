"""Totals of packets: exact while the counters live, never falling, whatever becomes of these; reports told once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.model import Family
from fwbouncer.core.names import OTHER
from fwbouncer.core.tally import MOST, CounterKey, Reading, Tally, Traffic
from fwbouncer.core.usage import Usage

V4, V6 = Family.V4, Family.V6
CAPI = CounterKey("CAPI", V4)
PLACE = ("CAPI", V4)


def _seen(packets: int, life: int = 0, octets: int | None = None) -> Reading:
    return Reading(life, Traffic(packets, packets * 40 if octets is None else octets))


class TestTally:
    """What the kernel's counters add up to."""

    def test_a_counter_that_starts_over_goes_on(self) -> None:
        """A counter that shows less than before has begun anew, and counts in full."""
        tally = Tally()
        assert [tally.take([(CAPI, _seen(n))]) for n in (5, 8, 3, 3)] == [False, False, True, False]
        assert tally.totals == {PLACE: (11, 440)}

    def test_another_life_is_another_counter(self) -> None:
        """Where the kernel tells that a table is a new one, its counters count in full, though they show more."""
        tally = Tally()
        tally.take([(CAPI, _seen(5, life=1))])
        assert tally.take([(CAPI, _seen(7, life=2))])
        assert tally.totals[PLACE].packets == 12

    def test_a_rule_that_goes_takes_nothing_with_it(self) -> None:
        """One of several rules that count for the same can end, and no total changes for that."""
        parts = [CounterKey("processed", V4, chain) for chain in ("INPUT", "FORWARD")]
        tally = Tally()
        tally.take([(part, _seen(10)) for part in parts])
        tally.take([(parts[0], _seen(11))])
        assert tally.totals["processed", V4].packets == 21

    def test_rules_for_the_same_are_added_up(self) -> None:
        """Hosts and ranges of an origin have a rule each, and one total."""
        tally = Tally()
        tally.take([(CAPI, _seen(1)), (CAPI, _seen(2))])
        tally.take([(CAPI, _seen(2)), (CAPI, _seen(2))])
        assert tally.totals[PLACE].packets == 4

    def test_what_comes_after_a_removal_is_new(self) -> None:
        """After our rules were removed by ourselves, a counter begins at zero, whatever it shows at first."""
        tally = Tally()
        tally.take([(CAPI, _seen(5))])
        tally.forget()
        tally.take([(CAPI, _seen(6))])
        assert tally.totals[PLACE].packets == 11

    def test_the_number_of_totals_is_bounded(self) -> None:
        """However many origins a LAPI makes up over time, there are only so many totals."""
        tally = Tally()
        for number in range(2 * MOST):
            tally.take([(CounterKey(f"origin{number}", V4), _seen(1))])
        assert len(tally.totals) <= MOST + 2
        assert tally.totals[OTHER, V4].packets == MOST
        assert sum(traffic.packets for traffic in tally.totals.values()) == 2 * MOST

    @given(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.booleans())))
    def test_any_history(self, history: list[tuple[int, bool, bool]]) -> None:
        """With readings before each end of a table, the total is what was sent; it never falls."""
        tally, sent, shown, life, before = Tally(), 0, 0, 1, 0
        for packets, flushed, read in history:
            if flushed:
                tally.take([(CAPI, _seen(shown, life))])
                shown, life = 0, life + 1
            shown += packets
            sent += packets
            if read:
                tally.take([(CAPI, _seen(shown, life))])
                assert tally.totals[PLACE].packets == sent >= before
                before = sent


class TestUsage:
    """What the LAPI is told, and when it counts as told."""

    @given(
        st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["taken", "unsent", "lost", "lost and taken"])))
    )
    def test_each_packet_is_told_once(self, history: list[tuple[int, str]]) -> None:
        """Over refusals, outages and answers that got lost, what the LAPI adds up is what was counted."""
        usage, total, now = Usage({}, 1000), 0, 1000
        told: dict[int, int] = {}  # as cscli does: reports of one time and one value are one
        for packets, fate in [*history, (0, "taken"), (0, "taken")]:
            total += packets
            now += 1
            window = usage.next({PLACE: Traffic(total, total * 40)}, {}, now)
            grown = window.grown[PLACE]
            assert grown.packets >= 0
            assert grown.bytes == grown.packets * 40
            assert window.seconds >= 1
            if fate in ("taken", "lost and taken"):
                assert told.get(window.until, grown.packets) == grown.packets
                told[window.until] = grown.packets
            usage.sending(window)
            if fate == "taken":
                usage.taken(window)
            elif fate == "unsent":
                usage.unsent()
        assert sum(told.values()) == total

    def test_a_report_that_is_refused_holds_up_no_other(self) -> None:
        """What the LAPI can't take in one report is told with the next."""
        usage = Usage({}, 1000)
        usage.sending(usage.next({PLACE: Traffic(1, 40)}, {}, 1001))
        usage.sending(usage.next({PLACE: Traffic(2, 80)}, {}, 1002))
        usage.refused()
        assert usage.next({PLACE: Traffic(3, 120)}, {}, 1003).grown == {PLACE: (3, 120)}

    def test_two_reports_of_one_second_are_two(self) -> None:
        """CrowdSec takes reports of one time and with one value for one, so the second has another time."""
        usage = Usage({}, 1000)
        first = usage.next({PLACE: Traffic(1, 40)}, {}, 1001)
        usage.sending(first)
        usage.taken(first)
        assert usage.next({PLACE: Traffic(2, 80)}, {}, 1001).until != first.until

    def test_a_clock_that_was_set_back(self) -> None:
        """A window is never shorter than a second."""
        usage = Usage({}, 1000)
        assert usage.next({}, {}, 10).seconds == 1
