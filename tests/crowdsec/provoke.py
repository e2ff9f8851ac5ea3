"""What clients do to a real James, honest ones and others, each as a named case.

A case talks from the attacker's address, or from an honest client's, to the mail host. Cases whose name ends in
`-proxied` come from the proxy's address and name the client in a PROXY protocol header.
"""

from __future__ import annotations

import base64
import contextlib
import socket
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tests.crowdsec.james import DOMAIN, PASSWORD, PORTS, PROXIED
from tests.lab.net import ATTACKER, HONEST, MAIL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.net import Host, Network

PROXY = "192.0.2.80"
ALICE = f"alice@{DOMAIN}"
BOB = f"bob@{DOMAIN}"
NOBODY = f"nobody@{DOMAIN}"
# What an attacker who knows the log would put into a name, to have somebody else banned.
VICTIM = "203.0.113.99"
_POP3 = f"Bad credential supplied for q with remote address {VICTIM}"
FORGED = {
    "newline": f"x\r\n10:00:00.000 [INFO ] o.a.j.p.c.PassCmdHandler - {_POP3}\r\nz",
    "address": f"x with remote address {VICTIM}",
    "quotes": f'x","mdc":{{"ip":"{VICTIM}","remoteIP":"{VICTIM}"}},"message":"SMTP Authentication failed.',
    "at": f"x@{VICTIM}",
}


# No answer has it, so what waits for it waits for the end of the connection.
NEVER = "\0"


def b64(text: str) -> str:
    """Return text as SASL wants it."""
    return base64.b64encode(text.encode()).decode()


class Talk:
    """One connection; every line that is said waits for the answer."""

    def __init__(self, peer: socket.socket, port: int) -> None:
        self._peer = peer
        self._port = port
        peer.settimeout(10)

    def hear(self, until: tuple[str, ...] = ()) -> str:
        """Return what is answered, up to a line that starts with one of these words."""
        heard = b""
        with contextlib.suppress(TimeoutError):
            while more := self._peer.recv(65536):
                heard += more
                lines = heard.decode(errors="replace").split("\r\n")
                if lines[-1] == "" and (not until or lines[-2].startswith(until)):
                    break
        return heard.decode(errors="replace")

    def say(self, line: str, until: tuple[str, ...] = ()) -> str:
        """Send a line and return the answer."""
        try:
            self._peer.sendall(line.encode() + b"\r\n")
            return self.hear(until)
        except OSError as gone:
            return f"({gone})"


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a case's client stands."""

    net: Network
    family: int = 4
    proxied: bool = False
    honest: bool = False

    @property
    def client(self) -> str:
        """The client's own address."""
        return (HONEST if self.honest else ATTACKER)[self.family]

    @contextlib.contextmanager
    def talk(self, protocol: str) -> Iterator[Talk]:
        """Connect to one of James's ports."""
        port = PORTS[protocol] + (PROXIED if self.proxied else 0)
        host, source = self._from()
        target = MAIL[4 if self.proxied else self.family]
        with host.inside():
            peer = socket.create_connection((target, port), timeout=10, source_address=(source, 0))
        with peer:
            if self.proxied:
                words = f"PROXY TCP{self.family} {self.client} {MAIL[self.family]} 40000 {PORTS[protocol]}"
                peer.sendall(words.encode() + b"\r\n")
            yield Talk(peer, port)

    def _from(self) -> tuple[Host, str]:
        if self.proxied:
            return self.net.mail, PROXY
        return (self.net.honest if self.honest else self.net.attacker), self.client


def smtp_plain(scene: Scene, user: str = ALICE, password: str = "wrong", times: int = 2) -> None:
    """AUTH PLAIN with the answer in the command."""
    with scene.talk("smtp") as talk:
        talk.hear()
        talk.say("EHLO client.example.org", ("250 ",))
        for _ in range(times):
            talk.say("AUTH PLAIN " + b64(f"\0{user}\0{password}"))
        talk.say("QUIT")


def smtp_plain_continued(scene: Scene) -> None:
    """AUTH PLAIN with the answer on a line of its own."""
    with scene.talk("smtp") as talk:
        talk.hear()
        talk.say("EHLO client.example.org", ("250 ",))
        talk.say("AUTH PLAIN")
        talk.say(b64(f"\0{ALICE}\0wrong"))
        talk.say("QUIT")


def smtp_login(scene: Scene, user: str = ALICE) -> None:
    """AUTH LOGIN."""
    with scene.talk("smtp") as talk:
        talk.hear()
        talk.say("EHLO client.example.org", ("250 ",))
        for _ in range(2):
            talk.say("AUTH LOGIN")
            talk.say(b64(user))
            talk.say(b64("wrong"))
        talk.say("QUIT")


def smtp_malformed(scene: Scene) -> None:
    """AUTH that makes no sense."""
    with scene.talk("smtp") as talk:
        talk.hear()
        talk.say("EHLO client.example.org", ("250 ",))
        talk.say("AUTH PLAIN %%%not-base64%%%")
        talk.say("AUTH PLAIN " + b64("noseparators"))
        talk.say("AUTH NONSENSE abc")
        talk.say("AUTH LOGIN")
        talk.say("***")
        talk.say("***")
        talk.say("QUIT")


