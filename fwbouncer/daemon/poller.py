"""Asks the LAPI again and again, and enters what it says in the book."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from fwbouncer.core.latency import Latency
from fwbouncer.daemon.teller import tell
from fwbouncer.errors import LapiError, LapiRefused
from fwbouncer.host.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwbouncer.core.book import Book, Taken
    from fwbouncer.core.model import Millis, Page
    from fwbouncer.core.pacing import Pacing
    from fwbouncer.daemon.keeper import Keeper
    from fwbouncer.kernel.backend import Clock
    from fwbouncer.lapi.client import Client

_log = logging.getLogger("fwbouncer.lapi")

_CHEAP = 50_000  # elements up to which reading the kernel again costs next to nothing


class Poller:
    """The one who keeps the need for a snapshot: at first, on a doubt, on the timer.

    After a poll that the LAPI may have read the client asks for one by itself. After one that never reached it,
    its cursor still stands where our last page ended: what is new is enough, and a LAPI that comes back isn't
    asked for everything by all its bouncers at once.
    """

    def __init__(  # noqa: PLR0913 - the LAPI and the kernel meet here
        self,
        client: Client,
        pacing: Pacing,
        book: Book,
        keeper: Keeper,
        clock: Clock,
        polled: Callable[[], None],
    ) -> None:
        self.client = client
        self.pacing = pacing
        self.last_answer: Millis | None = None
        self.last_snapshot: Millis | None = None
        self.next_poll: Millis = clock()
        self.asking: Millis | None = None  # since when, while an answer is awaited
        self.error: str | None = None
        self.took = {"all": Latency(), "changes": Latency()}
        self._book = book
        self._keeper = keeper
        self._clock = clock
        self._polled = polled  # called after each poll, whatever came of it
        self._hurry = asyncio.Event()
        self._need_snapshot = True
        self._doubtful = False
        self._complaints: Counter[str] = Counter()
        self._ignored: set[str] = set()

    def go_on_from(self, before: Poller) -> None:
        """Take over what another poller knew that doesn't end with it."""
        self.last_answer, self.took = before.last_answer, before.took
        self.client.requests, self.client.failures = before.client.requests, before.client.failures

    async def run(self) -> None:
        """Poll for ever. Raises LapiRefused where the LAPI refuses us before it ever answered."""
        _log.info("Processing new and deleted decisions . . .")
        while True:
            wait = await self._poll()
            self.next_poll = self._clock() + wait
            self._polled()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait / 1000):
                    await self._hurry.wait()
            self._hurry.clear()

    def hurry(self) -> None:
        """Poll at once."""
        self._hurry.set()

    async def _poll(self) -> Millis:
        began = self._clock()
        startup = self._need_snapshot or self.pacing.snapshot_due(began, suspected=self._doubtful)
        look_again = self._book.look_again
        startup |= look_again is not None and began >= look_again
        self.asking = began
        try:
            page = await self.client.poll(startup)
        except LapiRefused:
            if self.last_answer is None:
                await self._keeper.at_rest()
                raise
            return self._failed(began, "the LAPI refuses our key now; the bans stay as they are")
        except LapiError as error:
            return self._failed(began, str(error))
        finally:
            self.asking = None
        now = self._clock()
        self.took["all" if page.startup else "changes"].add((now - began) / 1000)
        if self.error is not None:
            _log.info("the LAPI answers again", extra=fields("outage_over"))
        self.error = None
        self.last_answer = now
        taken = self._book.take(page, now)
        self._need_snapshot = False
        self._doubtful = taken.doubtful or (self._doubtful and not page.startup)
        if page.startup:
            self.last_snapshot = now
            self.pacing.snapshot_taken(now, now - began)
            if self._keeper.settled.is_set() and len(self._book.wanted) < _CHEAP:
                self._keeper.distrust()  # the hour to compare the kernel, too
        if page.startup or page.ids or taken.ended:
            self._keeper.wake()
            await asyncio.sleep(0)  # it begins to write: a hundred lines of the log come after the bans
        self._tell(page, taken)
        return self.pacing.succeeded(now)

    def _failed(self, began: Millis, words: str) -> Millis:
        if words != self.error:
            for line in words.splitlines():
                _log.error("%s", line, extra=fields("outage"))
        self.error = words
        now = self._clock()
        return self.pacing.failed(now, now - began)

    def _tell(self, page: Page, taken: Taken) -> None:
        for count, word in ((taken.ended, "deleted"), (taken.added, "added")):
            if count:
                noun = "decision" if count == 1 else "decisions"
                _log.info("%d %s %s", count, noun, word, extra=fields(word, count=count))
        tell(self._book, self._clock())
        if taken.missing:
            _log.warning(
                "the LAPI's list has become much shorter: %d bans stay until it says so twice",
                taken.missing,
                extra=fields("shrunk", missing=taken.missing),
            )
        if page.rejects and page.rejects != self._complaints:
            self._complaints = page.rejects
            reasons = ", ".join(f"{count} for: {reason}" for reason, count in page.rejects.most_common())
            _log.warning("%d decisions refused (%s)", page.rejects.total(), reasons, extra=fields("rejects"))
            for decision, example in page.examples:
                known = {} if decision is None else {"decision": decision}
                _log.warning("refused: %s", example, extra=fields("reject", **known))
        for reason in page.ignored.keys() - self._ignored:
            self._ignored.add(reason)
            _log.info("decisions skipped, not for this bouncer: %s", reason)
