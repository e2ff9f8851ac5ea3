"""TCP sessions that stay open: both ends in the test's hands, and what each of them sees of the other."""

from __future__ import annotations

import contextlib
import errno
import resource
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lab.net import MAIL, family_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.lab.net import Host

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_FREEBIND = {4: (socket.IPPROTO_IP, 15), 6: (socket.IPPROTO_IPV6, 78)}
PATIENCE = 30.0  # seconds; a busy machine is slow


@dataclass(frozen=True, slots=True)
class Line:
    """One session: the end of whoever called, and the end of whoever was called."""

    caller: socket.socket
    called: socket.socket
    name: tuple[str, int]  # the caller's address and port

    def talks(self) -> bool:
        """Say whether a word gets across, from the caller and back."""
        for end in (self.caller, self.called):
            end.settimeout(PATIENCE)
        try:
            for speaker, listener in ((self.caller, self.called), (self.called, self.caller)):
                speaker.sendall(b"NOOP\r\n")
                if not listener.recv(100):
                    return False
        except OSError:
            return False
        return True

    def is_open(self) -> bool:
        """Say whether the end of whoever was called knows of no end, right now."""
        return fate(self.called, 0.0) == "open"

    def close(self) -> None:
        """Hang up."""
        self.caller.close()
        self.called.close()


def fate(end: socket.socket, within: float = PATIENCE) -> str:
    """Return how a session ended for one who waits for words: "open" if it didn't, "closed", or an errno's name."""
    deadline = time.monotonic() + within
    while True:
        end.settimeout(max(0.0, deadline - time.monotonic()))
        try:
            if not end.recv(100):
                return "closed"
        except (BlockingIOError, TimeoutError) as error:
            # A kernel that gives up a connection says ETIMEDOUT as well, with a number.
            return "open" if error.errno != errno.ETIMEDOUT else "ETIMEDOUT"
        except OSError as error:
            return errno.errorcode[error.errno or 0]


class Exchange:
    """Something that listens on a host, and those who called it."""

    def __init__(self, host: Host, port: int = 25, address: str = "::") -> None:
        self.port = port
        self._lines: list[Line] = []
        with host.inside():
            dual = address == "::"
            self._listener = socket.create_server(
                (address, port),
                family=_FAMILIES[family_of(address)],
                dualstack_ipv6=dual,
                backlog=4096,
            )
        self._listener.settimeout(PATIENCE)

    def line(self, host: Host, source: str, target: str = "", port: int = 0) -> Line:
        """Call it from an address of a host."""
        (line,) = self.lines(host, [source], target, port)
        return line

    def lines(self, host: Host, sources: Iterable[str], target: str = "", port: int = 0) -> list[Line]:
        """Call it from many addresses, one after the other."""
        made = []
        for source in sources:
            number = family_of(source)
            with host.inside():
                caller = socket.socket(_FAMILIES[number], socket.SOCK_STREAM)
            caller.setsockopt(*_FREEBIND[number], 1)
            caller.settimeout(PATIENCE)
            caller.bind((source, 0))
            caller.connect((target or MAIL[number], port or self.port))
            called, _ = self._listener.accept()
            made.append(Line(caller, called, caller.getsockname()[:2]))
            self._lines.append(made[-1])
        return made

    def close(self) -> None:
        """Listen no more, and end what is left of every session."""
        self._listener.close()
        for line in self._lines:
            line.close()


@contextlib.contextmanager
def exchange(host: Host, port: int = 25, address: str = "::") -> Iterator[Exchange]:
    """Listen for as long as the block runs."""
    with contextlib.closing(Exchange(host, port, address)) as made:
        yield made


def sockets(host: Host, *words: str) -> list[str]:
    """Return what `ss` shows of TCP sockets that aren't listening."""
    return host.run("ss", "-Htn", "state", "connected", "exclude", "time-wait", *words).splitlines()


def tracked(host: Host, *lines: Line) -> list[str]:
    """Return the lines of `conntrack -L` that are about one of these sessions, whoever is said to have begun."""
    names = [(f"={line.name[0]}", f"port={line.name[1]}") for line in lines]
    listed = [host.run("conntrack", "-L", "-p", "tcp", "-f", family) for family in ("ipv4", "ipv6")]
    return [
        entry
        for entry in "".join(listed).splitlines()
        if any(any(w.endswith(a) for w in entry.split()) and p in entry for a, p in names)
    ]


@contextlib.contextmanager
def many_files(count: int) -> Iterator[None]:
    """Let this process have so many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < count:  # -1 is as many as it likes
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(count, hard) if hard >= 0 else hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(count, hard) if hard >= 0 else hard))
