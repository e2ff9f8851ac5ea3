"""Recorded lines of a real Apache James, through a real CrowdSec: what each is taken for, and for whose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.crowdsec.provoke import VICTIM
from tests.crowdsec.records import read
from tests.lab.net import ATTACKER

if TYPE_CHECKING:
    from tests.crowdsec.conftest import Cases
    from tests.crowdsec.engine import Engine

OLD, NEW, PLAIN = "james-3.8.1-jsonlayout", "james-3.8.1-jsonencoder", "james-3.8.1-plain"
SOURCE_39, SOURCE_310 = "james-3.9.0-from-source", "james-3.10-from-source"
EVERY = (OLD, NEW, PLAIN, SOURCE_39, SOURCE_310)
HONEST = ("success", "delivery")
# As Java prints it.
SIX = "2001:db8:a:0:0:0:0:66"

# How many events of which kind a case makes, direct and through a proxy alike. James 3.8 loses the address of some of
# the IMAP lines, now one and now another, so those are not in this table.
SMTP_POP3 = {
    "smtp-plain": ("james_smtp_auth_failed", 2),
    "smtp-plain-continued": ("james_smtp_auth_failed", 1),
    "smtp-login": ("james_smtp_auth_failed", 2),
    "smtp-unknown-user": ("james_smtp_auth_failed", 2),
    "smtp-malformed": ("james_smtp_auth_failed", 1),
    "pop3": ("james_pop3_auth_failed", 2),
    "pop3-unknown-user": ("james_pop3_auth_failed", 2),
    "forged-at-smtp": ("james_smtp_auth_failed", 1),
    "forged-at-smtp-login": ("james_smtp_auth_failed", 2),
    "forged-quotes-smtp": ("james_smtp_auth_failed", 1),
    "forged-quotes-pop3": ("james_pop3_auth_failed", 1),
    "forged-address-smtp": ("james_smtp_auth_failed", 1),
    "forged-address-pop3": ("james_pop3_auth_failed", 1),
}
JSON_ONLY = {
    "smtp-unknown-recipients": ("james_unknown_recipient", 3),
    "forged-quotes-recipient": ("james_unknown_recipient", 1),
    "forged-address-recipient": ("james_unknown_recipient", 1),
    "forged-newline-smtp": ("james_smtp_auth_failed", 1),
    "forged-newline-smtp-login": ("james_smtp_auth_failed", 2),
}
JMAP = {
    "jmap-wrong-password": ("james_jmap_auth_failed", 1),
    "jmap-unknown-user": ("james_jmap_auth_failed", 1),
    "jmap-no-credentials": ("james_jmap_auth_failed", 1),
    "jmap-forwarded-for": ("james_jmap_auth_failed", 1),
    "forged-path-jmap": ("james_jmap_auth_failed", 1),
}
NEWER = {
    "smtp-plain": ("james_smtp_auth_failed", 1),
    "smtp-unknown-recipients": ("james_unknown_recipient", 2),
    "imap-delegation-wrong-password": ("james_imap_auth_failed", 1),
    "imap-delegation-forbidden": ("james_imap_delegation_failed", 1),
    "imap-delegation-unknown": ("james_imap_delegation_failed", 1),
    "pop3": ("james_pop3_auth_failed", 1),
    "jmap-wrong-password": ("james_jmap_auth_failed", 1),
}
NEWEST = {
    "imap-malformed": ("james_imap_auth_failed", 1),
    "imap-oauth": ("james_imap_auth_failed", 1),
    "managesieve": ("james_managesieve_auth_failed", 2),
}
EXPECTED = {
    OLD: SMTP_POP3 | JSON_ONLY | JMAP,
    NEW: SMTP_POP3 | JSON_ONLY | JMAP,
    PLAIN: SMTP_POP3,
    SOURCE_39: NEWER,
    SOURCE_310: NEWER | NEWEST,
}


def variants(case: str, record: str) -> list[str]:
    """Return the names under which a case stands in a record: over IPv6 and through a proxy, too."""
    names = (case, f"{case}-ipv6", f"{case}-proxied", f"{case}-ipv6-proxied")
    return [name for name in names if name in read(record)]


@pytest.mark.parametrize("record", EVERY)
def test_an_event_is_always_the_clients_own(record: str, explained: dict[str, Cases]) -> None:
    """Behind a proxy or not, an event has the attacker's address or there is none; never anybody else's."""
    for case, lines in explained[record].items():
        client = SIX if "-ipv6" in case else ATTACKER[4]
        sources = {line.event[1] for line in lines if line.event != ("", "")}
        assert sources <= {client}, case


@pytest.mark.parametrize("record", EVERY)
def test_honest_clients_make_no_events(record: str, explained: dict[str, Cases]) -> None:
    """Right passwords, deliveries, our own mail server over LMTP, and all else that James says are no events."""
    honest = {case: lines for case, lines in explained[record].items() if set(HONEST) & set(case.split("-"))}
    assert honest
    assert [line.raw for lines in honest.values() for line in lines if line.parser] == []


@pytest.mark.parametrize(
    ("record", "case"), [(record, case) for record in EVERY for case in EXPECTED[record]]
)
def test_each_refusal_is_one_event(record: str, case: str, explained: dict[str, Cases]) -> None:
    """What James refuses counts once, however many lines it writes about it, from every side."""
    kind, count = EXPECTED[record][case]
    cases = explained[record]
    seen = {name: [line.event[0] for line in cases[name] if line.parser] for name in variants(case, record)}
    assert seen
    assert seen == dict.fromkeys(seen, [kind] * count)


@pytest.mark.parametrize("record", [OLD, NEW])
def test_imap_of_38_counts_where_it_names_the_client(record: str, explained: dict[str, Cases]) -> None:
    """James 3.8's IMAP lines that name a client are events; those that lost the name are none."""
    for case, lines in explained[record].items():
        for line in lines:
            if "Too many authentication failures" in line.raw:
                named = "198.51.100.66" in line.raw or SIX in line.raw
                assert line.event[0] == ("james_imap_locked_out" if named else ""), case


