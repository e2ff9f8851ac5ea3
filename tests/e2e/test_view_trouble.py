"""The commands where no daemon answers as it should: one clear line, exit code 1, never a traceback."""

from __future__ import annotations

import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.bouncer import Bouncer

COMMANDS = [
    ("status",),
    ("status", "--json"),
    ("explain", "192.0.2.1"),
    ("explain", "192.0.2.0/24", "--json"),
    ("list",),
    ("list", "--json", "--sort", "left"),
    ("top", "--once"),
    ("unblock", "192.0.2.1"),
    ("unblock", "--list"),
]


@pytest.fixture
def pretender(tmp_path: Path) -> Iterator[Callable[[bytes], Path]]:
    """Listen on a socket and answer every question with the same bytes."""
    path = tmp_path / "pretender.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(16)
    reply = [b""]

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.recv(65536)
                peer.sendall(reply[0])

    threading.Thread(target=serve, daemon=True).start()

    def begin(said: bytes) -> Path:
        reply[0] = said
        return path

    yield begin
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def _complaint(running: Bouncer, *words: str) -> str:
    code, printed = running.attempt(*words)
    assert code == 1, printed
    assert printed.startswith("fwbouncer: ")
    assert len(printed.splitlines()) == 1, printed
    return printed


def test_nobody_runs(bouncer: MakeBouncer) -> None:
    """Without a daemon, each command says that none is running."""
    stopped = bouncer()
    for words in COMMANDS:
        assert "no daemon is running" in _complaint(stopped, *words)


def test_a_crash_leaves_a_socket(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> None:
    """A socket that a killed daemon left is no daemon."""
    running = bouncer(api_url=fake_lapi.url)
    running.start()
    running.kill()
    assert "no daemon is running" in _complaint(running, "explain", "192.0.2.1")


def test_a_daemon_that_hangs(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> None:
    """A daemon that is stopped in its tracks is said to hang, and answers again when it goes on."""
    running = bouncer(api_url=fake_lapi.url)
    running.start()
    running.signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor() as pool:  # each waits for some seconds
            told = pool.map(lambda words: _complaint(running, *words), (("status",), ("list",), ("top",)))
        assert all("the daemon hangs" in words for words in told)
    finally:
        running.signal(signal.SIGCONT)
    assert running.attempt("status")[0] == 0


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "hung up without an answer"),
        (b"220 mail.example.net ESMTP\r\n", "is not fwbouncer"),
        (b"\x00\xff" * 1000 + b"\n", "is not fwbouncer"),
        (b"[" * 100_000 + b"\n", "is not fwbouncer"),
        (b'{"protocol":0}\n', "restart the daemon after an upgrade"),
        (b'{"protocol":99,"new":"things"}\n', "restart the daemon after an upgrade"),
        (
            b'{"protocol":1,"error":"unknown command; this daemon knows status"}\n',
            "is older than this command",
        ),
        (b'{"protocol":1,"error":"evil\\u001b[2J"}\n', "evil\\x1b[2J"),
    ],
)
def test_what_answers_is_something_else(
    bouncer: MakeBouncer, pretender: Callable[[bytes], Path], said: bytes, words: str
) -> None:
    """Garbage, another version and a foreign program are told apart, by every command."""
    stopped = bouncer()
    path = str(pretender(said))
    for command in COMMANDS:
        assert words in _complaint(stopped, *command, "--control-socket", path)


def test_a_list_that_breaks_off(bouncer: MakeBouncer, pretender: Callable[[bytes], Path]) -> None:
    """What came is printed; that it is not all is said, and the exit code tells."""
    row = b'{"id":1,"value":"192.0.2.1","until":"","left":1,"origin":"a","scenario":"b","type":"ban"}\n'
    path = str(pretender(b'{"protocol":1,"stream":true}\n' + row))
    code, printed = bouncer().attempt("list", "--control-socket", path)
    assert code == 1
    assert "192.0.2.1" in printed
    assert "hung up before the end" in printed
