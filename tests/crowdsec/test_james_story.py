"""From the line that James writes to the packet that is dropped: recorded lines, a real CrowdSec, the program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.crowdsec.engine import PORT, Engine, engine
from tests.crowdsec.records import read
from tests.lab.crowdsec import KEY
from tests.lab.net import ATTACKER, HONEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import MakeBouncer
    from tests.lab.net import Network
    from tests.lab.packets import Probe

OLD, SOURCE_310 = "james-3.8.1-jsonlayout", "james-3.10-from-source"
HONEST_CASES = ("imap-success", "pop3-success", "smtp-success", "smtp-delivery", "jmap-success")


def pick(record: str, case: str, text: str) -> str:
    """Return the line of a case that has this text and names the client."""
    return next(line for line in read(record)[case] if text in line and ATTACKER[4] in line)


RECIPIENT = pick(OLD, "smtp-unknown-recipients", "Unknown user: anna")
# Each attacker's address, and all that James says of him.
ATTACKS = {
    "198.18.7.1": [pick(SOURCE_310, "imap-login", "bad credentials")] * 6,
    "198.18.7.2": [pick(OLD, "imap-login-proxied", "Too many")] * 2,
    "198.18.7.3": [pick(OLD, "smtp-plain", "AUTH method")] * 6,
    "198.18.7.4": [pick(OLD, "pop3-proxied", "Bad credential")] * 6,
    "198.18.7.5": [RECIPIENT.replace("anna", f"anna{number}") for number in range(9)],
}


@pytest.fixture
def mail_crowdsec(net: Network, tmp_path: Path) -> Engine:
    """CrowdSec with our collection, on the mail host."""
    made = engine(tmp_path / "crowdsec", net.mail)
    if made is None:
        pytest.fail("needs CrowdSec's package: ./packaging/test unpacks it")
    made.allow(KEY)
    return made


def honest_lines() -> Iterator[str]:
    """Yield what James says of the honest client, line by line."""
    for case in HONEST_CASES:
        yield from read(OLD)[case]


def test_an_attack_in_james_log_ends_in_dropped_packets(
    mail_crowdsec: Engine, bouncer: MakeBouncer, probe: Probe, tmp_path: Path
) -> None:
    """Who guesses IMAP, SMTP or POP3 passwords or recipients is cut off soon after the deciding line, nobody else."""
    log = tmp_path / "james.json"
    with mail_crowdsec.service(log), log.open("a", buffering=1) as james:
        bouncer(api_url=f"http://127.0.0.1:{PORT}/").start()
        james.writelines(f"{line}\n" for line in honest_lines())
        for address, lines in ATTACKS.items():
            *before, deciding = (f"{line.replace(ATTACKER[4], address)}\n" for line in lines)
            james.writelines(before)
            assert probe.passes(address)
            james.write(deciding)
            took = probe.wait_until(address, passes=False, within=20)
            print(f"{address} was cut off {took:.1f} s after the deciding line")
            assert probe.passes(HONEST[4])
        assert probe.arriving([*ATTACKS, HONEST[4], ATTACKER[4]]) == {HONEST[4], ATTACKER[4]}
