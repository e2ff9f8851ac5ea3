"""Cuts the open sessions of who is shut out, once the kernel has taken the ban. The next write never waits for it.

Whom a change may concern is looked for in a thread; whether a peer is banned, and not spared, is asked of the book
just before its sessions are cut. At the start and after a reload every session is compared with every ban: some may
have been opened while no ban stood, or were about to be cut when the process before us ended.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from fwbouncer.config.schema import Config, Replies
from fwbouncer.control.status import SessionsStatus
from fwbouncer.core.addresses import shown
from fwbouncer.core.cover import around
from fwbouncer.core.model import Layout, family_of
from fwbouncer.core.policy import Action
from fwbouncer.core.suspects import Suspects, bans_of
from fwbouncer.errors import KernelError
from fwbouncer.host.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from fwbouncer.core.book import Book
    from fwbouncer.core.model import AddressKey, Change, Label, Millis
    from fwbouncer.daemon.keeper import Keeper
    from fwbouncer.kernel.backend import Clock
    from fwbouncer.kernel.sessions import Session, Sessions

_log = logging.getLogger("fwbouncer.sessions")
T = TypeVar("T")

_AT_ONCE = 200  # sessions that are judged before other tasks have a turn
_AGAIN, _TRIES = 0.2, 5  # seconds before the kernel is asked again, and how often
_QUIET = 10.0  # seconds between two lines of the log
_MOST_LINES = 100  # about single sessions, where details are logged


class Cutter:
    """Takes what the keeper was told, and works it off, one change after the other."""

    def __init__(self, config: Config, keeper: Keeper, sessions: Sessions, clock: Clock) -> None:
        self._config = config
        self._keeper = keeper
        self._sessions = sessions
        self._clock = clock
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="sessions")
        self._news = asyncio.Event()
        self._suspects = Suspects()
        self._since: Millis = 0  # when the first of them came
        self._spared: Mapping[AddressKey, Millis] = {}
        self._everyone = True  # is to be compared anew
        self._status = SessionsStatus()
        self._last: Millis | None = None
        self._complaints: tuple[str, ...] = ()
        self._log = _CutLog(keeper.book)
        keeper.told = self._take

    def status(self, now: Millis) -> SessionsStatus:
        """Say what was done so far."""
        return replace(
            self._status,
            on=bool(self._config.close_sessions),
            last_cut_ago=None if self._last is None else (now - self._last) / 1000,
            unsupported=self._sessions.unsupported if self._config.close_sessions else (),
        )

    def change_to(self, config: Config) -> None:
        """Take over another configuration; whom that shuts out is looked for once the keeper has written it."""
        self._config = config
        self._everyone = True

    async def run(self) -> None:
        """Work whenever there is something new. Cancelled, it says what is left to say."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                suspects, self._suspects = self._suspects, Suspects()
                await self._try(suspects)
        finally:
            self._worker.shutdown(wait=False)
            self._log.flush()

    def _take(self, change: Change, spared: Mapping[AddressKey, Millis]) -> None:
        """Note what the kernel was told."""
        if not self._config.close_sessions:
            return
        if not self._suspects:
            self._since = self._clock()
        if self._everyone:
            self._everyone = False
            self._suspects = Suspects(keys=[self._keeper.book.ledger.keys()], anew=True)
        else:
            self._suspects.take(change)
            if spared is not self._spared:
                self._suspects.no_longer_spared(self._spared, spared)
        self._spared = spared
        if self._suspects:
            self._news.set()

    async def _try(self, suspects: Suspects) -> None:
        for attempt in range(_TRIES):
            try:
                await self._work(suspects)
            except (
                KernelError,
                OSError,
            ) as error:  # no bans may end for it, not even for want of descriptors
                level = logging.ERROR if attempt == _TRIES - 1 else logging.DEBUG
                _log.log(level, "sessions of banned peers can't be cut: %s", error)
                await asyncio.sleep(_AGAIN)
            else:
                return

    async def _work(self, suspects: Suspects) -> None:
        since = self._since
        if suspects.anew:
            await self._call(self._sessions.probe)
            self._complain()
        found = await self._call(lambda: self._sessions.find(suspects))
        shut_out = await self._shut_out(found)
        if shut_out:
            cut = await self._call(lambda: self._sessions.cut(shut_out))
            self._note(cut, since)

    async def _shut_out(self, found: Sequence[Session]) -> list[Session]:
        """Return those of the sessions that a ban of now forbids."""
        judged = []
        for start in range(0, len(found), _AT_ONCE):
            holes = self._keeper.book.never.holes(Layout(flatten=True))
            for session in found[start : start + _AT_ONCE]:
                hole = holes.get(family_of(session.peer))
                if not (hole and hole.in_key(session.peer)) and self._forbidden(session):
                    judged.append(session)
            await asyncio.sleep(0)
        return judged

    def _forbidden(self, session: Session) -> bool:
        if family_of(session.peer) not in self._config.close_sessions:
            return False
        if session.ours and self._config.replies is Replies.PASS:
            return False
        bans = bans_of(self._keeper.book.ledger, session.peer, self._clock())
        return any(self._closes(label, session.port) for label in bans)

    def _closes(self, label: Label, port: int) -> bool:
        policy = self._config.policies.of_group(label.group)
        verdict = policy.action or self._config.deny.action
        return verdict is not Action.LOG and policy.closes(port)

    def _note(self, cut: Sequence[Session], since: Millis) -> None:
        self._complain()
        if not cut:
            return
        self._last = self._clock()
        peers = {session.peer for session in cut}
        before = self._status
        self._status = SessionsStatus(
            cut=before.cut + len(cut),
            peers=before.peers + len(peers),
            last_cut=len(cut),
            last_cut_ms=float(self._last - since),
        )
        self._log.add(cut, self._last - since)

    def _complain(self) -> None:
        lacks, before = self._sessions.unsupported, self._complaints
        self._complaints = lacks
        for text in lacks:
            if text not in before:
                _log.warning("%s", text, extra=fields("sessions_unsupported"))

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)


