"""Ledger, wanted, delta and the nftables backend on the real kernel, through thousands of random interleavings.

What the kernel then bans is read from its own listing and from packets, and held against a plain model. Longer:

    FWBOUNCER_LIVES=1000 .venv/bin/python -m pytest tests/contract/test_random_lives.py
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import time
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from fwbouncer.core.book import Book
from fwbouncer.core.delta import TOLERANCE
from fwbouncer.errors import KernelBusy, KernelError
from fwbouncer.kernel.nftables import Nftables
from fwbouncer.kernel.socket import NetlinkSocket
from tests.contract.nft_subject import CONFIG
from tests.contract.volley import Volley
from tests.faults.vandal import Vandal
from tests.unit.core_naive import ADDRESSES, GROUPS, Naive, page, pages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwbouncer.core.model import Millis, Page
    from fwbouncer.kernel.wire import Message
    from tests.lab.net import Network

Interval = tuple[bytes, bytes, int]
_ELEMENT = re.compile(r"([0-9a-f.:/-]+) timeout \S+ expires (\w+)")
_SPAN = re.compile(r"(\d+)(ms|d|h|m|s)")
_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
LIVES = int(os.environ.get("FWBOUNCER_LIVES", "80"))  # for each way of owning; of up to forty steps
CORNERS = 4
WATCHED = [
    a for a in ADDRESSES[: 16 * CORNERS] if a[:1] not in (b"\0", b"\xff")
]  # packets can come from them
EDGE: Millis = 60  # around a deadline anything may be


def now() -> Millis:
    """Read the clock that deadlines are on."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def _intervals(ruleset: str) -> list[Interval]:
    """Read first and last address of every element that nft lists, and the milliseconds that are left."""
    found = []
    for value, left in _ELEMENT.findall(ruleset):
        first, _, last = value.partition("-")
        if "/" in value:
            net = ip_network(value)
            first, last = str(net[0]), str(net[-1])
        span = sum(int(number) * _UNITS[unit] for number, unit in _SPAN.findall(left))
        found.append((ip_address(first).packed, ip_address(last or first).packed, span))
    return found


def _shown(listed: list[Interval], address: bytes) -> int | None:
    """Return for how long an address is banned still; None if it is not."""
    return max((left for a, b, left in listed if len(a) == len(address) and a <= address <= b), default=None)


class Unsteady(NetlinkSocket):
    """A socket whose writes fail now and then, before the kernel has seen them or after it has done them."""

    faults: list[str]

    def send_all(self, messages: Sequence[Message], expected: int) -> None:
        """Send, or pretend that something went wrong."""
        fault = self.faults.pop() if self.faults else ""
        if fault == "before":
            raise KernelBusy("so it goes")
        super().send_all(messages, expected)
        if fault == "after":
            raise KernelBusy("nobody knows whether it was done")


