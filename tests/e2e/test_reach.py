"""README's table of who reaches what, cell by cell, with packets."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.net import ATTACKER, HONEST
from tests.lab.packets import Greeter, dial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.net import Host, Network

README = Path(__file__).parents[2] / "README.md"
GREETING = "220 mail.example.net"
PORTS = (25, 587, 143, 8081)
BANNED, SPARED = "198.18.1.1", "198.18.1.2"
OPEN, SILENT, RESET = "open", "timeout", "refused"
# What the words of the table mean on these ports.
MEANT = {
    "everything": (OPEN, OPEN, OPEN, OPEN),
    "nothing": (SILENT, SILENT, SILENT, SILENT),
    "all but SMTP and IMAP": (SILENT, OPEN, SILENT, OPEN),
    "the same, but SMTP is reset": (RESET, OPEN, SILENT, OPEN),
    "all but IMAP and submission": (OPEN, SILENT, SILENT, OPEN),
    "all but IMAP and submission, which are reset": (OPEN, RESET, RESET, OPEN),
}
MAIL_MEANT = {"goes out": GREETING, "gets no answer": "timeout"}
POLICY = {"name": "some", "scenario": "apache-james/*", "ports": ["imap", "submission"]}
SETTINGS: dict[str, dict[str, Any]] = {
    "`ports: all`": {},
    "`ports: [smtp, imap]`": {"protect": {"ports": ["smtp", "imap"]}},
    "`ports: [smtp, imap]`, `reset_ports: [smtp]`": {
        "protect": {"ports": ["smtp", "imap"], "reset_ports": ["smtp"]}
    },
    "a policy with `ports: [imap, submission]`": {"policies": [POLICY]},
    "the same with `verdict: reject`": {"policies": [{**POLICY, "verdict": "reject"}]},
    "a policy with `verdict: pass`": {"policies": [{**POLICY, "verdict": "pass"}]},
    "`ports: all`, `replies: drop`": {"protect": {"replies": "drop"}},
}


def rows() -> dict[str, list[str]]:
    """Read the table: what is set -> what each of the four reaches."""
    table = README.read_text().split("<!-- reach:")[1].split("<!-- end of reach -->")[0]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in lines[2:]}


@pytest.fixture
def services(net: Network) -> Iterator[None]:
    """Serve SMTP, submission, IMAP and something else here, and mail on the banned host."""
    with contextlib.ExitStack() as stack:
        for port in PORTS:
            stack.enter_context(contextlib.closing(Greeter(net.mail, port)))
        stack.enter_context(contextlib.closing(Greeter(net.attacker)))
        yield


def reached(host: Host, source: str) -> tuple[str, ...]:
    """Try every port."""
    answers = (dial(host, source, port=port, timeout=0.4) for port in PORTS)
    return tuple(OPEN if answer == GREETING else answer for answer in answers)


def test_every_row_is_tried() -> None:
    """The table has no row that isn't tried here, and none is tried that isn't there."""
    assert rows().keys() == SETTINGS.keys()


@pytest.mark.parametrize("row", SETTINGS)
def test_a_row(bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, services: None, row: str) -> None:
    """What the table says of a banned, a never-blocked and an honest peer, and of our own mail, is so."""
    banned, spared, honest, mail = rows()[row]
    for source in (BANNED, SPARED, ATTACKER[4]):
        fake_lapi.ban(source, scenario="apache-james/bf-auth", origin="crowdsec")
    bouncer(None, api_url=fake_lapi.url, never_block=[SPARED], **SETTINGS[row]).start()
    assert reached(net.attacker, BANNED) == MEANT[banned]
    assert reached(net.attacker, SPARED) == MEANT[spared]
    assert reached(net.honest, HONEST[4]) == MEANT[honest]
    assert dial(net.mail, "198.51.100.1", ATTACKER[4], timeout=0.4) == MAIL_MEANT[mail]
