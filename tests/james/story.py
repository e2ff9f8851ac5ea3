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
from typing import TYPE_CHECKING, Any

from tests.crowdsec.james import PASSWORD, PORTS
from tests.crowdsec.provoke import ALICE
from tests.james import proxy, remote
from tests.james.attack import KINDS, POP3
from tests.james.chase import MAIL_PORTS, PROVEN, SOON, Cut, chase, served, shut_out
from tests.james.honest import Friend, Reader, letter, post
from tests.james.log import in_java
from tests.james.world import POLL, Parts, World, world
from tests.lab.net import HONEST, MAIL, family_of
from tests.lab.packets import Greeter, dial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from tests.james.attack import Kind

WEB = 443  # another service on the mail host


def say(text: str) -> None:
    """Begin a chapter."""
    print(f"==> {text}", flush=True)


def row(name: str, text: str) -> None:
    """Tell what came of something."""
    print(f"    {name:<36} {text}", flush=True)


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
            self._fewer_ports()
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
                target = MAIL[family_of(source)], kind.port
                self._attack(kind, source, target, self.world.james.pid)

    def _proxied(self) -> None:
        say(
            "The same through HAProxy, which tells James its clients' names: they are banned, never the proxy"
        )
        print(f"    {Cut.HEAD}")
        for number, kind in enumerate(KINDS, start=1):
            source = f"198.18.2.{number}" if number % 2 else f"2001:db8:ba0::2:{number}"
            target = proxy.ADDRESSES[family_of(source)], kind.port + proxy.ABOVE
            self._attack(kind, source, target, self.world.proxy.pid)
        for address in proxy.ADDRESSES.values():
            assert not self.world.engine.decisions(in_java(address)), f"the proxy {address} is banned"

    def _attack(self, kind: Kind, source: str, target: tuple[str, int], server: int) -> None:
        cut = chase(self.world, kind, source, target, server)
        self.cuts.append(cut)
        print(f"    {cut}", flush=True)

    def _fewer_ports(self) -> None:
        with contextlib.closing(Greeter(self.world.net.mail, WEB)):
            self._ports_of_james()
            self._policies()

    def _ports_of_james(self) -> None:
        world, old, fresh = self.world, "198.18.1.1", "2001:db8:ba0::3:1"
        assert not served(world, old, WEB, PROVEN), f"{old} is banned and reaches port {WEB}"
        say("From now on with `protect.ports: james`, read from James's own configuration")
        self._reload(protect={"ports": "james", "james_conf": str(world.james.folder / "conf")})
        self._wait_until_served(old, WEB)
        print(f"    {Cut.HEAD}")
        self._attack(POP3, fresh, (MAIL[6], POP3.port), world.james.pid)
        for source in (old, fresh):
            shut_out(world, source, MAIL[family_of(source)])
            assert served(world, source, WEB, SOON), f"{source} does not reach port {WEB}"
            row(source, f"is banned: reaches port {WEB}, and none of {', '.join(map(str, MAIL_PORTS))}")

    def _policies(self) -> None:
        world, guesser, prober = self.world, "198.18.1.1", "198.18.1.4"
        say("From now on who guesses IMAP passwords is kept from reading mail, and may still send some")
        scenarios = ["fwbouncer/james-imap-*"]
        self._reload(policies=[{"name": "readers", "scenario": scenarios, "ports": ["imap", "pop3"]}])
        self._wait_until_served(guesser, PORTS["smtp"])
        for source, closed in ((guesser, (PORTS["imap"], PORTS["pop3"])), (prober, MAIL_PORTS)):
            for port in closed:
                assert not served(world, source, port, PROVEN), f"{source} reaches port {port}"
        row(guesser, "is banned for guessing IMAP passwords: reaches SMTP, but neither IMAP nor POP3")
        row(prober, "is banned for looking for recipients: reaches none of them")

    def _reload(self, **settings: Any) -> None:
        self.world.bouncer.configure(**settings)
        self.world.bouncer.signal(signal.SIGHUP)

    def _wait_until_served(self, source: str, port: int) -> None:
        deadline = time.monotonic() + SOON
        while not served(self.world, source, port, PROVEN):
            assert time.monotonic() < deadline, f"{source} does not reach port {port}"

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
