"""Nothing that a LAPI says can hurt the host: the bad is counted and skipped, and the good goes in."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.fake_lapi import answer, endless, raw_decision, redirect, status, truncated
from tests.lab import witness

if TYPE_CHECKING:
    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi, Fault
    from tests.lab.bouncer import Bouncer
    from tests.lab.net import Network
    from tests.lab.packets import Probe

GOOD, RANGE, GOOD_V6 = "198.18.1.1", "198.18.2.0/24", "2001:db8:bad::1"
ORIGINS = [
    'a"b',
    "a'b`c",
    "two\nlines\r\n",
    "x" * 300,
    "} ; flush ruleset ; add table ip evil {",
    "; delete table inet filter",
    "$(touch /tmp/fwbouncer-was-here)",
    "`reboot` && rm -rf / | true",
    "../../etc/passwd",
    "-",
    "",
    " ",
    "\x00null",
    "\x1b[31mred",
    "ünï→code",
    "%s%n%x",
    "processed",
    "cscli-ranges",
]
BAD: list[dict[str, Any]] = [
    {"value": "198.18.1.1 ; flush ruleset"},
    {"value": "198.18.9.9 "},
    {"value": "198.18.9.999"},
    {"value": "198.18.9"},
    {"value": "0x7f.1"},
    {"value": "198.18.9.9/33"},
    {"value": "198.18.9.9/-1"},
    {"value": "198.18.9.9/24/24"},
    {"value": "2001:db8:bad::9%eth0"},
    {"value": "host.example.net"},
    {"value": ""},
    {"value": "x" * 100_000},
    {"value": None},
    {"value": 3323068416},
    {"value": ["198.18.9.9"]},
    {"value": {"ip": "198.18.9.9"}},
    {"value": "198.18.9.1", "duration": "-4h"},
    {"value": "198.18.9.2", "duration": "0s"},
    {"value": "198.18.9.3", "duration": "soon"},
    {"value": "198.18.9.4", "duration": ""},
    {"value": "198.18.9.5", "duration": None},
    {"value": "198.18.9.6", "duration": 14400},
    {"value": "198.18.9.7", "duration": "4h; drop"},
    {"value": "0.0.0.0/0", "scope": "Range"},
    {"value": "::/0", "scope": "Range"},
    {"value": "128.0.0.0/1", "scope": "Range"},
    {"value": "127.0.0.1"},
    {"value": "127.0.0.0/8", "scope": "Range"},
    {"value": "::1"},
    {"value": "198.18.9.8", "id": None},
    {"value": "198.18.9.10", "id": "7"},
    {"value": "198.18.9.11", "type": 7},
    {"value": "198.18.9.12", "scope": None},
    {"value": "198.18.9.13", "origin": {"a": 1}},
]


def good(**fields: Any) -> list[dict[str, Any]]:
    """Return three decisions that nobody could object to."""
    values = [(GOOD, "Ip"), (RANGE, "Range"), (GOOD_V6, "Ip")]
    return [raw_decision(n, value, scope=scope, **fields) for n, (value, scope) in enumerate(values, 1)]


def page(*decisions: Any) -> bytes:
    """Write a page with these new decisions."""
    return json.dumps({"new": list(decisions), "deleted": []}).encode()


@pytest.fixture
def follower(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> Bouncer:
    """Make a bouncer that follows the LAPI which says what it is told."""
    return bouncer(api_url=fake_lapi.url)


def check(follower: Bouncer, net: Network) -> None:
    """Three good decisions are in the kernel; two tables, which every tool can list, are all there is."""
    assert follower.running()
    assert witness.tables(net.mail) == set(witness.TABLES.values())
    assert witness.banned(net.mail) >= {GOOD, RANGE, GOOD_V6}
    assert witness.ruleset(net.mail)


def test_hostile_origins_are_only_names(
    follower: Bouncer, fake_lapi: FakeLapi, net: Network, probe: Probe
) -> None:
    """An origin or scenario may be any text: its ban is enforced and it never becomes a command."""
    sources = [f"198.18.30.{n}" for n in range(len(ORIGINS))]
    named = [
        raw_decision(100 + n, source, origin=origin)
        for n, (source, origin) in enumerate(zip(sources, ORIGINS, strict=True))
    ]
    lists = [
        raw_decision(200 + n, source.replace(".30.", ".31."), origin="lists", scenario=origin)
        for n, (source, origin) in enumerate(zip(sources, ORIGINS, strict=True))
    ]
    fake_lapi.page = page(*named, *good(), *lists)
    follower.start()
    check(follower, net)
    assert set() == probe.arriving([*sources, *(source.replace(".30.", ".31.") for source in sources)])
    assert "\x1b" not in follower.log


def test_bad_decisions_are_skipped_and_counted(follower: Bouncer, fake_lapi: FakeLapi, net: Network) -> None:
    """Of a page full of nonsense exactly the good decisions are enforced, and each other one is counted."""
    bad = [raw_decision(1000 + n, "198.18.9.9") | fields for n, fields in enumerate(BAD)]
    fake_lapi.page = page(*bad[::2], *good(), *bad[1::2])
    follower.start()
    check(follower, net)
    assert witness.banned(net.mail) == {GOOD, RANGE, GOOD_V6}
    assert sum(follower.status()["rejects"].values()) >= len(BAD)


@pytest.mark.parametrize(
    "duration", ["999999999h", "9223372036s", "2562047h47m16s", "8760h0m0.000000001s", "1.5s"]
)
def test_huge_durations_are_no_trouble(
    follower: Bouncer, fake_lapi: FakeLapi, net: Network, duration: str
) -> None:
    """However long a decision says it lasts, it has an end in the kernel or is refused."""
    fake_lapi.page = page(raw_decision(9, "198.18.9.9", duration), *good())
    follower.start()
    check(follower, net)
    left = witness.elements(net.mail, 4).get("198.18.9.9", 1)
    assert left >= 0, "it never ends"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b"{",
        b"<html>not found</html>",
        b'{"new": 7, "deleted": "x"}',
        b'{"new": [7, null, "x", [], true], "deleted": [{}]}',
        b'{"new": {"a": 1}}',
        b'{"new": [' + b"[" * 100_000,
        b"\xff\xfe\x00",
        b'{"new": null, "deleted": null} trailing',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_an_answer_that_is_no_page_changes_nothing(
    follower: Bouncer, fake_lapi: FakeLapi, net: Network, probe: Probe, body: bytes
) -> None:
    """After any odd answer the bans stand and the next good page is followed."""
    fake_lapi.page = page(*good())
    follower.start()
    fake_lapi.faults.extend([answer(body)] * 3)
    _until_used_up(fake_lapi)
    check(follower, net)
    fake_lapi.page = page(*good(), raw_decision(9, "198.18.9.9"))
    probe.wait_until("198.18.9.9", passes=False, within=10)
    check(follower, net)


@pytest.mark.parametrize(
    "fault",
    [truncated(), truncated(0.99), redirect("http://127.0.0.1:1/"), status(500), status(204), status(401)],
    ids=["truncated", "last byte missing", "redirect", "500", "204", "401"],
)
def test_a_failing_lapi_changes_nothing(
    follower: Bouncer, fake_lapi: FakeLapi, net: Network, probe: Probe, fault: Fault
) -> None:
    """After any failure the bans stand, and what the LAPI holds is asked for anew."""
    fake_lapi.page = page(*good())
    follower.start()
    fake_lapi.faults.extend([fault] * 3)
    _until_used_up(fake_lapi)
    check(follower, net)
    asked = len(fake_lapi.requests)
    fake_lapi.page = page(*good(), raw_decision(9, "198.18.9.9"))
    probe.wait_until("198.18.9.9", passes=False, within=10)
    assert asked
    check(follower, net)


def test_a_redirect_is_not_followed(
    follower: Bouncer, fake_lapi: FakeLapi, net: Network, bouncer: MakeBouncer
) -> None:
    """The API key goes to the configured LAPI and nowhere else."""
    with net.mail.inside():
        other = type(fake_lapi)()
    with other:
        fake_lapi.page = page(*good())
        follower.start()
        fake_lapi.faults.append(redirect(other.url + "v1/decisions/stream"))
        _until_used_up(fake_lapi)
        assert other.requests == []


def test_an_endless_body_takes_no_memory(
    follower: Bouncer, fake_lapi: FakeLapi, net: Network, probe: Probe
) -> None:
    """A body of a gigabyte neither fills the memory nor stops the next good page."""
    fake_lapi.page = page(*good())
    follower.start()
    before = follower.rss()
    filler = page(*(raw_decision(n, "198.18.40.1") for n in range(300)))[9:-17] + b","
    for piece, start in ((b" " * 65536, b'{"new":['), (filler, b'{"new":['), (b"x" * 65536, b'{"new":["')):
        fake_lapi.faults.append(endless(piece, start, most=2**30))
        _until_used_up(fake_lapi)
        deadline = time.monotonic() + 60
        asked = len(fake_lapi.requests)
        while len(fake_lapi.requests) == asked:
            assert time.monotonic() < deadline
            assert follower.rss() < before + 400_000_000
            time.sleep(0.05)
    fake_lapi.page = page(*good(), raw_decision(10**6, "198.18.9.9"))
    probe.wait_until("198.18.9.9", passes=False, within=20)
    check(follower, net)


def _until_used_up(fake_lapi: FakeLapi, within: float = 20) -> None:
    """Wait until every queued fault has happened."""
    deadline = time.monotonic() + within
    while fake_lapi.faults:
        assert time.monotonic() < deadline
        time.sleep(0.01)
