"""One packet from each of many addresses, and at once which of them came through."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from tests.lab.net import ATTACKER, MAIL
from tests.lab.packets import _sender

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tests.lab.net import Network

PORT = 4192


class Volley:
    """Senders of all addresses, and a receiver. This thread must be on the mail host."""

    def __init__(self, net: Network, addresses: Collection[bytes]) -> None:
        self._host = net.attacker
        self._texts = [str(ip_address(address)) for address in addresses]
        for text in self._texts:  # without, the kernel has no way out for a packet of this source
            self._host.ip("-6" if ":" in text else "-4", "route", "add", "local", text, "dev", "lo")
        self._receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._receiver.bind(("::", PORT))
        self._receiver.settimeout(5)
        self._senders = {a: _sender(net.attacker, str(ip_address(a))) for a in addresses}
        self._canary = _sender(net.attacker, ATTACKER[4])
        self._number = 0

    def fire(self, addresses: Iterable[bytes]) -> set[bytes]:
        """Return whose packets arrived. One that nobody bans goes last, and when it is there all others are, too."""
        self._number += 1
        stamp = self._number.to_bytes(8, "big")
        for address in addresses:
            self._senders[address].sendto(stamp + address, (MAIL[4 if len(address) == 4 else 6], PORT))
        self._canary.sendto(stamp, (MAIL[4], PORT))
        arrived: set[bytes] = set()
        while (packet := self._receiver.recv(64)) != stamp:
            if packet[:8] == stamp:
                arrived.add(packet[8:])
        return arrived

    def close(self) -> None:
        """Close all sockets."""
        for each in (self._receiver, self._canary, *self._senders.values()):
            each.close()
        for text in self._texts:
            self._host.ip("-6" if ":" in text else "-4", "route", "delete", "local", text, "dev", "lo")
