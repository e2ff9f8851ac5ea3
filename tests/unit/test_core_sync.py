"""Ledger, wanted, delta and a kernel together: after whatever happens the kernel bans exactly who must be banned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from fwbouncer.core.book import Book
from fwbouncer.core.delta import GRACE, TOLERANCE
from fwbouncer.core.model import FOREVER, Family, Kind, Layout, Page, SetKey
from fwbouncer.errors import KernelBusy, KernelError
from fwbouncer.kernel.memory import Memory
from tests.effort import examples
from tests.unit.core_naive import ADDRESSES, DURATIONS, GROUPS, Naive, pages

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwbouncer.core.model import Millis

LINGER = 40  # ms; what is over stands in the way of a plain add for so long
_CORNERS = 2
_WATCHED = [(group, address) for group in GROUPS for address in ADDRESSES[: 16 * _CORNERS]]

_SETS = [SetKey(group, family, kind) for group in GROUPS for family in Family for kind in Kind]
_HOSTS4 = SetKey(GROUPS[0], Family.V4, Kind.HOSTS)
_MIXED4 = frozenset({(GROUPS[0], Family.V4)})
LAYOUTS = {
    "flattened": Layout(flatten=True),
    "nested": Layout(flatten=False),
    "mixed": Layout(flatten=True, mixed=_MIXED4),
    "timeless": Layout(flatten=True, timeless=frozenset(_SETS)),
    "timeless-nested": Layout(flatten=False, timeless=frozenset(_SETS[:4])),
    "unread": Layout(flatten=True, unread=frozenset(_SETS)),
    "timeless-mixed": Layout(flatten=True, mixed=_MIXED4, timeless=frozenset({_HOSTS4})),
}
SMALL = {
    "hosts": Layout(flatten=True, sizes=((_HOSTS4, 3),)),
    "mixed": Layout(flatten=True, mixed=_MIXED4, sizes=((_HOSTS4, 4),)),
    "nested": Layout(flatten=False, sizes=((_HOSTS4, 4),)),
    "timeless": Layout(flatten=True, sizes=((_HOSTS4, 3),), timeless=frozenset(_SETS)),
}


class Cycle:
    """What the daemon does with the core, without the daemon."""

    def __init__(self, layout: Layout) -> None:
        self.now: Millis = 1_000_000
        self.book = Book()
        self.kernel = Memory(lambda: self.now, layout, linger=LINGER)
        self.dump_needed = True

    def run(self) -> bool:
        """Bring the kernel in step; returns whether it took the change."""
        self.book.expire(self.now)
        if self.kernel.disturbed() or self.dump_needed:
            holding = self.kernel.dump()
            self.book.rebase(holding, self.kernel.layout(), self.now)
            self.dump_needed = False
        change = self.book.plan(self.now)
        try:
            self.kernel.apply(change)
        except KernelError:
            self.dump_needed = True
            return False
        self.book.done(change)
        return True


class Machine(RuleBasedStateMachine):
    """Random lives of a bouncer. `protected` is whom the last write left banned, and until when."""

    layout = Layout(flatten=True)

    def __init__(self) -> None:
        super().__init__()
        self.cycle, self.naive = Cycle(self.layout), Naive()
        self.protected: dict[tuple[str, bytes], Millis] = {}
        self.meanwhile = False

    # What the LAPI does.

    @rule(data=st.data())
    def poll(self, data: st.DataObject) -> None:
        """A page comes in; whether it goes out to the kernel at once is another matter."""
        self._absorb(data.draw(pages(self.cycle.now, corners=_CORNERS), "page"))

    @rule(data=st.data())
    def resync(self, data: st.DataObject) -> None:
        """A snapshot comes in, and what it lacks is over, at once or when the next one lacks it, too."""
        answer = data.draw(pages(self.cycle.now, startup=st.just(True), corners=_CORNERS), "snapshot")
        self._absorb(answer)

    # What the kernel and those who share it do.

    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """The daemon's cycle, undisturbed."""
        self._step()

    @rule(wait=st.one_of(st.integers(1, 3 * LINGER), DURATIONS, st.just(GRACE)))
    def wait(self, wait: Millis) -> None:
        """Time passes while nobody writes."""
        self.cycle.now += wait

    @rule(wait=st.integers(0, 2 * LINGER))
    def sleep_to_the_alarm(self, wait: Millis) -> None:
        """Time passes until the ledger wants to be looked at, and a little longer."""
        alarm = self.cycle.book.ledger.next_expiry()
        if alarm is not None:
            self.cycle.now = max(alarm, self.cycle.now) + wait
            self._step()

    @rule(times=st.integers(1, 3))
    def fail(self, times: int) -> None:
        """The kernel refuses the next writes."""
        self.cycle.kernel.fail(KernelBusy("so it goes"), times)

    @rule()
    def flush(self) -> None:
        """Somebody removes all of it."""
        self._disturb(self.cycle.kernel.flush)

    @rule()
    def flush_just_before_the_write(self) -> None:
        """The same, but after the daemon has made up its mind."""
        self.cycle.kernel.before_next(lambda: self._disturb(self.cycle.kernel.flush))
        self._step()

    @rule(data=st.data())
    def interfere(self, data: st.DataObject) -> None:
        """Somebody takes one of our elements out, or gives it another deadline."""
        held = [(t, e) for t, elements in self.cycle.kernel.dump().items() for e in elements]
        if held:
            target, element = data.draw(st.sampled_from(held), "element")
            timed = target not in self.cycle.kernel.layout().timeless
            deadlines = [0, FOREVER, self.cycle.now + 5_000] if timed else [0]
            deadline = data.draw(st.sampled_from(deadlines), "its new deadline")
            self._disturb(lambda: self.cycle.kernel.interfere(target, element, deadline))

    @rule()
    def look(self) -> None:
        """The daemon has reason to dump, whatever it is."""
        self.cycle.dump_needed = True

    @rule(data=st.data())
    def learn_while_the_kernel_is_busy(self, data: st.DataObject) -> None:
        """A page comes in, and time passes, between the plan and its acknowledgement."""
        answer = data.draw(pages(self.cycle.now, corners=_CORNERS), "page")
        took = data.draw(st.integers(0, 3_000), "and takes")

        def meanwhile() -> None:
            self.cycle.now += took
            self._absorb(answer)

        self.cycle.kernel.before_next(meanwhile)

    # What must be so.

    @invariant()
    def whoever_was_banned_stays_banned(self) -> None:
        """No write and no failure lets anybody through who must not come through yet."""
        self._let_go()
        for (group, address), until in self.protected.items():
            assert until <= self.cycle.now or group in self.cycle.kernel.bans(address), (group, address.hex())

    def _let_go(self) -> None:
        """Whose time is over is no longer protected; a ban that comes later is another one."""
        soon = self.cycle.now + TOLERANCE
        self.protected = {place: d for place, d in self.protected.items() if self.naive.until(*place) > soon}

    def _step(self) -> None:
        self.meanwhile = False
        if not self.cycle.run():
            return
        self.whoever_was_banned_stays_banned()
        if not self.meanwhile:
            self.naive.expire(self.cycle.now)
            self._in_step()
        banned = {address: self.cycle.kernel.bans(address) for _, address in _WATCHED}
        self.protected = {(g, a): banned[a][g] for g, a in _WATCHED if g in banned[a]}

    def _in_step(self) -> None:
        now, layout = self.cycle.now, self.cycle.kernel.layout()
        for group, address in _WATCHED:
            until = self.naive.until(group, address)
            held = self.cycle.kernel.bans(address).get(group, 0)
            if held == FOREVER and any(t.group == group for t in layout.timeless):
                assert until > now, (group, address.hex())
            elif until > now:
                assert abs((held or now) - until) <= TOLERANCE, (group, address.hex(), held, until)
            else:
                assert held <= now + TOLERANCE, (group, address.hex(), held)

    def _absorb(self, answer: Page) -> None:
        self._let_go()
        now, before = self.cycle.now, set(self.cycle.book.ledger._row)
        self.cycle.book.take(answer, now)
        self.naive.absorb(answer)
        if answer.startup:
            # Which of them the book believes is another test's affair; here it must only be lacking ones.
            gone = before - set(self.cycle.book.ledger._row) - set(answer.ids)
            self.naive.drop(gone)
        self.meanwhile = True

    def _disturb(self, mutation: Callable[[], None]) -> None:
        mutation()
        self.protected = {}
        self.meanwhile = True


