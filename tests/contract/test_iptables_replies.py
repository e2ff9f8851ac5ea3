"""Mode iptables: answers to connections that this host opened, and what a refused peer is told."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from fwbouncer.config.schema import Deny, Replies
from fwbouncer.core.policy import Action
from tests.lab.net import ATTACKER, HONEST, MAIL
from tests.lab.packets import Greeter, dial, icmp_answer
from tests.lab.xtables import VARIANTS, Bench, bans, bench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.net import Network
    from tests.lab.packets import Probe

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@pytest.fixture(params=VARIANTS)
def inside(net: Network, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Be on the mail host, with one kind of iptables after the other."""
    with bench(net, request.param) as made:
        yield made


def deliver(family: int) -> str:
    """Connect from the mail host, where this runs, to the peer's port 25."""
    with socket.socket(FAMILIES[family]) as client:
        client.settimeout(0.5)
        try:
            client.connect((ATTACKER[family], 25))
            return client.recv(100).decode().strip()
        except TimeoutError:
            return "timeout"


def ask(net: Network, family: int) -> bool:
    """Send a UDP question from the mail host to the peer; say whether its answer comes in."""
    with net.attacker.inside():
        server = socket.socket(FAMILIES[family], socket.SOCK_DGRAM)
        server.bind((ATTACKER[family], 53))
    with server, socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as client:
        client.settimeout(0.3)
        client.sendto(b"?", (ATTACKER[family], 53))
        server.settimeout(0.3)
        _, back = server.recvfrom(10)
        server.sendto(b"!", back)
        with contextlib.suppress(TimeoutError):
            return client.recv(10) == b"!"
    return False


@pytest.mark.parametrize("family", [4, 6])
def test_answers_to_our_own_connections_pass(
    inside: Bench,
    net: Network,
    greeter: Greeter,
    family: int,
) -> None:
    """Mail to a banned peer, and DNS from one, work, while nothing that it opens gets in."""
    backend = inside.backend()
    backend.apply(bans(ATTACKER[family]))
    with contextlib.closing(Greeter(net.attacker)):
        assert deliver(family) == "220 mail.example.net"
    assert ask(net, family)
    assert dial(net.attacker, ATTACKER[family], timeout=0.3) == "timeout"
    assert dial(net.honest, HONEST[family]) == "220 mail.example.net"


@pytest.mark.parametrize("family", [4, 6])
def test_an_established_session_from_outside_is_no_answer(
    inside: Bench,
    net: Network,
    greeter: Greeter,
    family: int,
) -> None:
    """A peer that was connected before its ban can send nothing more."""
    backend = inside.backend()
    backend.apply({})  # connections are tracked from here on
    with net.attacker.inside():
        client = socket.socket(FAMILIES[family])
    with client:
        client.settimeout(0.5)
        client.connect((MAIL[family], 25))
        assert client.recv(100)
        client.sendall(b"NOOP\r\n")
        assert client.recv(100) == b"250 OK\r\n"
        backend.apply(bans(ATTACKER[family]))
        client.sendall(b"NOOP\r\n")
        with pytest.raises(TimeoutError):
            client.recv(100)


def test_answers_are_dropped_where_that_is_asked_for(inside: Bench, net: Network) -> None:
    """With `replies: drop` a banned peer's answers don't get in either."""
    backend = inside.backend(replies=Replies.DROP)
    backend.apply(bans(ATTACKER[4]))
    with contextlib.closing(Greeter(net.attacker)):
        assert deliver(4) == "timeout"


@pytest.mark.parametrize("log", [False, True])
def test_a_rejected_peer_is_told_so(
    inside: Bench,
    net: Network,
    probe: Probe,
    greeter: Greeter,
    log: bool,
) -> None:
    """REJECT resets TCP and calls everything else administratively prohibited, in both families."""
    backend = inside.backend(deny=Deny(Action.REJECT, log))
    backend.apply(bans(ATTACKER[4], ATTACKER[6]))
    assert dial(net.attacker, ATTACKER[4]) == "refused"
    assert dial(net.attacker, ATTACKER[6]) == "refused"
    assert icmp_answer(net.attacker, version=4) == (3, 13)
    assert icmp_answer(net.attacker, version=6) == (1, 1)
    assert dial(net.honest, HONEST[4]) == "220 mail.example.net"
