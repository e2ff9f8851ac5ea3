"""Who must be blocked when: told from the decisions and what was done to the program, and from nothing of its code.

    must_block   a ban has bitten (some time after a page that carried it), is not near its end, and nothing has
                 happened that excuses a leak
    may_block    a ban exists that has not been over for long

A packet that passes although its source must be blocked is a leak; one that is dropped although its source may not
be blocked is a lock-out. Between the two lies tolerance, which is stated in `terms.Tolerance` and nowhere else. Times
are seconds of the monotonic clock; tolerances of the program's own doing are measured on its `RunClock`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.spares import Spares
from tests.faults.terms import Address, Claim, Excuse, Page, Tolerance

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.faults.runclock import RunClock


class Model:
    """The naive truth. `owned` tables can't be changed by others."""

    def __init__(self, clock: RunClock, tolerance: Tolerance, *, owned: bool) -> None:
        self.claims: dict[int, Claim] = {}
        self.tolerance = tolerance
        self.spares = Spares(clock)
        self._knowing = False  # whether the program can know what to put right
        self._naked = True  # it started without a state file: the LAPI's first word is all it has
        self._spoilt: float | None = None
        self._clock = clock
        self._owned = owned
        self._pending: list[tuple[float, Page]] = []  # run time at which it must have had its effect
        self._deaf_until = 0.0  # run time
        self._excuses: list[Excuse] = []
        self._troubled: list[float] = []  # when others changed something
        self._over = 0.0  # when they last did, in run time

    # What happens, in order of time.

    def make(self, claim: Claim) -> None:
        """Somebody decided."""
        self.claims[claim.serial] = claim

    def end(self, serials: Iterable[int], at: float) -> None:
        """Somebody took decisions back."""
        for serial in serials:
            claim = self.claims.get(serial)
            if claim is not None and claim.ended is None:
                claim.ended = at

    def written(self, page: Page) -> None:
        """Take note of an answer that goes out: what a snapshot lacks may be over as soon as it is read."""
        if not page.startup:
            return
        lacking = [c for c in self._alive(page.written) if c.serial not in page.carried]
        sharp = self._is_sharp(page, lacking)
        for claim in self._alive(page.written):
            if claim.serial in page.carried:
                claim.lacked.clear()
        for claim in lacking:
            if claim.lacked or not sharp or self._naked:
                claim.held = claim.told = None
            claim.lacked.append(page.written)

    def sent(self, page: Page, at: float) -> None:
        """Take note that an answer arrived whole; it has its effect once the program could have run for a while."""
        page.sent, run = at, self._clock.at(at)
        if run < self._deaf_until:
            self._void([page], at + self.tolerance.edge)
            return
        self._expect(page, run + self.tolerance.bite)
        for claim in map(self.claims.get, page.carried):
            if claim is not None and claim.told is None:
                claim.told = run

    def _expect(self, page: Page, due: float) -> None:
        self._pending.append((due, page))
        self._pending.sort(key=lambda pair: pair[0])

    def started(self, at: float) -> None:
        """The program was started: what the state file holds comes into force, LAPI or no LAPI."""
        stored = frozenset(c.serial for c in self._alive(at + 1) if c.stored)
        self._naked = not stored
        if stored:
            page = Page(startup=False, written=at, carried=stored, ended=frozenset(), sent=at)
            self._expect(page, self._clock.at(at) + self.tolerance.restore)

    def saved(self) -> None:
        """The program is told to end in peace: what is in force will be in the state file."""
        for claim in self.claims.values():
            claim.stored = claim.held is not None

    def spoilt(self, at: float) -> None:
        """The state file was tampered with, or the disk it is on."""
        self._spoilt = at
        for claim in self.claims.values():
            claim.stored = False

    def lost(self, *, reload: bool, at: float) -> None:
        """The program, or its client, is gone: what it has just read may have had no effect."""
        self._void([page for _, page in self._pending], at)
        if not reload:
            self._die(at)
        for claim in self.claims.values():
            claim.told = claim.told if claim.held is not None else None
        if reload:
            self._deaf_until = self._clock.at(at) + self.tolerance.reload

    def unheard(self, at: float) -> None:
        """A connection was cut: what has just gone out on it may not have been read."""
        self._void([page for _, page in self._pending if page.sent is not None and page.sent >= at - 0.3], at)

    def _void(self, pages: list[Page], at: float) -> None:
        """Expect nothing of pages; what was read of them nevertheless was read at the latest now."""
        self._pending = [(due, page) for due, page in self._pending if page not in pages]
        for page in pages:
            for claim in map(self.claims.get, page.carried):
                if claim is not None:
                    claim.lag = max(claim.lag, at - page.written)

    def _die(self, at: float) -> None:
        run = self._clock.at(at)
        if any(excuse.until is None or excuse.until > run for excuse in self._excuses):
            self.wiped(at)  # what others did may not have been put right yet
        self._knowing = False
        self.spares.lost(at)
        whole = self._spoilt is None or self._for(self._spoilt, at) > 3 * self.tolerance.saved
        for claim in self.claims.values():
            since = claim.held
            claim.stored |= whole and since is not None and self._for(since, at) > self.tolerance.saved
            # What is found in the kernel or in an older file is in force until snapshots without it have come.
            claim.adopted, claim.gone = True, None
            if claim.ended is not None:
                claim.lacked.clear()

    def wiped(self, at: float) -> None:
        """The kernel was emptied, and nobody is there to fill it again: bans bite when a page has come."""
        for claim in self.claims.values():
            claim.held = claim.told = None
        self._excuses.append(Excuse(at, empty=True))

    def trouble(self, at: float) -> None:
        """Others begin to change what is ours."""
        if not self._owned:
            self._excuses.append(Excuse(at))
            if not self._knowing:
                self.wiped(at)

    def trouble_over(self, at: float) -> None:
        """They are done; from now on it must be put right."""
        if self._owned:
            return
        self._troubled = [when for when in self._troubled if when > at - 2 * self.tolerance.calm] + [at]
        run = self._clock.at(at) + self.tolerance.repair
        self._over = self._clock.at(at)
        run += self.tolerance.calm if len(self._troubled) >= 3 else 0.0
        for excuse in self._excuses:
            if excuse.until is None and not excuse.empty:
                excuse.until = run

    def advance(self, at: float) -> None:
        """Let pages have their effect that must have had it by now."""
        run = self._clock.at(at)
        while self._pending and self._pending[0][0] <= run:
            due, page = self._pending.pop(0)
            self._take_effect(page, self._clock.when(due))
        over = [c.serial for c in self.claims.values() if c.until + c.lag + 5 < at]
        for serial in over:
            del self.claims[serial]

    # What must be so.

    def must_block(self, source: Address, begin: float, end: float) -> Claim | None:
        """Return a claim for which a packet sent between these times must not pass."""
        if self._excused(begin, end):
            return None
        for claim in self._of(source):
            held = claim.held is not None and claim.held <= begin
            if held and claim.ended is None and end < claim.until - self.tolerance.early:
                return claim
        return None

    def must_pass(self, source: Address, begin: float, end: float) -> str | None:
        """Return why a packet must pass even if its source is banned; None if it need not."""
        return None if self._excused(begin, end) else self.spares.must_pass(source, begin, end)

    def may_block(self, source: Address, begin: float, end: float) -> Claim | str | None:
        """Return why a packet may be dropped, if there is a reason."""
        if self._excused(begin, end):
            return "others have changed the rules"
        edge, late = self.tolerance.edge, self.tolerance.late
        for claim in self._of(source):
            if any(claim.serial in page.carried for _, page in self._pending):
                return claim  # being read, and nobody knows when exactly
            until = claim.until + claim.lag + late
            if claim.gone is not None:
                until = min(until, claim.gone)
            if claim.made <= end + edge and begin <= until + edge:
                return claim
        return None

    # How well it went, within what is tolerated: seconds.

    def unbitten(self, source: Address, begin: float) -> float:
        """Return for how long a packet's source should have been blocked already; 0 if it need not."""
        if self._excused(begin, begin):
            return 0.0
        run, edge = self._clock.at(begin), self.tolerance.early
        told = [c.told for c in self._of(source) if c.ended is None and begin < c.until - edge]
        return max((run - since for since in told if since is not None), default=0.0)

    def unrepaired_for(self, source: Address, begin: float) -> float:
        """Return for how long others' change has let a packet through; 0 if it has nothing to do with that."""
        run = self._clock.at(begin)
        pending = any(
            e.until is not None and not e.empty and e.since <= begin and run <= e.until for e in self._excuses
        )
        held = any(
            c.held and c.ended is None and begin < c.until - self.tolerance.early for c in self._of(source)
        )
        return max(0.0, run - self._over) if pending and held else 0.0

    def overstayed(self, source: Address, begin: float) -> float:
        """Return for how long a blocked packet's source should have been free again."""
        if self._excused(begin, begin):
            return 0.0
        claims = self._of(source)
        if any(c.ended is not None and begin < c.until + 1 for c in claims):
            return 0.0
        ends = [c.until + c.lag for c in claims]
        return max(0.0, begin - max(ends)) if ends else 0.0

    def _of(self, source: Address) -> list[Claim]:
        return [
            c for c in self.claims.values() if c.network.version == source.version and source in c.network
        ]

    def _for(self, since: float, at: float) -> float:
        return self._clock.at(at) - self._clock.at(since)

    def _alive(self, at: float) -> list[Claim]:
        return [c for c in self.claims.values() if c.until > at]

    def _excused(self, begin: float, end: float) -> bool:
        run = self._clock.at(begin)
        edge = self.tolerance.edge
        self._excuses = [e for e in self._excuses if e.until is None or e.until >= run - 5]
        return any(e.since <= end + edge and (e.until is None or run <= e.until) for e in self._excuses)

    def _is_sharp(self, page: Page, lacking: list[Claim]) -> bool:
        """Tell whether a snapshot lacks so much that nobody may believe it at once: well over a quarter."""
        there = {c.network for c in self.claims.values() if c.serial in page.carried}
        freed = {
            c.network
            for c in lacking
            if c.ended is None
            and not any(c.network.version == n.version and c.network.subnet_of(n) for n in there)  # type: ignore[arg-type]
        }
        known = {c.network for c in self._alive(page.written) if c.held is not None}
        return bool(freed) and len(freed) > 0.4 * (len(known | there) + page.others)

    def _take_effect(self, page: Page, at: float) -> None:
        assert page.sent is not None
        self._knowing = True
        self.spares.alive()
        read = self._clock.when(self._clock.at(page.sent) + 0.1)
        for serial in page.carried:
            claim = self.claims.get(serial)
            if claim is not None:
                claim.adopted &= not page.startup
                claim.lag = max(claim.lag, read - page.written)
                if claim.held is None and (not claim.lacked or claim.lacked[-1] < page.written):
                    claim.held = at
        for serial in page.ended:
            claim = self.claims.get(serial)
            if claim is not None and claim.gone is None and not claim.adopted:
                claim.gone = at
        for excuse in self._excuses:  # what an emptied kernel lacks is there again
            if excuse.until is None and excuse.empty:
                excuse.until = self._clock.at(at)
        if page.startup:
            self._naked = False
            self._forgotten(page, at)

    def _forgotten(self, page: Page, at: float) -> None:
        """Let go of what was taken back without a word, once it has been lacking in three snapshots in a row."""
        few = len(self.claims) <= 20 and not page.others
        for claim in self.claims.values():
            if claim.ended is None or claim.gone is not None or len(claim.lacked) < 3:
                continue
            if few and claim.lacked[-1] - claim.lacked[0] > 1.2:
                claim.gone = at
