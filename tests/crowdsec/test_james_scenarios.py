"""Recorded lines of a real Apache James, repeated: which scenario is full after how many, and who is banned."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.crowdsec.engine import COLLECTION, until
from tests.crowdsec.provoke import PROXY
from tests.crowdsec.records import read
from tests.lab.net import ATTACKER, MAIL

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.crowdsec.engine import Engine

OLD, SOURCE_310 = "james-3.8.1-jsonlayout", "james-3.10-from-source"
START = datetime(2026, 11, 21, 15, 0, tzinfo=UTC)


def a_line(record: str, case: str, text: str) -> str:
    """Return the recorded line of a case that has this text and names the client."""
    return next(line for line in read(record)[case] if text in line and ATTACKER[4] in line)


PLAIN = a_line(OLD, "smtp-plain", "AUTH method")
PROXIED = a_line(OLD, "smtp-plain-proxied", "AUTH method")
RECIPIENT = a_line(OLD, "smtp-unknown-recipients", "Unknown user: anna")
# Each scenario's line, and how many of them it lets pass.
LIMITS = {
    "james-smtp-bf": (PLAIN, 5),
    "james-pop3-bf": (a_line(OLD, "pop3", "Bad credential"), 5),
    "james-imap-bf": (a_line(SOURCE_310, "imap-login", "bad credentials"), 5),
    "james-imap-lockout": (a_line(OLD, "imap-login-proxied", "Too many"), 1),
    "james-imap-delegation": (a_line(SOURCE_310, "imap-delegation-forbidden", "forbidden"), 3),
    "james-managesieve-bf": (a_line(SOURCE_310, "managesieve-proxied", "unverified"), 5),
    "james-jmap-bf": (a_line(OLD, "jmap-wrong-password", " 401 "), 10),
}


def at(line: str, moment: datetime) -> str:
    """Return a line as if it had been written then."""
    return re.sub(r'"timestamp":"[^"]*"', f'"timestamp":"{moment:%Y-%m-%dT%H:%M:%S.000Z}"', line)


def from_address(lines: Iterable[str], address: str) -> list[str]:
    """Return lines as if this client had caused them."""
    return [line.replace(ATTACKER[4], address) for line in lines]


def distinct(line: str, word: str, count: int, every: timedelta = timedelta(0)) -> list[str]:
    """Return a line with this many words for one, a while apart."""
    return [at(line.replace(word, f"{word}{number}"), START + every * number) for number in range(count)]


def bans(engine: Engine, lines: Iterable[str]) -> set[tuple[str, str]]:
    """Return which scenarios these lines filled, and for which addresses."""
    return {
        (scenario.removeprefix("fwbouncer/"), source)
        for scenario, source in engine.feed(lines, james_jmap="direct").bans
    }


def test_each_scenario_is_full_after_its_number(crowdsec_engine: Engine) -> None:
    """One event less than the limit bans nobody, one more bans its client under the scenario's name."""
    lines: list[str] = []
    guilty = set()
    for number, (scenario, (line, passing)) in enumerate(LIMITS.items()):
        lines += from_address([line] * passing, f"198.18.1.{number}")
        lines += from_address([line] * (passing + 1), f"198.18.2.{number}")
        guilty.add((scenario, f"198.18.2.{number}"))
    assert bans(crowdsec_engine, lines) == guilty


def test_a_dictionary_is_many_different_recipients(crowdsec_engine: Engine) -> None:
    """Nine recipients who do not exist are an attack; eight, or the same one fifty times, are none."""
    lines = [
        *from_address(distinct(RECIPIENT, "anna", 9), "198.18.0.9"),
        *from_address(distinct(RECIPIENT, "anna", 8), "198.18.0.8"),
        *from_address([RECIPIENT] * 50, "198.18.0.50"),
    ]
    assert bans(crowdsec_engine, lines) == {("james-dictionary", "198.18.0.9")}


def test_spraying_is_seen_however_slow(crowdsec_engine: Engine) -> None:
    """Eight users, one every ten minutes, are an attack, over two protocols, too; one user tried for hours is none."""
    ten = timedelta(minutes=10)
    pop3 = LIMITS["james-pop3-bf"][0]
    spray = [
        *distinct(PLAIN, "alice", 4, ten),
        *[at(pop3.replace("alice", f"carol{n}"), START + ten * (4 + n)) for n in range(4)],
    ]
    alone = from_address([at(PLAIN, START + ten * n) for n in range(30)], "198.18.0.30")
    assert bans(crowdsec_engine, spray) == {("james-spray", ATTACKER[4])}
    assert bans(crowdsec_engine, alone) == set()


def test_mistakes_leak_away(crowdsec_engine: Engine) -> None:
    """Somebody who mistypes once every two minutes is never banned."""
    slow = [at(PLAIN, START + timedelta(minutes=2 * number)) for number in range(40)]
    assert bans(crowdsec_engine, slow) == set()


