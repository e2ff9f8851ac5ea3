"""An honest client, who reads its mail and never notices anything, and a friend who writes to it."""

from __future__ import annotations

import imaplib
import re
import smtplib
import threading
import time
from email.message import EmailMessage
from typing import TYPE_CHECKING

from tests.crowdsec.james import PASSWORD
from tests.crowdsec.provoke import ALICE
from tests.lab.net import MAIL

if TYPE_CHECKING:
    from tests.lab.net import Host

PATIENCE = 30  # seconds that a client waits for an answer


def letter(subject: str, sender: str, to: str) -> EmailMessage:
    """Write a mail."""
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = subject, sender, to
    mail.set_content("hello")
    return mail


def post(host: Host, mail: EmailMessage, password: str = "") -> None:
    """Hand a mail to James from a host; with a password, as alice does from her mail program."""
    with host.inside():
        server = smtplib.SMTP(MAIL[4], 25, local_hostname="client.example.org", timeout=PATIENCE)
    with server:
        server.ehlo()
        if password:
            server.login(ALICE, password)
        server.send_message(mail)


class Steady:
    """Does the same thing again and again in a thread of its own, until something goes wrong or it is closed."""

    def __init__(self, name: str, every: float) -> None:
        self.name = name
        self.rounds = 0
        self.slowest = 0.0  # seconds
        self.error = ""
        self._every = every
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Begin, and wait until the first round is over."""
        self._thread.start()
        deadline = time.monotonic() + 2 * PATIENCE
        while not self.rounds and not self.error:
            assert time.monotonic() < deadline, f"{self.name}: nothing happens"
            time.sleep(0.02)
        self.check()

    def check(self) -> None:
        """Fail if anything has gone wrong so far."""
        assert not self.error, f"{self.name} failed after {self.rounds} rounds: {self.error}"

    def close(self) -> None:
        """End after this round."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def round(self) -> None:
        """Do it once."""
        raise NotImplementedError

    def _work(self) -> None:
        try:
            while not self._done.is_set():
                start = time.monotonic()
                self.round()
                self.slowest = max(self.slowest, time.monotonic() - start)
                self.rounds += 1
                self._done.wait(self._every)
        except (OSError, imaplib.IMAP4.error, smtplib.SMTPException) as error:
            self.error = f"{type(error).__name__}: {error}"


class Reader(Steady):
    """Reads what is new in alice's mailbox, and opens a new session now and then."""

    def __init__(self, name: str, host: Host, address: str, port: int = 143) -> None:
        super().__init__(name, every=0.2)
        self.subjects: dict[int, str] = {}  # by UID
        self._host = host
        self._server = (address, port)
        self._session: imaplib.IMAP4 | None = None

    def round(self) -> None:
        """Look for new mail and fetch it; every fifteenth time through a new session."""
        # James answers with BAD to one who would fetch from an empty mailbox.
        if self._session is None and not self._open():
            return
        assert self._session
        self._session.noop()
        # What is named by "*" always exists: a number that James told a moment ago may not yet.
        news = f"{max(self.subjects, default=0) + 1}:*"
        _, found = self._session.uid("FETCH", news, "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        for part in found:
            if isinstance(part, tuple) and (uid := re.search(rb"UID (\d+)", part[0])):
                self.subjects[int(uid[1])] = part[1].decode().strip()
        if self.rounds % 15 == 14:
            self._leave()

    def _open(self) -> bool:
        """Log in; say whether there is a mail at all."""
        with self._host.inside():
            self._session = imaplib.IMAP4(*self._server, timeout=PATIENCE)
        self._session.login(ALICE, PASSWORD)
        _, counted = self._session.select("INBOX")
        if not int(counted[0] or 0):
            self._leave()
        return self._session is not None

    def _leave(self) -> None:
        if self._session:
            self._session.logout()
        self._session = None

    def wait_for(self, subject: str) -> None:
        """Wait until a mail was read."""
        deadline = time.monotonic() + PATIENCE
        while not any(subject in read for read in list(self.subjects.values())):
            self.check()
            assert time.monotonic() < deadline, f"{self.name} has not read {subject!r} after {PATIENCE} s"
            time.sleep(0.02)


class Friend(Steady):
    """Writes to alice."""

    def __init__(self, host: Host) -> None:
        super().__init__("a friend who writes to alice", every=0.5)
        self._host = host

    def round(self) -> None:
        """Write one mail."""
        post(self._host, letter(f"letter {self.rounds + 1}.", "friend@example.org", ALICE))