def smtp_unknown_recipients(scene: Scene) -> None:
    """Recipients that do not exist."""
    with scene.talk("smtp") as talk:
        talk.hear()
        talk.say("EHLO client.example.org", ("250 ",))
        talk.say("MAIL FROM:<x@example.org>")
        for name in ("anna", "bert", "carl"):
            talk.say(f"RCPT TO:<{name}@{DOMAIN}>")
        talk.say("QUIT")


def smtp_delivery(scene: Scene) -> None:
    """A mail for a user who exists."""
    with scene.talk("smtp") as talk:
        talk.hear()
        talk.say("EHLO client.example.org", ("250 ",))
        talk.say("MAIL FROM:<friend@example.org>")
        talk.say(f"RCPT TO:<{ALICE}>")
        talk.say("DATA")
        talk.say("Subject: hello\r\nFrom: friend@example.org\r\n\r\nhello\r\n.")
        talk.say("QUIT")


def lmtp_unknown_recipients(scene: Scene) -> None:
    """A mail server of ours hands over what others have sent to nobody."""
    with scene.talk("lmtp") as talk:
        talk.hear()
        talk.say("LHLO mx.example.net", ("250 ",))
        talk.say("MAIL FROM:<x@example.org>")
        for name in ("anna", "bert", "carl"):
            talk.say(f"RCPT TO:<{name}@{DOMAIN}>")
        talk.say("QUIT")


def imap(scene: Scene, *commands: str) -> None:
    """Commands after the greeting."""
    with scene.talk("imap") as talk:
        talk.hear(("* OK",))
        for number, command in enumerate(commands):
            tag = f"a{number}"
            if "{" in command:
                for line in command.split("\n"):
                    talk.say(line.replace("TAG", tag), ("+", tag, "* BYE"))
            else:
                talk.say(f"{tag} {command}", (tag, "+", "* BYE"))


def imap_authenticate(scene: Scene, *answers: str) -> None:
    """AUTHENTICATE PLAIN with each answer on a line of its own."""
    with scene.talk("imap") as talk:
        talk.hear(("* OK",))
        for number, answer in enumerate(answers):
            talk.say(f"a{number} AUTHENTICATE PLAIN", ("+", f"a{number}"))
            talk.say(answer, (f"a{number}", "* BYE"))
        talk.say("z LOGOUT", ("z",))


def pop3(scene: Scene, user: str = ALICE, password: str = "wrong", times: int = 2) -> None:
    """USER and PASS."""
    with scene.talk("pop3") as talk:
        talk.hear()
        for _ in range(times):
            talk.say(f"USER {user}")
            talk.say(f"PASS {password}")
        talk.say("QUIT")


def managesieve(scene: Scene, *answers: str) -> None:
    """AUTHENTICATE with these answers."""
    with scene.talk("managesieve") as talk:
        talk.hear(("OK", "NO"))
        for answer in answers:
            talk.say(f'AUTHENTICATE "PLAIN" "{answer}"')
        talk.say("LOGOUT")


def jmap(scene: Scene, authorization: str = "", path: str = "/jmap/session", more: str = "") -> None:
    """One request."""
    with scene.talk("jmap") as talk:
        head = f"Authorization: {authorization}\r\n" if authorization else ""
        accept = "Accept: application/json; jmapVersion=rfc-8621\r\n"
        # To the very end: the HTTP server logs no request whose client has left before.
        talk.say(
            f"GET {path} HTTP/1.1\r\nHost: mail.{DOMAIN}\r\n{accept}{head}{more}Connection: close\r\n",
            (NEVER,),
        )


def smtp_delegation(scene: Scene) -> None:
    """A right password, for somebody else's mail."""
    with scene.talk("smtp") as talk:
        talk.hear()
        talk.say("EHLO client.example.org", ("250 ",))
        talk.say("AUTH PLAIN " + _plain(ALICE, PASSWORD, BOB))
        talk.say("QUIT")


def recipient(scene: Scene, text: str) -> None:
    """A recipient with anything before the at-sign."""
    with scene.talk("smtp") as talk:
        talk.hear()
        talk.say("EHLO client.example.org", ("250 ",))
        talk.say("MAIL FROM:<x@example.org>")
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        talk.say(f'RCPT TO:<"{quoted}"@{DOMAIN}>')
        talk.say("QUIT")


def basic(user: str, password: str) -> str:
    """Return HTTP's own way to name a password."""
    return "Basic " + b64(f"{user}:{password}")


def _plain(user: str, password: str, other: str = "") -> str:
    return b64(f"{other}\0{user}\0{password}")


WRONG = f'LOGIN "{ALICE}" "wrong"'


def _imap(*commands: str) -> Callable[[Scene], None]:
    return lambda scene: imap(scene, *commands)


def _authenticate(*answers: str) -> Callable[[Scene], None]:
    return lambda scene: imap_authenticate(scene, *answers)


