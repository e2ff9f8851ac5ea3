"""One attacker, from the first guess to silence: when it was cut off, and that nobody else was."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tests.crowdsec.james import PORTS
from tests.james import proxy
from tests.james.attack import Attacker, Kind
from tests.james.log import in_java
from tests.lab.net import HONEST, MAIL, family_of
from tests.lab.packets import dial

if TYPE_CHECKING:
    from tests.james.world import World

MAIL_PORTS = (PORTS["smtp"], PORTS["pop3"], PORTS["imap"])
PROVEN = 0.5  # seconds without an answer that are called none: an honest one takes a few milliseconds
SOON = 30  # seconds that anything may take on a machine that does other things, too


@dataclass(frozen=True, slots=True)
class Cut:
    """How an attacker was cut off; times are milliseconds after James wrote the line that decided."""

    kind: Kind
    source: str
    guesses: int
    decided: float  # the LAPI had the decision
    dropped: float  # the first packet that was dropped was sent
    closed: float  # the server's socket of its other session was gone

    HEAD: ClassVar = f"{'attack':<14}{'from':<20}{'guesses':>7}{'decision':>13}{'packets':>11}{'session':>11}"

    def __str__(self) -> str:
        """As one line of a table."""
        when = f"{self.decided:10.0f} ms{self.dropped:8.0f} ms{self.closed:8.0f} ms"
        return f"{self.kind.name:<14}{self.source:<20}{self.guesses:7}{when}"


def chase(world: World, kind: Kind, source: str, target: tuple[str, int], server: int) -> Cut:
    """Attack until it is cut off: packets, both sessions, new connections; `server` is the process that serves it."""
    with contextlib.closing(Attacker(world.net.attacker, kind, source, target)) as attacker:
        session = world.served(server, attacker.port)
        with world.probe.stream(source, every=0.002) as stream, session.watched():
            attacker.start()
            world.probe.wait_until(source, passes=False, within=2 * SOON)
            session.wait_until_closed(SOON)
    dropped = stream.first(arrived=False)
    assert not stream.arrived(since=dropped), f"packets from {source} came in after the ban"
    shut_out(world, source, target[0])
    return _judged(world, attacker, dropped, session.closed_at)


def _judged(world: World, attacker: Attacker, dropped: int, closed: int) -> Cut:
    """Hold what James wrote and what CrowdSec decided against what happened."""
    kind, source, name = attacker.kind, attacker.source, in_java(attacker.source)
    decisions = world.engine.decisions(name)
    assert decisions == [("ban", "Ip", kind.scenario)], f"CrowdSec on {source}: {decisions}"
    lines = world.log.times(kind.counted, source)
    assert len(lines) >= kind.limit, f"{source} is banned after {len(lines)} lines of {kind.limit}"
    line = lines[kind.limit - 1]
    # Packets and sockets are timed by a clock that nobody sets, James and CrowdSec by the time of day.
    since_line = time.time_ns() - time.monotonic_ns() - line
    decided = world.engine.decided(name) - line
    return Cut(
        kind,
        source,
        attacker.answers,
        *(ns / 1e6 for ns in (decided, dropped + since_line, closed + since_line)),
    )


def shut_out(world: World, source: str, target: str) -> None:
    """See that a banned client reaches none of the ports, while its neighbour and the honest client do."""
    net = world.net
    above = proxy.ABOVE if target in proxy.ADDRESSES.values() else 0
    for port in MAIL_PORTS:
        came = dial(net.attacker, source, target, port + above, PROVEN)
        assert came == "timeout", f"{source} still gets an answer at port {port}: {came}"
    for host, client in ((net.attacker, f"{source}9"), (net.honest, HONEST[family_of(source)])):
        came = dial(host, client, target, PORTS["smtp"] + above, SOON)
        assert came.startswith("220 "), f"{client}, who is not banned, hears: {came}"


def served(world: World, source: str, port: int, within: float) -> bool:
    """Say whether a client of the attacker's network is greeted at a port of the mail host."""
    return dial(world.net.attacker, source, MAIL[family_of(source)], port, within).startswith(
        ("220 ", "+OK", "* OK")
    )