class Lives(RuleBasedStateMachine):
    """Random lives of a bouncer on one kernel. `banned` is whom it banned when all was last in step."""

    owned = False
    volley: Volley
    writes = 0

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        """Start with an empty kernel."""
        self.vandal = Vandal(None, random.Random(seed))
        self.vandal.run("flush ruleset")
        self.sock = self._socket()
        self.naive = Naive()
        self.banned: dict[bytes, Millis] = {}
        self._start()

    def _start(self) -> None:
        self.book, self.dump_needed = Book(), True
        self.backend = Nftables(CONFIG, now, self.sock, owned=self.owned)

    @staticmethod
    def _socket() -> Unsteady:
        made = Unsteady.open()
        assert isinstance(made, Unsteady)
        made.faults = []
        return made

    # What the LAPI says.

    @rule(data=st.data())
    def poll(self, data: st.DataObject) -> None:
        """A page comes in; whether it goes out to the kernel at once is another matter."""
        self._absorb(data.draw(pages(now(), corners=CORNERS), "page"))

    @rule(data=st.data())
    def poll_and_write(self, data: st.DataObject) -> None:
        """A page comes in and goes out."""
        self._absorb(data.draw(pages(now(), corners=CORNERS), "page"))
        self.write()

    @rule(data=st.data())
    def resync(self, data: st.DataObject) -> None:
        """A snapshot comes in."""
        self._absorb(data.draw(pages(now(), startup=st.just(True), corners=CORNERS), "snapshot"))

    # What the daemon does.

    @rule()
    def write(self) -> None:
        """Bring the kernel in step, and look at it."""
        type(self).writes += 1
        self.book.expire(now())
        try:
            if self.backend.disturbed() or self.dump_needed:
                self.dump_needed = False
                holding = self.backend.dump()
                self.book.rebase(holding, self.backend.layout(), now())
            change = self.book.plan(now())
            if change or not self.backend.whole():
                self.backend.apply(change)
                self.book.done(change)
        except KernelError:
            self.dump_needed = True
            return
        if self.book.synced:
            self._look()

    @rule()
    def restart(self) -> None:
        """The daemon dies; the next one finds the kernel as it is, and asks the LAPI for everything."""
        self.backend.close()
        if not self.owned:
            self.sock.close()
            self.sock = self._socket()
        self._start()
        rows = [
            (i, c.key, c.deadline, c.label) for i, c in self.naive.claims.items() if c.deadline > now() + 1
        ]
        self._absorb(page(rows, startup=True))

    @rule()
    def look_again(self) -> None:
        """There is a reason to read the kernel, whatever it is."""
        self.dump_needed = True

    # What time and others do.

    @rule(wait=st.integers(1, 80))
    def wait(self, wait: Millis) -> None:
        """Time passes."""
        time.sleep(wait / 1000)

    @rule()
    def wait_for_an_end(self) -> None:
        """Time passes until some ban has ended, if that is soon."""
        soon = [c.deadline for c in self.naive.claims.values() if 0 < c.deadline - now() < 300]
        if soon:
            time.sleep(max(0, min(soon) - now() + 2) / 1000)

    @rule(faults=st.lists(st.sampled_from(["before", "after"]), min_size=1, max_size=2))
    def fail(self, faults: list[str]) -> None:
        """The next writes fail."""
        self.sock.faults = faults

    @rule()
    def vandalise(self) -> None:
        """Somebody else changes our tables, or tries to."""
        _, taken = self.vandal.act()
        if taken and not self.owned:
            self.banned = {}

    # What must be so.

    @invariant()
    def nobody_goes_free(self) -> None:
        """No write, no failure and no restart lets anybody through whose ban goes on."""
        if not getattr(self, "banned", None):
            return
        arrived = self.volley.fire(self.banned)
        at = now()
        for address in arrived:
            assert self.banned[address] <= at + EDGE, (address.hex(), self.banned[address] - at)

    def _until(self, address: bytes) -> Millis:
        return max(self.naive.until(group, address) for group in GROUPS)

    def _look(self) -> None:
        """Hold the listing and packets against the model."""
        before = now()
        arrived = self.volley.fire(WATCHED)
        listed = _intervals(self.vandal.text())
        after = now()
        for address in WATCHED:
            until, shown = self._until(address), _shown(listed, address)
            if until > after + EDGE:
                assert address not in arrived, (address.hex(), "passes")
                assert shown is not None, (address.hex(), "is not listed")
                off = abs(shown - (until - after))
                assert off < TOLERANCE + after - before + EDGE, (address.hex(), shown, until - after)
            elif until + TOLERANCE < before:
                assert address in arrived, (address.hex(), "is blocked")
                assert shown is None, (address.hex(), "is listed")
        self.banned = {a: self._until(a) for a in WATCHED if a not in arrived and self._until(a) > after}

    def _absorb(self, answer: Page) -> None:
        before = set(self.book.ledger._row)
        self.book.take(answer, now())
        self.naive.absorb(answer)
        if answer.startup:  # which of them the book believes is another test's affair
            self.naive.drop(before - set(self.book.ledger._row) - set(answer.ids))
        # A ban that has ended protects nobody any more, even if another one begins before the next write.
        left = {a: min(until, self._until(a)) for a, until in self.banned.items()}
        self.banned = {a: until for a, until in left.items() if until > now() + EDGE}

    def teardown(self) -> None:
        """Take everything out: then nothing is left."""
        if not hasattr(self, "sock"):
            return
        self.sock.faults = []
        self.backend.remove()
        self.backend.close()
        self.sock.close()
        assert self.vandal.left() == []


@pytest.fixture
def volley(net: Network) -> Iterator[Volley]:
    """Be on the mail host, and have someone send packets to it."""
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(processors)})  # on one of them, packets keep their order
    with net.mail.inside(), contextlib.closing(Volley(net, WATCHED)) as made:
        yield made
    os.sched_setaffinity(0, processors)


@pytest.mark.parametrize("owned", [False, True], ids=["unowned", "owned"])
def test_the_kernel_follows_through_random_lives(owned: bool, volley: Volley) -> None:
    """Pages, time, failures, vandals, restarts in any order: the kernel bans whom a plain model bans, no one else."""

    class Here(Lives):
        pass

    Here.owned, Here.volley = owned, volley
    often = settings(
        max_examples=LIVES,
        stateful_step_count=40,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Here, settings=often)  # type: ignore[no-untyped-call]
    assert Here.writes > LIVES