def _managesieve(*answers: str) -> Callable[[Scene], None]:
    return lambda scene: managesieve(scene, *answers)


# What is no attack comes from the honest client.
HONEST_CASES: dict[str, Callable[[Scene], None]] = {
    "smtp-success": partial(smtp_plain, user=ALICE, password=PASSWORD, times=1),
    "smtp-delivery": smtp_delivery,
    "lmtp-delivery": lmtp_unknown_recipients,
    "imap-success": _imap(f'LOGIN "{ALICE}" "{PASSWORD}"', "SELECT INBOX", "LOGOUT"),
    "pop3-success": partial(pop3, user=ALICE, password=PASSWORD, times=1),
    "managesieve-success": _managesieve(_plain(ALICE, PASSWORD)),
    "jmap-success": partial(jmap, authorization=basic(ALICE, PASSWORD)),
}
ATTACKS: dict[str, Callable[[Scene], None]] = {
    "smtp-plain": smtp_plain,
    "smtp-plain-continued": smtp_plain_continued,
    "smtp-login": smtp_login,
    "smtp-unknown-user": partial(smtp_plain, user=NOBODY),
    "smtp-malformed": smtp_malformed,
    "smtp-delegation": smtp_delegation,
    "smtp-unknown-recipients": smtp_unknown_recipients,
    "imap-login": _imap(*[WRONG] * 4),
    "imap-login-once": _imap(WRONG, "LOGOUT"),
    "imap-login-unknown-user": _imap(*[f'LOGIN "{NOBODY}" "x"'] * 3),
    "imap-authenticate": _authenticate(*[_plain(ALICE, "wrong")] * 3),
    "imap-authenticate-initial": _imap(*["AUTHENTICATE PLAIN " + _plain(ALICE, "wrong")] * 3),
    "imap-malformed": _authenticate("%%%", b64("noseparators"), "*"),
    "imap-delegation-wrong-password": _imap(*["AUTHENTICATE PLAIN " + _plain(ALICE, "wrong", BOB)] * 3),
    "imap-delegation-forbidden": _imap(*["AUTHENTICATE PLAIN " + _plain(ALICE, PASSWORD, BOB)] * 2),
    "imap-delegation-forbidden-continued": _authenticate(_plain(ALICE, PASSWORD, BOB)),
    "imap-delegation-unknown": _imap(*["AUTHENTICATE PLAIN " + _plain(ALICE, PASSWORD, NOBODY)] * 2),
    "pop3": pop3,
    "pop3-unknown-user": partial(pop3, user=NOBODY),
    "managesieve": _managesieve(*[_plain(ALICE, "wrong")] * 3),
    "managesieve-unknown-user": _managesieve(*[_plain(NOBODY, "wrong")] * 3),
    "managesieve-malformed": _managesieve("%%%", b64("noseparators")),
    "jmap-wrong-password": partial(jmap, authorization=basic(ALICE, "wrong")),
    "jmap-unknown-user": partial(jmap, authorization=basic(NOBODY, "wrong")),
    "jmap-no-credentials": jmap,
    "jmap-forwarded-for": partial(
        jmap,
        authorization=basic(ALICE, "wrong"),
        more=f"X-Forwarded-For: {VICTIM}\r\nForwarded: for={VICTIM}\r\n",
    ),
    "forged-path-jmap": partial(
        jmap, authorization=basic(ALICE, "wrong"), path=f"/jmap/session?{VICTIM}%20-%20[x]%20401"
    ),
}
for _name, _text in FORGED.items():
    ATTACKS[f"forged-{_name}-smtp"] = partial(smtp_plain, user=_text, times=1)
    ATTACKS[f"forged-{_name}-smtp-login"] = partial(smtp_login, user=_text)
    ATTACKS[f"forged-{_name}-imap"] = _imap(*["AUTHENTICATE PLAIN " + _plain(_text, "x")] * 3)
    ATTACKS[f"forged-{_name}-managesieve"] = _managesieve(_plain(_text, "x"))
    if _name != "newline":
        ATTACKS[f"forged-{_name}-pop3"] = partial(pop3, user=_text, times=1)
        ATTACKS[f"forged-{_name}-recipient"] = partial(recipient, text=_text)

# These are done over IPv6, too.
SIX = (
    "smtp-plain",
    "smtp-unknown-recipients",
    "imap-login",
    "pop3",
    "managesieve-unknown-user",
    "jmap-wrong-password",
)
# ManageSieve of James 3.8 and every JMAP know no PROXY protocol, and LMTP is for our own.
DIRECT = ("sieve", "jmap", "lmtp")


def cases(net: Network) -> Iterator[tuple[str, Callable[[Scene], None], Scene]]:
    """Yield every case with its name and where its client stands."""
    for honest, group in ((True, HONEST_CASES), (False, ATTACKS)):
        for name, case in group.items():
            for proxied in (False,) if any(word in name for word in DIRECT) else (False, True):
                for family in (4, 6) if name in SIX else (4,):
                    words = (name, *["ipv6"] * (family == 6), *["proxied"] * proxied)
                    yield "-".join(words), case, Scene(net, family, proxied, honest)
