"""The control socket: who may ask, what comes back, and that nothing on it harms the daemon."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.control.client import NotRunning, ask, stream
from fwbouncer.control.page import render
from fwbouncer.control.server import Control
from fwbouncer.control.status import (
    DecisionStatus,
    KernelStatus,
    LapiStatus,
    LoadingStatus,
    NeverBlockStatus,
    Status,
    Traffic,
)
from fwbouncer.control.words import span
from fwbouncer.errors import ControlError, KernelError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from fwbouncer.control.server import Handler


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a socket whose path is short enough."""
    return tmp_path / "c.sock"


def with_control(control: Control, use: Callable[[], Any]) -> Any:
    """Run `use` in a thread while the control answers in a loop here, as client and daemon do."""

    async def main() -> Any:
        assert await control.start()
        try:
            return await asyncio.wait_for(asyncio.to_thread(use), 10)
        finally:
            await control.stop()

    return asyncio.run(main())


def handlers(**more: Handler) -> dict[str, Handler]:
    """Answer ping, now and later, and what a test adds."""

    async def later(request: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"said": request["word"]}

    return {"ping": lambda _: {"pong": 1}, "say": later, **more}


def raw(path: Path, sent: bytes) -> bytes:
    """Send bytes and return everything that comes back."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(5)
        peer.connect(str(path))
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        parts = []
        while part := peer.recv(65536):
            parts.append(part)
    return b"".join(parts)


class TestServer:
    """The daemon's side."""

    def test_answers(self, path: Path) -> None:
        """Plain and async handlers answer, with the arguments of the command."""
        control = Control(path, handlers())
        answers = with_control(control, lambda: (ask(path, "ping"), ask(path, "say", word="ä\n")))
        assert answers == ({"pong": 1, "protocol": 1}, {"said": "ä\n", "protocol": 1})

    def test_several_commands_on_one_connection(self, path: Path) -> None:
        """A connection may ask more than once, one line a question."""
        got = with_control(Control(path, handlers()), lambda: raw(path, b'{"command":"ping"}\n' * 3))
        assert [json.loads(line)["pong"] for line in got.splitlines()] == [1, 1, 1]

    def test_socket_is_private_and_goes(self, path: Path) -> None:
        """Only its owner may open the socket, its directory is made, and nothing is left at the end."""
        path = path.parent / "made" / "c.sock"
        mode = with_control(Control(path, handlers()), lambda: path.stat().st_mode)
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert not path.exists()

    def test_others_are_refused(self, path: Path) -> None:
        """A peer that is neither root nor our own user gets one clear word."""
        control = Control(path, handlers(), allowed={os.geteuid() + 1})
        with pytest.raises(ControlError, match="not permitted; run the command as root"):
            with_control(control, lambda: ask(path, "ping"))

    def test_stale_socket_is_replaced(self, path: Path) -> None:
        """What a killed daemon left behind is no obstacle."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        assert with_control(Control(path, handlers()), lambda: ask(path, "ping"))["pong"] == 1

    def test_live_socket_is_left_alone(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A second daemon warns, goes without control, and doesn't remove the first one's socket."""
        second = Control(path, handlers())

        async def main() -> bool:
            first = Control(path, handlers())
            assert await first.start()
            started = await second.start()
            await second.stop()
            assert path.exists()
            await first.stop()
            return started

        assert asyncio.run(main()) is False
        assert "another daemon answers" in caplog.text

    @pytest.mark.parametrize("obstacle", ["file", "long", "parent"])
    def test_no_socket_no_harm(self, path: Path, caplog: pytest.LogCaptureFixture, obstacle: str) -> None:
        """Where no socket can be made the daemon starts all the same, with a warning, and removes nothing."""
        if obstacle == "file":
            path.write_text("precious")
        where = {"file": path, "long": path / ("x" * 108), "parent": path / "sub" / "c.sock"}[obstacle]
        if obstacle == "parent":
            path.write_text("precious")
        control = Control(where, handlers())
        assert asyncio.run(control.start()) is False
        assert "no control socket" in caplog.text
        assert obstacle == "long" or path.read_text() == "precious"

    @pytest.mark.parametrize(
        "sent",
        [b"\n", b"{\n", b"[]\n", b"\xff\n", b'{"command":7}\n', b'{"command":"nope"}\n', b"[" * 9999 + b"\n"],
    )
    def test_nonsense(self, path: Path, sent: bytes) -> None:
        """What is no command is answered with the commands there are, and the next one is served."""
        got = with_control(Control(path, handlers()), lambda: (raw(path, sent), ask(path, "ping")))
        assert json.loads(got[0])["error"] == "unknown command; this daemon knows ping, say"
        assert got[1]["pong"] == 1

    def test_endless_line(self, path: Path) -> None:
        """A line without an end is cut off, and the next command is served."""
        control = Control(path, handlers())

        def flood() -> dict[str, Any]:
            with suppress(ConnectionError):
                assert raw(path, b"x" * 1_000_000) == b""
            return ask(path, "ping")

        assert with_control(control, flood)["pong"] == 1

    def test_silent_peer(self, path: Path) -> None:
        """A peer that says nothing is hung up on, and keeps nobody from being served meanwhile."""

        def silent() -> tuple[bytes, dict[str, Any]]:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(5)
                peer.connect(str(path))
                answer = ask(path, "ping")
                return peer.recv(1), answer

        assert with_control(Control(path, handlers(), idle=0.2), silent) == (b"", {"pong": 1, "protocol": 1})

    def test_crowd(self, path: Path) -> None:
        """More peers than there can be administrators are turned away, and served again afterwards."""

        def crowd() -> tuple[str, dict[str, Any]]:
            peers = [socket.socket(socket.AF_UNIX) for _ in range(16)]
            for peer in peers:
                peer.connect(str(path))
            time.sleep(0.1)
            with pytest.raises(ControlError) as caught:
                ask(path, "ping")
            for peer in peers:
                peer.close()
            time.sleep(0.1)
            return str(caught.value), ask(path, "ping")

        words, answer = with_control(Control(path, handlers()), crowd)
        assert (words, answer["pong"]) == ("too many commands at once; try again", 1)

    def test_failing_handlers(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A handler's error is the answer; a mistake of ours is logged with its traceback and not sent."""

        def refuses(_: dict[str, Any]) -> dict[str, Any]:
            raise KernelError("the table is gone")

        def breaks(_: dict[str, Any]) -> dict[str, Any]:
            raise ZeroDivisionError("secret detail")

        async def hangs(_: dict[str, Any]) -> dict[str, Any]:
            await asyncio.sleep(60)
            return {}

        control = Control(
            path, {"a": refuses, "b": breaks, "c": hangs, "d": lambda _: {"x": {1}}}, patience=0.2
        )

        def all_of_them() -> list[str]:
            said = []
            for name in "abcd":
                with pytest.raises(ControlError) as caught:
                    ask(path, name)
                said.append(str(caught.value))
            return said

        assert with_control(control, all_of_them) == [
            "the table is gone",
            "ZeroDivisionError in the daemon; its log says more",
            "no answer within 0.2 s",
            "TypeError in the daemon; its log says more",
        ]
        assert "secret detail" in caplog.text

    def test_stop_lets_answers_out(self, path: Path) -> None:
        """A command that makes the daemon stop is still answered; stopping twice does no harm."""

        async def main() -> Any:
            async def ends(_: dict[str, Any]) -> dict[str, Any]:
                stopping.append(asyncio.create_task(control.stop()))
                await asyncio.sleep(0.1)
                return {"done": True}

            stopping: list[asyncio.Task[None]] = []
            control = Control(path, {"end": ends})
            await control.start()
            answer = await asyncio.to_thread(ask, path, "end")
            await asyncio.gather(*stopping, control.stop())
            return answer

        assert asyncio.run(main())["done"] is True

    def test_stop_from_within(self, path: Path) -> None:
        """A handler may stop the control itself."""

        async def ends(_: dict[str, Any]) -> dict[str, Any]:
            await control.stop()
            return {"done": True}

        control = Control(path, {"end": ends})
        assert with_control(control, lambda: ask(path, "end"))["done"] is True


class TestClient:
    """The command's side: each way of not getting an answer has its own words."""

    def serve(self, path: Path, reply: Callable[[socket.socket], None]) -> threading.Thread:
        """Accept one peer and do to it what `reply` does."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)

        def run() -> None:
            peer, _ = listener.accept()
            with peer, listener:
                peer.recv(65536)
                reply(peer)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def test_nobody(self, path: Path) -> None:
        """No socket, and a socket that nobody listens at, both mean that no daemon is running."""
        with pytest.raises(NotRunning, match="no daemon is running"):
            ask(path, "status")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
            with pytest.raises(NotRunning, match="no daemon is running"):
                ask(path, "status")

    @pytest.mark.parametrize(
        ("sent", "words"),
        [
            (b"", "hung up without an answer"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not fwbouncer"),
            (b"{}\n", "is not fwbouncer"),
            (b'{"protocol":2}\n', "speaks protocol 2 and this command 1; restart the daemon"),
            (b'{"protocol":1,"error":"why not"}\n', "^why not$"),
            (
                b'{"protocol":1,"error":"unknown command; this daemon knows ping"}\n',
                "is older than this command",
            ),
        ],
    )
    def test_wrong_answers(self, path: Path, sent: bytes, words: str) -> None:
        """Another program, another version, and a refusal are told apart."""
        thread = self.serve(path, lambda peer: peer.sendall(sent))
        with pytest.raises(ControlError, match=words):
            ask(path, "status")
        thread.join()

    @pytest.mark.parametrize("trickle", [b"", b" "])
    def test_hangs(self, path: Path, trickle: bytes) -> None:
        """A daemon that takes the question and doesn't answer, or answers for ever, is said to hang."""

        def stall(peer: socket.socket) -> None:
            for _ in range(8):
                time.sleep(0.05)
                try:
                    peer.sendall(trickle)
                except OSError:
                    return

        thread = self.serve(path, stall)
        with pytest.raises(ControlError, match="the daemon hangs"):
            ask(path, "status", timeout=0.2)
        thread.join()

    def test_not_a_socket(self, path: Path) -> None:
        """A path that no socket can have is an error in words, not a traceback."""
        with pytest.raises(ControlError, match="can't ask the daemon"):
            ask(path / ("x" * 120), "status")


class TestStream:
    """Answers that are lists."""

    @staticmethod
    def lister(pieces: list[bytes], error: Exception | None = None) -> Handler:
        """Answer with pieces, then with an error if there is one."""

        async def handle(_: dict[str, Any]) -> AsyncGenerator[bytes, None]:
            for piece in pieces:
                yield piece
            if error is not None:
                raise error

        return handle

    @pytest.mark.parametrize(
        "pieces",
        [[], [b'{"a":1}\n'], [b'{"a":1}\n{"a":2}\n', b"", b'{"a":3}\n'], [b'{"a":1}\n' * 100_000] * 3],
    )
    def test_all_of_it(self, path: Path, pieces: list[bytes]) -> None:
        """Everything comes, in whole lines, and the connection can be asked again."""
        control = Control(path, handlers(list=self.lister(pieces)))
        got = with_control(control, lambda: list(stream(path, "list")))
        assert b"".join(got) == b"".join(pieces)
        assert all(piece.endswith(b"\n") for piece in got)

    def test_breaks_off(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """What fails in the middle is told as the reason, behind what came before it."""
        broken = {
            "a": self.lister([b"{}\n"], KernelError("why not")),
            "b": self.lister([], ZeroDivisionError("x")),
        }
        control = Control(path, broken)

        def both() -> list[str]:
            said = []
            for name in "ab":
                with pytest.raises(ControlError) as caught:
                    list(stream(path, name))
                said.append(str(caught.value))
            return said

        assert with_control(control, both) == [
            "why not",
            "ZeroDivisionError in the daemon; its log says more",
        ]
        assert "a command failed" in caplog.text

    def test_reader_that_leaves(self, path: Path) -> None:
        """Who reads no further ends the list, and nothing else."""
        control = Control(path, handlers(list=self.lister([b"{}\n" * 100_000] * 1000)))

        def leave() -> dict[str, Any]:
            pieces = stream(path, "list")
            next(pieces)
            pieces.close()
            return ask(path, "ping")

        assert with_control(control, leave)["pong"] == 1

    def test_others_are_served_meanwhile(self, path: Path) -> None:
        """A reader that stops in the middle keeps nobody waiting."""
        control = Control(path, handlers(list=self.lister([b"{}\n" * 100_000] * 100)))

        def both() -> tuple[dict[str, Any], int]:
            pieces = stream(path, "list")
            next(pieces)
            return ask(path, "ping"), sum(1 for _ in pieces)

        answer, rest = with_control(control, both)
        assert (answer["pong"], rest > 0) == (1, True)


FULL = Status(
    version="0.1.0",
    pid=4711,
    mode="nftables",
    owned=True,
    since=93784,
    lapi=LapiStatus("http://127.0.0.1:8080/", 1.5, 200, "refused\x1b[31m", 8, 1200),
    decisions=DecisionStatus(
        12345,
        {"lists:x": 345, "CAPI": 12000},
        {"IPv4": 12000, "IPv6": 345},
        12000,
        345,
        {"ban": 12344, "captcha": 1},
    ),
    kernel=KernelStatus(12345, 2, "ENOBUFS", 1, 0.42),
    rejects={"loopback": 1},
    ignored={"scope AS": 3},
    loading=LoadingStatus("fetching", 4711, 2.5),
    dropped={"CAPI": Traffic(10, 1500), "cscli": Traffic(1, 40)},
    processed=Traffic(123456, 10**10),
    never_block=NeverBlockStatus(3, {"listed": ["192.0.2.1"], "own-addresses": ["127.0.0.1", "::1"]}),
    warnings=("the clock jumped",),
)


class TestStatus:
    """The page that `fwbouncer status` prints."""

    def test_page(self) -> None:
        """All of it is on the page, in order, and nothing that a terminal would obey."""
        assert render(FULL.as_dict(), color=False).splitlines() == [
            "daemon     fwbouncer 0.1.0, mode nftables, pid 4711, up 1 d 2 h, table owned",
            "LAPI       http://127.0.0.1:8080/",
            "           answered 1.5 s ago, asked again in 8.0 s",
            "           everything compared 20 min ago",
            "           failing for 3 min 20 s: refused\\x1b[31m",
            "loading    4,711 decisions have come from the LAPI, in 2.5 s",
            "decisions  12,345 (12,000 IPv4, 345 IPv6)",
            "           12,000 hosts, 345 ranges",
            "           12,000 from CAPI",
            "           345 from lists:x",
            "           by type: 12,344 ban, 1 captcha",
            "ports      all closed to the banned",
            "spared     3 never blocked: 1 listed, 2 own-addresses",
            "kernel     12,345 elements, 2 to be written, last write took 0.4 ms",
            "           repaired 1 times after changes by others",
            "           last error: ENOBUFS",
            "dropped    10 packets, 1.5 kB from CAPI",
            "           1 packets, 40 B from cscli",
            "processed  123,456 packets, 10.0 GB",
            "refused    1: loopback",
            "ignored    3: scope AS",
            "warnings   the clock jumped",
        ]

    def test_survives_the_socket(self) -> None:
        """What JSON makes of a status gives the same page."""
        sent = json.loads(json.dumps(FULL.as_dict()))
        assert render(sent, color=False) == render(FULL.as_dict(), color=False)

    def test_fresh_daemon(self) -> None:
        """A daemon that has just been started has a page, too."""
        page = render(Status("0", 1, "dry-run", False, 0, LapiStatus("/s")).as_dict(), color=False)
        assert "never answered" in page
        assert "table not owned" in page

    @given(
        st.dictionaries(
            st.sampled_from(
                [
                    "version",
                    "pid",
                    "since",
                    "lapi",
                    "decisions",
                    "kernel",
                    "dropped",
                    "warnings",
                    "rejects",
                    "new",
                ]
            ),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                lambda inner: st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["url", "total", "elements", "by_origin", "packets", "error", "x"]), inner
                ),
                max_leaves=8,
            ),
        )
    )
    def test_other_versions(self, status: dict[str, Any]) -> None:
        """Whatever another version sends, missing, unknown or of another type, there is a page."""
        assert render(status, color=False).startswith("daemon")

    def test_color(self) -> None:
        """On a terminal the same words are there, and origins are not taken for markup."""
        marked = {"decisions": {"total": 1, "by_origin": {"[red]x[/red]": 1}}}
        assert "[red]x[/red]" in render(marked, color=True)

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0, "0.0 s"), (9.94, "9.9 s"), (10, "10 s"), (60, "1 min"), (3725, "1 h 2 min"), (None, "0.0 s")],
    )
    def test_span(self, seconds: float | None, text: str) -> None:
        """Times are written as people say them."""
        assert span(seconds) == text
