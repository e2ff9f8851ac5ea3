"""Whose sessions are cut is the book's word of the moment; what can't be done is said once."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fwbouncer.config.schema import Config, Lapi, Mode, Replies
from fwbouncer.core.addresses import read
from fwbouncer.core.book import Book
from fwbouncer.core.model import FOREVER
from fwbouncer.daemon.cutter import Cutter
from fwbouncer.daemon.keeper import Keeper
from fwbouncer.errors import KernelBusy
from fwbouncer.kernel.memory import Memory
from fwbouncer.kernel.sessions import Session, Sessions
from fwbouncer.kernel.sessions_tcp import ESTABLISHED, Connection
from tests.unit.core_naive import HOUR, LABELS, page

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from fwbouncer.core.suspects import Suspects

NOW = 1_000_000
LOCAL = read("192.0.2.25")


def session(peer: str, *, ours: bool = False) -> Session:
    """Return a session with a peer."""
    return Session(Connection(socket.AF_INET, ESTABLISHED, b"", LOCAL, 25, read(peer), 40000), ours, 25)


class Played(Sessions):
    """Sessions that are there because a test says so."""

    def __init__(self, *there: Session) -> None:
        super().__init__()
        self.there = list(there)
        self.ended: list[str] = []
        self.asked = 0
        self.faults: deque[Exception] = deque()
        self.meanwhile: Callable[[], object] = lambda: None

    def probe(self) -> None:
        """Lack what a test says."""

    def find(self, suspects: Suspects) -> list[Session]:
        """Look among those that are there."""
        self.asked += 1
        if self.faults:
            raise self.faults.popleft()
        among = suspects.among({one.peer for one in self.there})
        self.meanwhile()
        return [one for one in self.there if one.peer in among]

    def cut(self, sessions: Sequence[Session]) -> list[Session]:
        """End them."""
        self.ended += [socket.inet_ntoa(one.peer) for one in sessions]
        self.there = [one for one in self.there if one not in sessions]
        return list(sessions)


class Scene:
    """A keeper on a kernel in a dict, and the one who cuts."""

    def __init__(self, sessions: Played, **settings: Any) -> None:
        self.config = Config(Path("x"), Mode.NFTABLES, Lapi(("http://x/",)), (), {}, **settings)
        self.book = Book()
        self.keeper = Keeper(self.book, Memory(lambda: NOW), lambda: NOW)
        self.sessions = sessions
        self.cutter = Cutter(self.config, self.keeper, sessions, lambda: NOW)
        self._next = 1

    async def ban(self, *values: str) -> None:
        """Ban, and wait until whatever follows is done."""
        rows = [(self._next + n, read(v), NOW + HOUR, LABELS[0]) for n, v in enumerate(values)]
        self._next += len(rows)
        self.book.take(page(rows, startup=self._next == 1 + len(rows)), NOW)
        await self.step()

    async def step(self) -> None:
        """Write, and wait until whatever follows is done."""
        await self.keeper.step()
        for _ in range(100):
            await asyncio.sleep(0.002)
            if not self.cutter._suspects and not self.cutter._news.is_set():
                break
        await asyncio.sleep(0.05)


def play(scene: Scene, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story with the cutter at work."""

    async def run() -> None:
        work = asyncio.create_task(scene.cutter.run())
        try:
            await story()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            scene.keeper.close()

    asyncio.run(run())


def test_only_who_is_banned() -> None:
    """Sessions of banned hosts and networks end, and no other peer's."""
    scene = Scene(Played(session("10.0.0.1"), session("10.0.1.9"), session("10.0.2.1")))

    async def story() -> None:
        await scene.ban("10.0.0.1")
        assert scene.sessions.ended == ["10.0.0.1"]
        await scene.ban("10.0.1.0/24")
        assert scene.sessions.ended == ["10.0.0.1", "10.0.1.9"]

    play(scene, story)
    status = scene.cutter.status(NOW + 5000)
    assert (status.on, status.cut, status.peers, status.last_cut, status.last_cut_ago) == (True, 2, 2, 1, 5.0)