class Shifting(Machine):
    """As above, while the administrator makes his sets anew now and then."""

    @rule(name=st.sampled_from([name for name, layout in LAYOUTS.items() if layout.flatten]))
    def change_layout(self, name: str) -> None:
        """Another kind of set is found at the next dump."""
        self._disturb(lambda: self.cycle.kernel.change_layout(LAYOUTS[name]))


class Full(Machine):
    """As above, in a set that is too small for all."""

    def _step(self) -> None:
        held, now = {a: self.cycle.kernel.bans(a) for _, a in _WATCHED}, self.cycle.now
        if any(group in held[a] and self.naive.until(group, a) <= now for group, a in _WATCHED):
            # Cutting somebody out of a network takes places, which others may have to leave.
            self.protected = {}
        super()._step()

    def _in_step(self) -> None:
        kernel, now = self.cycle.kernel, self.cycle.now
        sizes = dict(kernel.layout().sizes)
        assert all(len(held) <= sizes.get(target, len(held)) for target, held in kernel.dump().items())
        for group, address in _WATCHED:
            if self.naive.until(group, address) <= now:
                held = kernel.bans(address).get(group, 0)
                assert held <= now + TOLERANCE, (group, address.hex(), held)
        if not self.cycle.book.delta.held_back:
            super()._in_step()

    @rule()
    def settle_down(self) -> None:
        """After a quiet while the set is full, or nobody has to wait for a place in it."""
        for _ in range(4):
            self.cycle.now += GRACE
            self._step()
        holding = self.cycle.kernel.dump()
        full = [t for t, size in self.cycle.kernel.layout().sizes if len(holding.get(t, ())) >= size]
        assert full or not self.cycle.book.delta.held_back


_often = settings(max_examples=examples(60), stateful_step_count=25)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_kernel_follows(name: str) -> None:
    """Pages, time, failures and vandals in any order: the kernel bans whom a plain model bans, and nobody else."""

    class Laid(Machine):
        layout = LAYOUTS[name]

    run_state_machine_as_test(Laid, settings=_often)


def test_the_kernel_follows_an_administrator_who_changes_his_sets() -> None:
    """Sets that come back as another kind are filled as that kind wants."""
    run_state_machine_as_test(Shifting, settings=_often)


@pytest.mark.parametrize("name", SMALL)
def test_a_full_set_loses_nobody_who_is_in_it(name: str) -> None:
    """What doesn't fit waits for room; what is in stays in, and nobody is banned who must not be."""

    class Laid(Full):
        layout = SMALL[name]

    run_state_machine_as_test(Laid, settings=_often)
