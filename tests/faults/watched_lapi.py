"""The fake LAPI, watched: which answer carried what, and when it had gone out; and ways to lie for a while."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from tests.fake_faults import status
from tests.fake_lapi import FakeLapi
from tests.faults.terms import Claim, Page

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fake_http import Handler
    from tests.fake_lapi import Fault
    from tests.faults.journal import Journal


class WatchedLapi(FakeLapi):
    """Decisions are made through `decide` and its like; everything else is told to the journal."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.guard = threading.RLock()
        self.serials: dict[int, int] = {}  # id -> claim; ids come again after a rebuild, claims don't
        self.claims: dict[int, Claim] = {}
        self.lies: deque[float] = deque()  # each next snapshot holds only this share
        self.honest = True
        self.answered = False  # since it became honest
        self.refused = False  # the key, since the program started
        self._made = 0
        self._served = threading.local()
        super().__init__()
        self.fault = self.serve

    def decide(self, value: str, duration: float, **fields: Any) -> Claim:
        """Ban, and tell the journal before anybody can know."""
        with self.guard:
            self._made += 1
            now = time.monotonic()
            claim = Claim(self._made, ip_network(value), now, now + duration)
            self.journal.note(now, "make", claim)
            number = self.ban(value, f"{duration:.3f}s", **fields)
            self.serials[number] = claim.serial
            self.claims[number] = claim
            return claim

    def flood(self, count: int, duration: float) -> None:
        """Ban many that nobody watches."""
        with self.guard:
            for n in range(count):
                self.ban(f"100.{64 + (n >> 16)}.{n >> 8 & 255}.{n & 255}", f"{duration:.3f}s", origin="lists")

    def live(self) -> list[int]:
        """Return the ids of the decisions that stand, the oldest first."""
        now = time.monotonic()
        return [
            n for n, c in self.claims.items() if n in self.decisions and c.ended is None and c.until > now
        ]

    def take_back(self, numbers: list[int], *, silently: bool) -> None:
        """End decisions, with or without leaving a trace of it."""
        with self.guard:
            serials = [self.claims[n].serial for n in numbers]
            self.journal.note(time.monotonic(), "end", serials)
            for number in numbers:
                self.claims[number].ended = time.monotonic()
            (self.forget if silently else self.unban)(*numbers)

    def rebuild(self) -> None:
        """Lose everything: rows, cursors, and the numbers that were given."""
        with self.guard:
            self.journal.note(time.monotonic(), "end", [c.serial for c in self.claims.values()])
            self.decisions.clear()
            self.claims.clear()
            self.serials.clear()
            self._cursors.clear()
            self._next = 1

    def lose_cursors(self, *, ahead: bool) -> None:
        """Forget who has seen what, or believe that all was seen."""
        with self._lock:
            where = (self._next - 1, time.time()) if ahead else (0, 0.0)
            self._cursors = dict.fromkeys(self._cursors, where)

    def stream(self, who: str, params: dict[str, str]) -> bytes:
        """Answer as the LAPI does, unless a lie is due; remember what the answer holds."""
        with self.guard:
            written = time.monotonic()
            lists = json.loads(super().stream(who, params))
            startup = params.get("startup") == "true"
            if startup and self.lies:
                share = self.lies.popleft()
                lists = {"new": random.sample(lists["new"], int(share * len(lists["new"]))), "deleted": []}
            carried = [row["id"] for row in lists["new"]]
            ids = self.serials
            page = Page(
                startup,
                written,
                frozenset(ids[n] for n in carried if n in ids),
                frozenset(ids[row["id"]] for row in lists["deleted"] if row["id"] in ids),
                sum(n not in ids for n in carried),
            )
            self._served.page = page
            self.journal.note(written, "written", page)
        return json.dumps(lists).encode()

    def serve(self, handler: Handler) -> None:
        """Answer as one should, and tell when the answer was out."""
        if handler.path.startswith("/v1/decisions/stream"):
            handler.answer(200, handler.page(), chunked=True)
            self.journal.note(time.monotonic(), "sent", self._served.page)
            self.answered = True
        else:
            handler.answer(201 if handler.command == "POST" else 200, b"{}")

    def misbehave(self, fault: Fault | None) -> None:
        """Serve with a fault from now on, or without any."""
        self.fault = fault or self.serve
        self.honest, self.answered = fault is None, False
        self.journal.note(time.monotonic(), "honest" if self.honest else "faulty", None)

    def refuse(self, handler: Handler) -> None:
        """Refuse the key: a program that has never been answered may end for that."""
        self.refused = True
        status(403)(handler)

    def hanging(self, over: threading.Event) -> Callable[[Handler], None]:
        """Return a fault: say nothing until `over`, then answer late."""

        def fault(handler: Handler) -> None:
            body = handler.page()
            while not over.wait(0.05):
                handler.wait(0)
            handler.answer(200, body, chunked=True)
            self.journal.note(time.monotonic(), "sent", self._served.page)

        return fault