class _CutLog:
    """One line for what was cut, and then one for all that follows within some seconds."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._cut: list[Session] = []
        self._took: Millis = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, cut: Sequence[Session], took: Millis) -> None:
        """Say it now or soon."""
        self._cut += cut
        self._took = max(took, self._took)
        if self._timer is None:
            self._say()
            self._timer = asyncio.get_running_loop().call_later(_QUIET, self._wake)

    def flush(self) -> None:
        """Say what has not been said."""
        if self._timer is not None:
            self._timer.cancel()
        self._say()

    def _wake(self) -> None:
        self._timer = None
        if self._cut:
            self.add((), 0)

    def _say(self) -> None:
        if not self._cut:
            return
        peers = sorted({session.peer for session in self._cut}, key=lambda key: (len(key), key))
        ports = sorted({session.port for session in self._cut})
        who = f"newly banned {shown(peers[0])}" if len(peers) == 1 else f"{len(peers)} newly banned peers"
        count = len(self._cut)
        _log.info(
            "cut %d session%s of %s",
            count,
            "" if count == 1 else "s",
            who,
            extra=fields(
                "cut",
                sessions=count,
                peers=len(peers),
                addresses=_some(map(shown, peers)),
                decisions=_some(map(str, self._decisions(peers[:10]))),
                ports=_some(map(str, ports)),
                took_ms=self._took,
            ),
        )
        if _log.isEnabledFor(logging.DEBUG):
            for session in self._cut[:_MOST_LINES]:
                _log.debug("cut %s", shown(session.peer), extra=fields("cut_one", port=session.port))
        self._cut, self._took = [], 0

    def _decisions(self, peers: Sequence[AddressKey]) -> list[int]:
        """Return the ids of the decisions that ban these peers now."""
        ids = (claim[0] for peer in peers for claim in around(self._book.ledger, peer))
        return list(dict.fromkeys(number for number in ids if number >= 0))


def _some(words: Iterable[str]) -> str:
    first = list(words)
    return " ".join(first[:10]) + (" …" if len(first) > 10 else "")
