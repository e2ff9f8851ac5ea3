"""Real James, from the log line to the dropped packet: `make test-james` runs this as root.

    attacker 198.18.0.0/15 ──┐                                    ┌── honest client 203.0.113.10
             2001:db8:ba0::/44 ── mail host 192.0.2.25 ──┤                  2001:db8:b::10
                                       2001:db8:25::25            └── mail host elsewhere 192.0.2.200
                                       James, CrowdSec, fwbouncer

All of it are network namespaces of this machine. Prints what happens, and the times at the end; ends with 0 only if
all of it happened as it says.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tests.crowdsec.james import PASSWORD, PORTS
from tests.crowdsec.provoke import ALICE
from tests.james import proxy, remote
from tests.james.attack import KINDS, Attacker, Kind
from tests.james.honest import Friend, Reader, letter, post
from tests.james.log import in_java
from tests.james.world import POLL, Parts, World, world
from tests.lab.net import HONEST, MAIL
from tests.lab.packets import dial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

MAIL_PORTS = (PORTS["smtp"], PORTS["pop3"], PORTS["imap"])
PROVEN = 0.5  # seconds without an answer that are called none: an honest one takes a few milliseconds
SOON = 30  # seconds that anything may take on a machine that does other things, too


def say(text: str) -> None:
    """Begin a chapter."""
    print(f"==> {text}", flush=True)


def row(name: str, text: str) -> None:
    """Tell what came of something."""
    print(f"    {name:<36} {text}", flush=True)


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


@dataclass(slots=True)
class Story:
    """What has happened so far."""

    world: World
    cuts: list[Cut] = field(default_factory=list)

    def tell(self) -> None:
        """All chapters."""
        say(f"fwbouncer starts; it asks the LAPI every {POLL}")
        self.world.bouncer.start()
        with self._everyday_life():
            self._guessing()
            self._delivery()
            self._proxied()
        self._table()

    @contextlib.contextmanager
    def _everyday_life(self) -> Iterator[None]:
        """Have the honest ones do what they do all the while; nothing of it may ever fail."""
        honest = self.world.net.honest
        readers = [
            Reader(f"alice reads from {HONEST[4]}", honest, MAIL[4]),
            Reader(f"alice reads from {HONEST[6]}", honest, MAIL[6]),
            Reader("alice reads through the proxy", honest, proxy.ADDRESSES[4], PORTS["imap"] + proxy.ABOVE),
        ]
        friend = Friend(honest)
        everybody = (friend, *readers)
        say("A friend writes to alice, and alice reads her mail with IMAP, from now on")
        with contextlib.ExitStack() as stack:
            for one in everybody:
                stack.callback(one.close)
                one.start()
            yield
            friend.close()
            say("All the while alice read her mail")
            for reader in readers:
                reader.wait_for(f"letter {friend.rounds}.")
            for one in everybody:
                one.check()
                row(one.name, f"{one.rounds} times, no error; the slowest took {one.slowest * 1000:.0f} ms")

    def _guessing(self) -> None:
        say("Each attacker goes on until nobody answers; times are milliseconds after the line that decided")
        print(f"    {Cut.HEAD}")
        for number, kind in enumerate(KINDS, start=1):
            for source in (f"198.18.1.{number}", f"2001:db8:ba0::1:{number}"):
                target = MAIL[6 if ":" in source else 4], kind.port
                self._attack(kind, source, target, self.world.james.pid)

    def _proxied(self) -> None:
        say(
            "The same through HAProxy, which tells James its clients' names: they are banned, never the proxy"
        )
        print(f"    {Cut.HEAD}")
        for number, kind in enumerate(KINDS, start=1):
            source = f"198.18.2.{number}" if number % 2 else f"2001:db8:ba0::2:{number}"
            target = proxy.ADDRESSES[6 if ":" in source else 4], kind.port + proxy.ABOVE
            self._attack(kind, source, target, self.world.proxy.pid)
        for address in proxy.ADDRESSES.values():
            assert not self.world.engine.decisions(in_java(address)), f"the proxy {address} is banned"

    def _attack(self, kind: Kind, source: str, target: tuple[str, int], server: int) -> None:
        """Attack until it is cut off, and see that it is: packets, both sessions, and new connections."""
        world = self.world
        with contextlib.closing(Attacker(world.net.attacker, kind, source, target)) as attacker:
            session = world.served(server, attacker.port)
            with world.probe.stream(source, every=0.002) as stream, session.watched():
                attacker.start()
                world.probe.wait_until(source, passes=False, within=2 * SOON)
                guesses = attacker.answers
                session.wait_until_closed(SOON)
        dropped = stream.first(arrived=False)
        assert not stream.arrived(since=dropped), f"packets from {source} came in after the ban"
        self._shut_out(source, target[0])
        cut = self._judge(kind, source, guesses, dropped, session.closed_at)
        self.cuts.append(cut)
        print(f"    {cut}", flush=True)

    def _judge(self, kind: Kind, source: str, guesses: int, dropped: int, closed: int) -> Cut:
        """Hold what James wrote and what CrowdSec decided against what happened."""
        world, name = self.world, in_java(source)
        decisions = world.engine.decisions(name)
        assert decisions == [("ban", "Ip", kind.scenario)], f"CrowdSec on {source}: {decisions}"
        lines = world.log.times(kind.counted, source)
        assert len(lines) >= kind.limit, f"{source} is banned after {len(lines)} lines of {kind.limit}"
        line = lines[kind.limit - 1]
        # Packets and sockets are timed by a clock that nobody sets, James and CrowdSec by the time of day.
        since_line = time.time_ns() - time.monotonic_ns() - line
        decided = world.engine.decided(name) - line
        return Cut(
            kind, source, guesses, decided / 1e6, (dropped + since_line) / 1e6, (closed + since_line) / 1e6
        )

    def _shut_out(self, source: str, target: str) -> None:
        """See that a banned client reaches none of the ports, while its neighbour and the honest client do."""
        net = self.world.net
        above = proxy.ABOVE if target in proxy.ADDRESSES.values() else 0
        neighbour = f"{source}9"
        for port in MAIL_PORTS:
            came = dial(net.attacker, source, target, port + above, PROVEN)
            assert came == "timeout", f"{source} still gets an answer at port {port}: {came}"
        for host, client in ((net.attacker, neighbour), (net.honest, HONEST[6 if ":" in source else 4])):
            came = dial(host, client, target, PORTS["smtp"] + above, SOON)
            assert came.startswith("220 "), f"{client}, who is not banned, hears: {came}"

    def _delivery(self) -> None:
        world, address = self.world, remote.ADDRESSES[4]
        say(f"The mail host elsewhere, {address}, is banned, but James may write to it")
        world.engine.ban(address)
        deadline = time.monotonic() + SOON
        while dial(world.remote_host, address, timeout=PROVEN) != "timeout":
            assert time.monotonic() < deadline, f"{address} is banned but not shut out"
        row("what it sends itself", "is dropped: no connection to James")
        start = time.monotonic()
        for number in range(1, 4):
            mail = letter(f"answer {number}.", ALICE, f"friend@{remote.DOMAIN}")
            post(world.net.honest, mail, PASSWORD)
            world.remote.wait_for_mail(f"answer {number}.")
        took = time.monotonic() - start
        row(
            "alice's three mails to it",
            f"delivered by James in {took:.1f} s, with its own name server's help",
        )
        assert dial(world.remote_host, address, timeout=PROVEN) == "timeout"

    def _table(self) -> None:
        say(
            f"From the deciding line in James's log to the first dropped packet (the LAPI is asked every {POLL})"
        )
        for name in dict.fromkeys(cut.kind.name for cut in self.cuts):
            cuts = [cut for cut in self.cuts if cut.kind.name == name]
            took = sorted(cut.dropped for cut in cuts)
            ours = sorted(cut.dropped - cut.decided for cut in cuts)
            row(
                name,
                f"{took[0]:.0f} to {took[-1]:.0f} ms; of that fwbouncer {ours[0]:.0f} to {ours[-1]:.0f} ms",
            )


def _ended(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _tail(path: Path, count: int = 12) -> None:
    if path.exists():
        lines = path.read_text(errors="replace").splitlines()[-count:]
        print(f"--- the end of {path.name}", *(line[:400] for line in lines), sep="\n")


def main() -> int:
    """Tell the story; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("jars", "crowdsec", "haproxy"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="the folder where it is unpacked")
    parts = Parts(**{name: path.resolve() for name, path in vars(parser.parse_args()).items()})
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ended)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fwbouncer-james-") as name:
        folder = Path(name)
        try:
            say("starting James, CrowdSec and HAProxy on the mail host")
            with world(folder, parts) as built:
                row("all of them answer", f"after {time.monotonic() - begun:.0f} s")
                Story(built).tell()
        except AssertionError as error:
            for path in ("james/console.log", "crowdsec/service.log", "fwbouncer/fwbouncer.log"):
                _tail(folder / path)
            print(f"failed: {error}")
            return 1
    say(f"all of it happened as it should, in {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