@pytest.mark.parametrize(("replies", "ended"), [(Replies.PASS, []), (Replies.DROP, ["10.0.0.1"])])
def test_connections_of_our_own(replies: Replies, ended: list[str]) -> None:
    """What we opened ends only where replies are dropped."""
    scene = Scene(Played(session("10.0.0.1", ours=True)), replies=replies)

    async def story() -> None:
        await scene.ban("10.0.0.1")
        assert scene.sessions.ended == ended

    play(scene, story)


def test_a_ban_that_is_over_meanwhile() -> None:
    """Who is unbanned or unblocked while sessions are looked for keeps them."""
    scene = Scene(Played(session("10.0.0.1"), session("10.0.0.2"), session("10.0.0.3")))

    def change_of_mind() -> None:
        scene.book.ledger.drop([1])
        scene.book.spare({read("10.0.0.2"): FOREVER})

    scene.sessions.meanwhile = change_of_mind

    async def story() -> None:
        await scene.ban("10.0.0.1", "10.0.0.2", "10.0.0.3")
        assert scene.sessions.ended == ["10.0.0.3"]

    play(scene, story)


def test_who_is_no_longer_spared() -> None:
    """A banned peer's sessions end when it is no longer never blocked."""
    scene = Scene(Played(session("10.0.0.1")))

    async def story() -> None:
        scene.book.spare({read("10.0.0.0/24"): FOREVER})
        await scene.ban("10.0.0.1")
        assert scene.sessions.ended == []
        scene.book.spare({})
        await scene.step()
        assert scene.sessions.ended == ["10.0.0.1"]

    play(scene, story)


def test_a_reload_compares_everybody() -> None:
    """Turned off, nobody is looked for; turned on, everybody who is banned by then."""
    scene = Scene(Played(session("10.0.0.1")), close_sessions=frozenset())

    async def story() -> None:
        await scene.ban("10.0.0.1")
        assert scene.sessions.asked == 0
        scene.cutter.change_to(Scene(Played()).config)
        await scene.step()
        assert scene.sessions.ended == ["10.0.0.1"]

    play(scene, story)


def test_nothing_new_asks_nothing() -> None:
    """At rest, and while bans only end, the kernel isn't asked for its sockets."""
    scene = Scene(Played(session("10.0.0.1")))

    async def story() -> None:
        await scene.ban("10.0.0.2")
        asked = scene.sessions.asked
        await scene.step()
        scene.book.ledger.drop([1])
        scene.book.expire(NOW)
        await scene.step()
        assert scene.sessions.asked == asked

    play(scene, story)


@pytest.mark.parametrize("fault", [KernelBusy("so it goes"), OSError(24, "Too many open files")])
def test_a_failure_is_tried_again(fault: Exception) -> None:
    """Neither a busy kernel nor a want of descriptors ends the daemon, and it is asked again."""
    scene = Scene(Played(session("10.0.0.1")))
    scene.sessions.faults.append(fault)

    async def story() -> None:
        await scene.ban("10.0.0.1")
        async with asyncio.timeout(10):
            while not scene.sessions.ended:  # noqa: ASYNC110 - a thread ends them
                await asyncio.sleep(0.01)

    play(scene, story)


def test_what_a_kernel_lacks_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line of the log, however many bans there are, and the status has it."""
    scene = Scene(Played())
    scene.sessions.unsupported = ("open sessions can't be cut: so it goes",)

    async def story() -> None:
        with caplog.at_level(logging.WARNING, "fwbouncer"):
            for n in range(3):
                await scene.ban(f"10.0.0.{n}")

    play(scene, story)
    assert [r.getMessage() for r in caplog.records] == list(scene.sessions.unsupported)
    assert scene.cutter.status(NOW).unsupported == scene.sessions.unsupported


def test_the_log_is_not_flooded(caplog: pytest.LogCaptureFixture) -> None:
    """The first cut is told at once, all that follow within seconds together, and none is left out."""
    scene = Scene(Played(*(session(f"10.0.0.{n}") for n in range(20))))

    async def story() -> None:
        for n in range(20):
            await scene.ban(f"10.0.0.{n}")

    with caplog.at_level(logging.INFO, "fwbouncer"):
        play(scene, story)
    said = [(r.getMessage(), vars(r)["sessions"]) for r in caplog.records if vars(r).get("event") == "cut"]
    assert said == [
        ("cut 1 session of newly banned 10.0.0.0", 1),
        ("cut 19 sessions of 19 newly banned peers", 19),
    ]
