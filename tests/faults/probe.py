"""A process of its own that sends numbered packets from every watched address, and tells which of them arrived.

probe.py MAIL ATTACKER HONEST: rows of `ROW` on standard output until standard input is closed.
"""

from __future__ import annotations

import itertools
import os
import select
import socket
import struct
import sys
import time
from collections import deque

from tests.faults.addresses import WATCHED
from tests.lab.net import ATTACKER, HONEST, MAIL, Host, family_of
from tests.lab.packets import _sender

# Which address, not before when it was sent, not after when it met the rules, whether it arrived.
ROW = struct.Struct("=Hdd?")
PORT = 4191
EVERY = 0.012  # seconds between two packets from one address
PATIENCE = 5.0  # what has not arrived by then was dropped in any case
_NUMBER = struct.Struct("!Q")


def _receiver(mail: Host) -> socket.socket:
    with mail.inside():
        receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    receiver.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
    receiver.bind(("::", PORT))
    return receiver


class Ledger:
    """Which packets are on their way, and which have arrived.

    A packet was dropped if one that nobody bans was sent after it and has arrived: on one processor, packets meet the
    rules in the order in which they were sent.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: deque[tuple[int, int, float]] = deque()
        self._arrived: set[int] = set()
        self._canaries: set[int] = set()
        self._passed = 0  # the last canary that arrived

    def send(self, sender: socket.socket, which: int, target: tuple[str, int]) -> None:
        """Send the next packet."""
        number, begin = next(self._numbers), time.monotonic()
        try:
            sender.sendto(_NUMBER.pack(number), target)
        except OSError:
            return  # an ICMP answer to an earlier packet; this one was not sent
        self._waiting.append((number, which, begin))
        if WATCHED[which].text in ATTACKER.values():
            self._canaries.add(number)

    def receive(self, receiver: socket.socket) -> None:
        """Take note of what has arrived."""
        try:
            while True:
                number = _NUMBER.unpack(receiver.recv(64))[0]
                self._arrived.add(number)
                if number in self._canaries:
                    self._passed = max(number, self._passed)
                    self._canaries.discard(number)
        except BlockingIOError:
            pass

    def rows(self) -> bytes:
        """Return what is known for certain by now."""
        now, rows = time.monotonic(), bytearray()
        while self._waiting:
            number, which, begin = self._waiting[0]
            arrived = number in self._arrived
            if not arrived and number > self._passed and begin > now - PATIENCE:
                break
            self._waiting.popleft()
            self._arrived.discard(number)
            self._canaries.discard(number)
            rows += ROW.pack(which, begin, now, arrived)
        return bytes(rows)


def main() -> None:
    """Send, receive, tell."""
    mail, attacker, honest = map(Host, sys.argv[1:4])
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    receiver = _receiver(mail)
    senders = []
    for which, each in enumerate(WATCHED):
        host = honest if each.text in HONEST.values() else attacker
        senders.append((_sender(host, each.text), which, (MAIL[family_of(each.text)], PORT)))
    ledger = Ledger()
    due = time.monotonic()
    while not select.select([0], [], [], max(0.0, due - time.monotonic()))[0]:
        due = max(due + EVERY, time.monotonic() - EVERY)
        for sender, which, target in senders:
            ledger.send(sender, which, target)
        ledger.receive(receiver)
        if rows := ledger.rows():
            os.write(1, rows)


if __name__ == "__main__":
    main()
