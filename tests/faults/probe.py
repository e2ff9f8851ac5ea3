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
from tests.lab.net import HONEST, MAIL, Host, family_of
from tests.lab.packets import _sender

ROW = struct.Struct("=Hdd?")  # which address, when it was sent: not before, not after; whether it arrived
PORT = 4191
EVERY = 0.012  # seconds between two packets from one address
PATIENCE = 0.3  # what has not arrived by then was dropped
_NUMBER = struct.Struct("!Q")


def _receiver(mail: Host) -> socket.socket:
    with mail.inside():
        receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    receiver.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
    receiver.bind(("::", PORT))
    return receiver


def _drain(receiver: socket.socket, arrived: set[int]) -> None:
    try:
        while True:
            arrived.add(_NUMBER.unpack(receiver.recv(64))[0])
    except BlockingIOError:
        pass


def main() -> None:
    """Send, receive, tell."""
    mail, attacker, honest = map(Host, sys.argv[1:4])
    receiver = _receiver(mail)
    senders = []
    for which, each in enumerate(WATCHED):
        host = honest if each.text in HONEST.values() else attacker
        senders.append((which, _sender(host, each.text), (MAIL[family_of(each.text)], PORT)))
    numbers = itertools.count(1)
    arrived: set[int] = set()
    waiting: deque[tuple[int, int, float, float]] = deque()
    due = time.monotonic()
    while not select.select([0], [], [], max(0.0, due - time.monotonic()))[0]:
        due = max(due + EVERY, time.monotonic() - EVERY)
        for which, sender, target in senders:
            number = next(numbers)
            begin = time.monotonic()
            try:
                sender.sendto(_NUMBER.pack(number), target)
            except OSError:
                continue  # an ICMP answer to an earlier packet; this one was not sent
            waiting.append((number, which, begin, time.monotonic()))
        _drain(receiver, arrived)
        rows = bytearray()
        while waiting and waiting[0][3] < time.monotonic() - PATIENCE:
            number, which, begin, end = waiting.popleft()
            rows += ROW.pack(which, begin, end, number in arrived)
            arrived.discard(number)
        os.write(1, rows) if rows else None


if __name__ == "__main__":
    main()