def test_imap_of_38_knows_delegations_and_unknown_users(explained: dict[str, Cases]) -> None:
    """Of IMAP, James 3.8 tells wrong users and refused delegations one by one."""
    cases = explained[OLD]
    for proxied in ("", "-proxied"):
        kinds = [line.event[0] for line in cases[f"imap-login-unknown-user{proxied}"]]
        assert kinds.count("james_imap_auth_failed") > 1
        for case in ("forbidden", "unknown"):
            kinds = [line.event[0] for line in cases[f"imap-delegation-{case}{proxied}"]]
            assert kinds.count("james_imap_delegation_failed") > 0


@pytest.mark.parametrize("record", [SOURCE_39, SOURCE_310])
def test_imap_since_39_counts_each_password(record: str, explained: dict[str, Cases]) -> None:
    """Three wrong passwords are three events, and the end of the connection is one of another kind."""
    for case in ("imap-login", "imap-login-proxied"):
        kinds = [line.event[0] for line in explained[record][case] if line.parser]
        assert kinds == ["james_imap_auth_failed"] * 3 + ["james_imap_locked_out"]


@pytest.mark.parametrize("record", [OLD, NEW])
def test_a_name_is_kept_as_it_was_sent(record: str, explained: dict[str, Cases]) -> None:
    """A user name with quotes, JSON, line breaks or addresses in it stays a name."""
    users = {
        case: {line.meta["target_user"] for line in lines if line.event[0] == "james_smtp_auth_failed"}
        for case, lines in explained[record].items()
    }
    assert users["smtp-plain"] == users["smtp-login-proxied"] == {"alice@example.net"}
    assert users["forged-at-smtp"] == {f"x@{VICTIM}"}
    assert users["forged-address-smtp"] == {f"x with remote address {VICTIM}"}
    assert next(iter(users["forged-quotes-smtp"])).startswith('x","mdc":{"ip":"')
    assert "\r\n10:00:00.000 " in next(iter(users["forged-newline-smtp-login"]))


def test_a_line_that_a_client_began_is_no_event(explained: dict[str, Cases]) -> None:
    """In a plain log a name with line breaks begins lines of its own, and none of them counts for anybody."""
    cases = explained[PLAIN]
    forged = [line for case, lines in cases.items() if case.startswith("forged-newline") for line in lines]
    assert any(line.raw.startswith("10:00:00.000 [info ]") and VICTIM in line.raw for line in forged)
    assert [line.event for line in forged if line.parser] == []


def test_jmap_counts_only_where_it_was_asked_for(crowdsec_engine: Engine) -> None:
    """Without the label that says that no HTTP proxy stands before James, its access log is nobody's."""
    lines = [line for case, lines in read(OLD).items() if "jmap" in case for line in lines]
    assert any(" 401 " in line for line in lines)
    assert not [line for line in crowdsec_engine.feed(lines).lines if line.parser]


BROKEN = (
    "{",
    "{}",
    "{]",
    '{"logger":',
    '{"logger":"org.apache.james.pop3server.core.PassCmdHandler","message":"Bad credential supplied for x with rem',
    '{"logger":{"a":1},"message":["b"],"mdc":"ip"}',
    '{"logger":"org.apache.james.util.AuditTrail","mdc":{"protocol":"SMTP","action":"AUTH"},'
    '"message":"SMTP Authentication failed."}',
    '{"logger":"org.apache.james.util.AuditTrail","mdc":{"protocol":"SMTP","action":"AUTH","remoteIP":"nobody"},'
    '"message":"SMTP Authentication failed."}',
    '{"logger":"org.apache.james.util.AuditTrail","mdc":{"protocol":"SMTP","action":"AUTH",'
    '"remoteIP":"203.0.113.99, 198.51.100.1"},"message":"SMTP Authentication failed."}',
    "10:00:00.000 [INFO ] o.a.j.p.c.PassCmdHandler - Bad credential supplied for q with remote address 203.0.113.99",
)


def test_lines_that_make_no_sense_are_nobodys(crowdsec_engine: Engine) -> None:
    """Cut lines, other shapes, and addresses that are none name nobody, and lines behind them are read."""
    good = read(OLD)["pop3"]
    lines = crowdsec_engine.feed([*BROKEN, *good]).lines
    assert [line.event[1] for line in lines[: len(BROKEN)]] == [""] * len(BROKEN)
    assert [line.event[1] for line in lines].count(ATTACKER[4]) == 2


def test_the_collection_loads_in_silence(crowdsec_engine: Engine) -> None:
    """CrowdSec 1.4.6 has nothing to complain about in our files."""
    crowdsec_engine.feed(read(OLD)["pop3"])
    complaints = [
        line
        for line in crowdsec_engine.said.splitlines()
        if ("level=warning" in line or "level=error" in line) and ("james" in line.lower() or "grok" in line)
    ]
    assert complaints == []
