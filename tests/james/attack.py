"""Attackers who guess until nobody answers them any more."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from tests.crowdsec.engine import COLLECTION
from tests.crowdsec.james import DOMAIN, PORTS
from tests.crowdsec.provoke import ALICE, Talk, b64
from tests.lab.packets import client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.net import Host

PAUSE = 0.05  # seconds between two guesses
PATIENCE = 5  # seconds that an attacker waits for an answer
TAGGED = ("a", "* BYE")


def imap(talk: Talk) -> Iterator[str]:
    """LOGIN, which James answers three times before it hangs up."""
    talk.hear(("* OK",))
    while True:
        yield talk.say(f'a LOGIN "{ALICE}" "wrong"', TAGGED)


def smtp(talk: Talk) -> Iterator[str]:
    """AUTH PLAIN."""
    talk.hear()
    talk.say("EHLO client.example.org", ("250 ",))
    while True:
        yield talk.say("AUTH PLAIN " + b64(f"\0{ALICE}\0wrong"))


def pop3(talk: Talk) -> Iterator[str]:
    """USER and PASS."""
    talk.hear()
    while True:
        talk.say(f"USER {ALICE}")
        yield talk.say("PASS wrong")


def dictionary(talk: Talk) -> Iterator[str]:
    """Recipients who may exist."""
    talk.hear()
    talk.say("EHLO client.example.org", ("250 ",))
    talk.say("MAIL FROM:<x@example.org>")
    number = 0
    while True:
        number += 1
        yield talk.say(f"RCPT TO:<name{number}@{DOMAIN}>")


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to attack, and how James and CrowdSec call it."""

    name: str
    protocol: str
    guess: Callable[[Talk], Iterator[str]]
    scenario: str
    counted: str  # what is in each line that counts
    limit: int  # the line with this number fills the scenario

    @property
    def port(self) -> int:
        """The port that is attacked."""
        return PORTS[self.protocol]


def _kind(
    name: str, protocol: str, guess: Callable[[Talk], Iterator[str]], scenario: str, counted: str
) -> Kind:
    """Take the limit from the scenario itself."""
    for path in (COLLECTION / "scenarios").glob("*.yaml"):
        for known in yaml.safe_load_all(path.read_text()):
            if known["name"] == scenario:
                return Kind(name, protocol, guess, scenario, counted, known["capacity"] + 1)
    raise AssertionError(f"no scenario {scenario}")


# What James 3.8 says of a known user's IMAP passwords is that it hung up for three wrong ones.
IMAP = _kind("IMAP LOGIN", "imap", imap, "fwbouncer/james-imap-lockout", "Too many authentication failures")
SMTP = _kind("SMTP AUTH", "smtp", smtp, "fwbouncer/james-smtp-bf", "AUTH method PLAIN failed")
POP3 = _kind("POP3 PASS", "pop3", pop3, "fwbouncer/james-pop3-bf", "Bad credential supplied")
DICTIONARY = _kind(
    "SMTP RCPT TO", "smtp", dictionary, "fwbouncer/james-dictionary", "Rejected message. Unknown user"
)
KINDS = (IMAP, SMTP, POP3, DICTIONARY)


class Attacker:
    """Guesses from one address, and has a second session open beside that."""

    def __init__(self, host: Host, kind: Kind, source: str, target: tuple[str, int]) -> None:
        self.kind = kind
        self.source = source
        self.answers = 0
        self._host = host
        self._target = target
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.session = self._connect()
        assert self.session.recv(1024), f"{source} was not greeted"

    @property
    def port(self) -> int:
        """Its own port in the second session."""
        return int(self.session.getsockname()[1])

    def start(self) -> None:
        """Begin to guess."""
        self._thread.start()

    def close(self) -> None:
        """Give up."""
        self._done.set()
        self.session.close()
        with contextlib.suppress(OSError):
            self._peer.shutdown(socket.SHUT_RDWR)  # what waits for an answer waits no longer
        if self._thread.is_alive():
            self._thread.join()

    def _connect(self) -> socket.socket:
        self._peer = peer = client(self._host, self.source)
        peer.settimeout(PATIENCE)
        try:
            peer.connect(self._target)
        except OSError:
            peer.close()
            raise
        return peer

    def _work(self) -> None:
        while not self._done.is_set():
            with contextlib.suppress(OSError), self._connect() as peer:
                talk = Talk(peer, self._target[1])
                peer.settimeout(PATIENCE)
                self._guess(talk)
            self._done.wait(PAUSE)

    def _guess(self, talk: Talk) -> None:
        for answer in self.kind.guess(talk):
            if not answer or answer.startswith("("):  # so Talk tells of an error
                return
            self.answers += 1
            if "BYE" in answer or self._done.wait(PAUSE):
                return
