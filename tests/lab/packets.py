"""Senders and receivers of single packets and of steady streams, and what a client sees of a connection."""

from __future__ import annotations

import contextlib
import errno
import itertools
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.lab.net import ATTACKER, MAIL, Host, Network, family_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PORT = 4190
IP_RECVERR = 11
IPV6_RECVERR = 25
_NUMBER = struct.Struct("!Q")
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_FREEBIND = {4: (socket.IPPROTO_IP, 15), 6: (socket.IPPROTO_IPV6, 78)}


def _sender(host: Host, source: str) -> socket.socket:
    number = family_of(source)
    with host.inside():
        sender = socket.socket(_FAMILIES[number], socket.SOCK_DGRAM)
    sender.setsockopt(*_FREEBIND[number], 1)
    sender.bind((source, 0))
    return sender


class Probe:
    """Numbered UDP packets to the mail host, from any address; a thread there notes which of them arrive."""

    def __init__(self, net: Network) -> None:
        self._net = net
        self._numbers = itertools.count(1)
        self._arrivals: dict[int, int] = {}
        self._done = threading.Event()
        with net.mail.inside():
            self._receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._receiver.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
        self._receiver.bind(("::", PORT))
        self._receiver.settimeout(0.05)
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._done.set()
        self._thread.join()
        self._receiver.close()

    def _receive(self) -> None:
        while not self._done.is_set():
            with contextlib.suppress(TimeoutError):
                packet = self._receiver.recv(64)
                self._arrivals[_NUMBER.unpack(packet)[0]] = time.monotonic_ns()

    def _send(self, sender: socket.socket, target: str) -> int:
        number = next(self._numbers)
        # A refusal that came back for an earlier packet is told at this call; it says nothing about this one.
        with contextlib.suppress(OSError):
            sender.sendto(_NUMBER.pack(number), (target, PORT))
        return number

    def arriving(self, sources: Iterable[str], wait: float = 0.3) -> set[str]:
        """Send one packet from each source; return the sources whose packet arrived."""
        sent: dict[int, str] = {}
        for source in sources:
            with _sender(self._host_of(source), source) as sender:
                sent[self._send(sender, MAIL[family_of(source)])] = source
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline and not sent.keys() <= self._arrivals.keys():
            time.sleep(0.002)
        return {source for number, source in sent.items() if number in self._arrivals}

    def passes(self, source: str) -> bool:
        """Say whether a packet from this address reaches the mail host."""
        return bool(self.arriving([source]))

    def wait_until(self, source: str, *, passes: bool, within: float) -> float:
        """Return after how many seconds packets from an address began to pass, or ceased to.

        On a busy machine a packet can be late: one that hasn't come must stay away a while to count as blocked.
        """
        start = time.monotonic()
        while (spent := time.monotonic() - start) < within:
            arrived = self.arriving([source], wait=0.03) or (not passes and self.arriving([source]))
            if bool(arrived) is passes:
                return spent
        raise AssertionError(
            f"after {within} s packets from {source} still {'do not pass' if passes else 'pass'}"
        )

    @contextlib.contextmanager
    def stream(self, source: str, every: float = 0.001) -> Iterator[Stream]:
        """Send a packet each millisecond while the block runs; what became of them is known after it."""
        stream = Stream()
        done = threading.Event()
        sender = _sender(self._host_of(source), source)
        target = MAIL[family_of(source)]
        sent: list[tuple[int, int]] = []

        def work() -> None:
            due = time.monotonic()
            while not done.is_set():
                now = time.monotonic_ns()
                sent.append((self._send(sender, target), now))
                due += every
                time.sleep(max(0.0, due - time.monotonic()))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield stream
        finally:
            done.set()
            thread.join()
            sender.close()
            time.sleep(0.05)
            stream.packets = [Sent(at, number in self._arrivals) for number, at in sent]

    def _host_of(self, source: str) -> Host:
        return self._net.honest if source.startswith(("203.0.113.", "2001:db8:b::")) else self._net.attacker


@dataclass(frozen=True, slots=True)
class Sent:
    """One packet of a stream."""

    at: int  # CLOCK_MONOTONIC, nanoseconds
    arrived: bool


@dataclass(slots=True)
class Stream:
    """A stream that is over."""

    packets: list[Sent] = field(default_factory=list)

    def arrived(self, since: int = 0) -> int:
        """Count the packets that were sent at `since` or later and arrived."""
        return sum(packet.arrived for packet in self.packets if packet.at >= since)

    def first(self, *, arrived: bool, since: int = 0) -> int:
        """Return when the first packet was sent that arrived, or did not."""
        return next(packet.at for packet in self.packets if packet.at >= since and packet.arrived is arrived)


class Greeter:
    """A mail service of one line: greets every TCP client, and answers each line with OK."""

    def __init__(self, host: Host, port: int = 25) -> None:
        with host.inside():
            self._listener = socket.create_server(
                ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128
            )
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more clients."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        # Closing the listener ends accept with an error.
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    @staticmethod
    def _talk(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.sendall(b"220 mail.example.net\r\n")
            while client.recv(1024):
                client.sendall(b"250 OK\r\n")


def client(host: Host, source: str) -> socket.socket:
    """Return a TCP socket with any address for its own, still unconnected."""
    number = family_of(source)
    with host.inside():
        made = socket.socket(_FAMILIES[number], socket.SOCK_STREAM)
    made.setsockopt(*_FREEBIND[number], 1)
    made.bind((source, 0))
    return made


def dial(host: Host, source: str, target: str = "", port: int = 25, timeout: float = 1.0) -> str:
    """Connect to the mail host or elsewhere; return the greeting, or what came instead.

    That is "timeout", "refused", "unreachable", "reset" where it was ended after it had been opened, or "aborted"
    where this host's own kernel ended it.
    """
    with client(host, source) as peer:
        peer.settimeout(timeout)
        try:
            peer.connect((target or MAIL[family_of(source)], port))
            return peer.recv(100).decode().strip()
        except TimeoutError:
            return "timeout"
        except ConnectionRefusedError:
            return "refused"
        except ConnectionAbortedError:
            return "aborted"
        except ConnectionResetError:
            return "reset"
        except OSError as error:
            if error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPROTO}:
                return "unreachable"
            raise


def icmp_answer(
    host: Host, source: str = "", timeout: float = 1.0, *, version: int = 4
) -> tuple[int, int] | None:
    """Send one UDP packet and return the ICMP type and code that come back for it, if any do."""
    source = source or ATTACKER[version]
    number = family_of(source)
    with _sender(host, source) as sender:
        if number == 4:
            sender.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        else:
            sender.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        sender.connect((MAIL[number], PORT))
        sender.send(_NUMBER.pack(0))
        poll = select.poll()
        poll.register(sender, select.POLLERR)
        if not poll.poll(timeout * 1000):
            return None
        _, ancillary, _, _ = sender.recvmsg(64, 512, socket.MSG_ERRQUEUE)
        # struct sock_extended_err: errno, origin, type, code
        _, _, kind, code = struct.unpack_from("=IBBB", ancillary[0][2])
        return kind, code