def test_one_attack_is_one_ban(crowdsec_engine: Engine) -> None:
    """While the ban is fresh the same client fills the scenario no second time."""
    overflows = crowdsec_engine.feed(
        [at(PLAIN, START + timedelta(seconds=number)) for number in range(60)]
    ).overflows
    assert [(overflow.scenario, overflow.source, overflow.remediation) for overflow in overflows] == [
        ("fwbouncer/james-smtp-bf", ATTACKER[4], True)
    ]


def test_clients_behind_one_proxy_are_counted_apart(crowdsec_engine: Engine) -> None:
    """Of all who come through a proxy only the guilty one is banned; the proxy and the server never are."""
    everybody = [line for number in range(40) for line in from_address([PROXIED] * 3, f"198.18.3.{number}")]
    found = bans(crowdsec_engine, [*everybody, *[PROXIED] * 6])
    assert PROXY in PROXIED
    assert MAIL[4] in PROXIED
    assert found == {("james-smtp-bf", ATTACKER[4])}


def test_ipv6_clients_are_banned_too(crowdsec_engine: Engine) -> None:
    """An address as Java prints it, with all its zeros, becomes the ban of that address."""
    line = next(line for line in read(OLD)["smtp-plain-ipv6-proxied"] if "AUTH method" in line)
    assert bans(crowdsec_engine, [line] * 6) == {("james-smtp-bf", "2001:db8:a:0:0:0:0:66")}


@pytest.mark.parametrize(
    ("line", "scenario", "address"),
    [
        (a_line(OLD, "pop3-proxied", "Bad credential"), "fwbouncer/james-pop3-bf", "198.18.4.8"),
        (
            a_line(SOURCE_310, "imap-login-proxied", "bad credentials"),
            "fwbouncer/james-imap-bf",
            "198.18.4.10",
        ),
    ],
    ids=["3.8", "3.10"],
)
def test_a_followed_log_bans(
    crowdsec_engine: Engine, tmp_path: Path, line: str, scenario: str, address: str
) -> None:
    """With our acquisition and CrowdSec's own profile, lines that James adds become a decision in the LAPI."""
    log = tmp_path / "james.json"
    with crowdsec_engine.service(log):
        with log.open("a") as james:
            james.writelines(f"{line}\n" for line in from_address([line] * 6, address))
        until(lambda: bool(crowdsec_engine.decisions(address)))
    assert crowdsec_engine.decisions(address) == [("ban", "Ip", scenario)]


def test_a_journal_is_read_too(crowdsec_engine: Engine) -> None:
    """Lines that come by way of syslog or the journal count like those of a file."""
    lines = [f"Nov 21 15:00:0{number} mail james[812]: {PROXIED}" for number in range(6)]
    assert crowdsec_engine.feed(lines, "syslog").bans == {("fwbouncer/james-smtp-bf", ATTACKER[4])}


def test_listed_proxies_are_never_banned(crowdsec_engine: Engine) -> None:
    """A proxy that hides its clients is not banned once it is in the example's list."""
    hidden = from_address([PLAIN] * 20, PROXY)
    assert bans(crowdsec_engine, hidden) == {("james-smtp-bf", PROXY)}
    example = (COLLECTION / "examples" / "james-proxies.yaml").read_text()
    with crowdsec_engine.parser("s02-enrich", "james-proxies", example):
        assert bans(crowdsec_engine, [*hidden, *[PLAIN] * 6]) == {("james-smtp-bf", ATTACKER[4])}


def scenarios() -> list[tuple[Path, dict[str, Any]]]:
    """Return every scenario with its file."""
    return [
        (path, scenario)
        for path in sorted((COLLECTION / "scenarios").glob("*.yaml"))
        for scenario in yaml.safe_load_all(path.read_text())
    ]


@pytest.mark.parametrize(("path", "scenario"), scenarios(), ids=lambda value: getattr(value, "stem", None))
def test_labels_suit_every_crowdsec(path: Path, scenario: dict[str, Any]) -> None:
    """Each scenario says what today's CrowdSec wants to know of it, in the plain values that 1.4.6 takes."""
    labels = scenario["labels"]
    assert set(labels) == {
        *("service", "behavior", "label", "classification"),
        *("confidence", "spoofable", "remediation"),
    }
    assert all(isinstance(value, str | int | bool) for value in labels.values())
    assert labels["classification"].startswith("attack.T")
    assert labels["confidence"] in range(4)
    assert labels["spoofable"] == 0
    assert labels["remediation"] is True
    assert scenario["blackhole"]
    assert "evt.Meta.source_ip != ''" in scenario["filter"]
    assert path.stem.startswith("james-")


def test_the_collection_names_what_lies_beside_it() -> None:
    """The collection's lists are the files that are there, each under its first name."""
    collection = yaml.safe_load((COLLECTION / "collections" / "james.yaml").read_text())
    first = {path: scenario["name"] for path, scenario in reversed(scenarios())}
    assert set(collection["scenarios"]) == set(first.values())
    ours = {name for name in collection["parsers"] if name.startswith("fwbouncer/")}
    stems = {path.stem for path in (COLLECTION / "parsers").rglob("*.yaml")}
    assert {name.removeprefix("fwbouncer/") for name in ours} == stems
