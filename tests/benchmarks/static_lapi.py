"""A LAPI that serves prepared answers, in a process of its own so that it shares no interpreter with the clock.

Orders come in as lines on its standard input, and what it has served goes out as lines, with the time at which the
last byte was handed to the kernel (CLOCK_MONOTONIC, nanoseconds).

Where many run side by side, all serve a snapshot from one file that they map: it is in memory once. A poll that has
nothing new is held for a while and answered at once when there is news: so a change needn't wait for the next poll,
though polls are few.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # started by its path
    sys.path[0] = str(Path(__file__).parents[2])

from tests.benchmarks.page import NOTHING

if TYPE_CHECKING:
    from tests.lab.net import Host

PORT = 8080
URL = f"http://127.0.0.1:{PORT}/"
_PIECE = 1 << 18  # a chunk; Go's server writes what it is given as one
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)
HELD = 0.4  # seconds
_POSTED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Served:
    """One answer that went out."""

    what: str  # snapshot, delta or nothing
    began: int
    ended: int


class StaticLapi:
    """The process, as the benchmarks hold it."""

    def __init__(self, host: Host) -> None:
        self._process = host.start(
            sys.executable, __file__, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
        )
        self._served: Queue[Served] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._await("listening")

    def serve(self, snapshot: Path) -> None:
        """Answer snapshots with this file from now on, and everything else with nothing new."""
        self._order(snapshot=str(_answer_file(snapshot)))

    def serve_once(self, delta: Path) -> None:
        """Answer the next poll for news with this file."""
        self._order(delta=str(delta))

    def next(self, what: str, within: float = 60.0) -> Served:
        """Wait until such an answer has gone out; earlier ones of other kinds are forgotten."""
        return self._await(what, within)

    def forget(self) -> None:
        """Forget what was served so far."""
        with contextlib.suppress(Empty):
            while True:
                self._served.get_nowait()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError), self._process:  # closes the pipes, and waits
            self._reader.join()

    def _order(self, **order: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        self._await("ready")

    def _await(self, what: str, within: float = 60.0) -> Served:
        deadline = time.monotonic() + within
        while True:
            try:
                served = self._served.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise TimeoutError(f"nobody asked for {what} within {within} s") from None
            if served.what == what:
                return served

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._served.put(Served(**json.loads(line)))


class _Shop:
    """What there is to serve."""

    def __init__(self) -> None:
        self.snapshot: bytes | mmap.mmap = _chunked(NOTHING)
        self.nothing = _chunked(NOTHING)
        self.deltas: deque[bytes] = deque()
        self.news = threading.Condition()

    def take_orders(self) -> None:
        for line in sys.stdin:
            order: dict[str, Any] = json.loads(line)
            with self.news:
                if "snapshot" in order:
                    with Path(order["snapshot"]).open("rb") as file:
                        self.snapshot = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                    self.deltas.clear()
                if "delta" in order:
                    self.deltas.append(_chunked(Path(order["delta"]).read_bytes()))
                    self.news.notify()
                _tell("ready", 0)  # before it tells that the news went out

    def serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pending = b""
            while data := connection.recv(65536):
                pending += data
                while b"\r\n\r\n" in pending:
                    head, _, pending = pending.partition(b"\r\n\r\n")
                    pending = self._answer(connection, head, pending)

    def _answer(self, connection: socket.socket, head: bytes, rest: bytes) -> bytes:
        began = time.monotonic_ns()
        if head.startswith(b"POST"):
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            missing = int(fields.get(b"content-length", b"0")) - len(rest)
            while missing > 0:
                missing -= len(connection.recv(missing))
            connection.sendall(_POSTED)
            return b""
        if b"startup=true" in head:
            what, body = "snapshot", self.snapshot
        else:
            what, body = self._news()
        connection.sendall(body)
        _tell(what, began)
        return rest

    def _news(self) -> tuple[str, bytes]:
        with self.news:
            if self.news.wait_for(lambda: self.deltas, HELD):
                return "delta", self.deltas.popleft()
        return "nothing", self.nothing


def _answer_file(page: Path) -> Path:
    """Return the file that holds a page as it goes out; written where it is missing or older than the page."""
    answer = page.with_name(f"{page.name}.http")
    if not answer.exists() or answer.stat().st_mtime_ns < page.stat().st_mtime_ns:
        fresh = page.with_name(f"{page.name}.new")  # others may have mapped the one before
        fresh.write_bytes(_chunked(page.read_bytes()))
        fresh.rename(answer)
    return answer


def _chunked(body: bytes) -> bytes:
    pieces = (body[at : at + _PIECE] for at in range(0, len(body), _PIECE))
    return b"".join([_HEAD, *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"])


def _tell(what: str, began: int) -> None:
    served = {"what": what, "began": began, "ended": time.monotonic_ns()}
    sys.stdout.write(json.dumps(served) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until killed."""
    shop = _Shop()
    listener = socket.create_server(("127.0.0.1", PORT))
    threading.Thread(target=shop.take_orders, daemon=True).start()
    _tell("listening", 0)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=shop.serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
