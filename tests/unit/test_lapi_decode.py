"""Decisions, checked one by one: a bad one is counted and skipped, the rest go in."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.model import Family, Label, Page
from fwbouncer.errors import LapiBadAnswer
from fwbouncer.lapi.decode import MAX_EXAMPLES, MAX_IGNORED, Reject
from tests.fake_lapi import raw_decision, static_page
from tests.unit.lapi_help import decode, decoder

GOOD = raw_decision(7, "192.0.2.1", "1h")


def page(*new: Any, deleted: Any = (), now: int = 0) -> Page:
    """Decode these raw decisions."""
    return decode(json.dumps({"new": new, "deleted": list(deleted)}), now)


def test_a_decision_becomes_a_row() -> None:
    """Id, key, deadline and label of a good decision stand in the same row."""
    found = page(GOOD, now=5)
    assert (list(found.ids), found.keys, list(found.deadlines)) == ([7], [b"\xc0\x00\x02\x01"], [3_600_005])
    assert [Label("cscli", "manual", "ban", "cscli")] == found.labels
    assert not found.rejects
    assert not found.ignored
    assert found.startup


@pytest.mark.parametrize("number", [0, 2**63 - 1])
def test_every_id_of_63_bits_is_good(number: int) -> None:
    """Zero is an id, and so is the largest number that the database has."""
    assert [number] == list(page(GOOD | {"id": number}).ids)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": -1}, Reject.BAD_ID),
        ({"id": 2**63}, Reject.BAD_ID),
        ({"id": True}, Reject.BAD_ID),
        ({"id": 1.0}, Reject.BAD_ID),
        ({"id": "7"}, Reject.BAD_ID),
        ({"id": None}, Reject.BAD_ID),
        ({"value": 3221225985}, Reject.WRONG_TYPE),
        ({"value": ["192.0.2.1"]}, Reject.WRONG_TYPE),
        ({"value": None}, Reject.MISSING),
        ({"value": "192.0.2.1 "}, Reject.NO_ADDRESS),
        ({"value": "0.0.0.0/0"}, Reject.REFUSED),
        ({"value": "127.0.0.1"}, Reject.REFUSED),
        ({"duration": 3600}, Reject.WRONG_TYPE),
        ({"duration": {}}, Reject.WRONG_TYPE),
        ({"duration": None}, Reject.MISSING),
        ({"duration": "1d"}, Reject.NO_DURATION),
        ({"duration": "3000000h"}, Reject.NO_DURATION),
        ({"duration": "0s"}, Reject.OVER),
        ({"duration": "-1h"}, Reject.OVER),
        ({"duration": "999999ns"}, Reject.OVER),
        ({"scope": 1}, Reject.WRONG_TYPE),
        ({"scope": None}, Reject.MISSING),
        ({"type": []}, Reject.WRONG_TYPE),
        ({"type": None}, Reject.MISSING),
        ({"origin": 0}, Reject.WRONG_TYPE),
        ({"scenario": False}, Reject.WRONG_TYPE),
        ({"simulated": 0}, Reject.WRONG_TYPE),
        ({"simulated": "false"}, Reject.WRONG_TYPE),
    ],
)
def test_a_bad_field_costs_one_decision(change: dict[str, Any], reason: Reject) -> None:
    """The decision is skipped, counted by its reason and described; its neighbours go in."""
    found = page(GOOD, GOOD | change, GOOD | {"id": 8})
    assert list(found.ids) == [7, 8]
    assert {reason: 1} == found.rejects
    assert len(found.examples) == 1


@pytest.mark.parametrize("row", [None, 1, "x", [], [GOOD], True])
def test_what_is_no_object_is_no_decision(row: Any) -> None:
    """Anything but an object is rejected, among the new and among the deleted."""
    found = page(row, deleted=[row])
    assert found.rejects == {Reject.NO_OBJECT: 2}


@pytest.mark.parametrize("gone", ["origin", "scenario"])
def test_a_ban_without_a_reason_is_still_a_ban(gone: str) -> None:
    """Missing or null, origin and scenario don't decide whether an address is banned."""
    found = page({name: value for name, value in GOOD.items() if name != gone}, GOOD | {gone: None})
    assert list(found.ids) == [7, 7]
    assert getattr(found.labels[0], gone) == ""
    assert found.labels[0].group == ("unknown" if gone == "origin" else "cscli")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"scope": "Country", "value": "FR"}, "scope Country"),
        ({"scope": "AS", "value": "64496"}, "scope AS"),
        ({"scope": "a\nb\x1b[31m" + "x" * 99}, "scope a\\nb\\x1b[31m" + "x" * 32 + "..."),
        ({"type": "captcha"}, "type captcha"),
        ({"type": "simulation:ban"}, "simulated"),
        ({"simulated": True}, "simulated"),
    ],
)
def test_what_is_not_for_us_is_counted_by_name(change: dict[str, Any], name: str) -> None:
    """Other scopes and types and simulated decisions are no mistakes; they are counted apart."""
    found = page(GOOD | change, GOOD | change)
    assert not found.ids
    assert not found.rejects
    assert {name: 2} == found.ignored


def test_a_disabled_family_is_ignored() -> None:
    """Decisions of a family that is switched off are counted and skipped."""
    rows = [
        GOOD,
        GOOD | {"value": "2001:db8::1"},
        GOOD | {"value": "2001:db8::/32"},
        GOOD | {"value": "::ffff:1.2.3.4"},
    ]
    found = decoder(Family.V4).decode(json.dumps({"new": rows}).encode(), startup=False, now=0)
    assert found.keys == [b"\xc0\x00\x02\x01", b"\x01\x02\x03\x04"]
    assert found.ignored == {"IPv6 disabled": 2}


@pytest.mark.parametrize("scope", ["Ip", "ip", "IP", "Range", "range"])
def test_the_value_decides_what_is_banned(scope: str) -> None:
    """A scope of ours is known in any case, and a range may come as Ip and the other way round."""
    found = page(GOOD | {"scope": scope}, GOOD | {"scope": scope, "value": "192.0.2.0/24"})
    assert [len(key) for key in found.keys] == [4, 5]


def test_types_are_known_in_any_case() -> None:
    """`Ban` is a ban."""
    assert [label.type for label in page(GOOD | {"type": "Ban"}).labels] == ["ban"]


def test_of_deleted_decisions_only_the_id_counts() -> None:
    """Whatever else stands in it, a decision that is over ends by its id, and the id is checked."""
    deleted = [GOOD | {"duration": "-17h44m25s"}, {"id": 8}, {"id": -1}, {"id": "9"}, {}, {"id": False}]
    found = page(deleted=deleted)
    assert list(found.ended) == [7, 8]
    assert found.rejects == {Reject.BAD_ID: 4}


def test_equal_labels_are_one_object() -> None:
    """Over all pages, decisions that share origin, scenario and type share the label itself."""
    shared = decoder()
    body = json.dumps({"new": [GOOD, GOOD | {"scope": "Range"}]}).encode()
    pages = [shared.decode(body, startup=True, now=0) for _ in range(2)]
    assert len({id(label) for found in pages for label in found.labels}) == 1


def test_examples_are_few_short_and_printable() -> None:
    """No text of the LAPI's reaches a log unescaped or at length."""
    evil = ["\x1b[2J\nOct 1 sshd: root logged in", "\ud800", "\u202e", "x" * 60_000, "\0", '"; flush ruleset']
    found = page(*(GOOD | {"value": value, "id": number} for number, value in enumerate(evil * 5)))
    assert found.rejects == {Reject.NO_ADDRESS: 30}
    assert len(found.examples) == MAX_EXAMPLES
    for number, (decision, example) in enumerate(found.examples):
        assert decision == number
        assert example.isascii()
        assert example.isprintable()
        assert len(example) < 250


def test_names_of_what_is_ignored_are_bounded() -> None:
    """A LAPI can't fill the memory with scopes that nobody knows."""
    found = page(*(GOOD | {"scope": f"made up {number}"} for number in range(500)))
    assert found.ignored.total() == 500
    assert len(found.ignored) <= MAX_IGNORED + 1


def test_labels_are_bounded_and_bans_are_not() -> None:
    """However many origins and scenarios are made up, each ban counts, and names end up shared and short."""
    found = page(
        *(GOOD | {"id": n, "origin": f"o{n}" + "x" * 999, "scenario": f"s{n}"} for n in range(30_000))
    )
    assert len(found.ids) == 30_000
    assert len({id(label) for label in found.labels}) <= 20_001
    assert max(len(label.origin) for label in found.labels) == 255
    assert len({label.group for label in found.labels}) <= 65


def test_labels_can_be_written_anywhere() -> None:
    """Half a surrogate pair, which no file takes, doesn't get into a label."""
    label = page(GOOD | {"origin": "a\ud800b"}).labels[0]
    assert label.origin.encode()


def test_a_large_page_is_decoded_whole() -> None:
    """All of a hundred thousand decisions are there, in order."""
    found = decode(static_page(hosts=100_000, ranges=1000, v6=1000))
    assert list(range(1, 102_001)) == list(found.ids)
    assert len(set(found.keys)) == 102_000
    assert not found.rejects


fields = {
    name: st.none() | st.integers() | st.text(max_size=6) | st.lists(st.booleans(), max_size=1)
    for name in GOOD
}
fields["simulated"] = st.none() | st.booleans() | st.integers() | st.text()
mutants = st.fixed_dictionaries({}, optional=fields).map(lambda change: GOOD | change)


@given(st.lists(mutants | st.just(GOOD) | st.integers() | st.none(), max_size=5))
def test_every_decision_is_accounted_for(rows: list[Any]) -> None:
    """Each decision is taken, rejected or ignored, exactly once."""
    found = page(*rows)
    assert len(rows) == len(found.ids) + found.rejects.total() + found.ignored.total()
    assert len(found.ids) == len(found.keys) == len(found.deadlines) == len(found.labels)


@given(st.data())
def test_damaged_bodies_are_pages_or_bad_answers(data: st.DataObject) -> None:
    """Bytes changed, removed or put in anywhere lead to a page or to LapiBadAnswer, nothing else."""
    body = bytearray(json.dumps({"new": [GOOD, GOOD | {"id": 8}], "deleted": [GOOD]}).encode())
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with suppress(LapiBadAnswer):
        decode(bytes(body))


@given(st.binary(max_size=200))
def test_random_bytes_are_no_page(body: bytes) -> None:
    """Noise is a bad answer."""
    with pytest.raises(LapiBadAnswer):
        decode(body)


values = st.sampled_from(
    [
        "192.0.2.7",
        "2001:db8::7",
        "198.51.100.9/24",
        "::ffff:192.0.2.9",
        "127.0.0.1",
        "::1",
        "::/0",
        "10.0.0.0/4",
        "x",
        "0.0.0.1",
    ]
) | st.ip_addresses().map(str)
likely = st.fixed_dictionaries(
    {"value": values},
    optional={
        "id": st.sampled_from([0, 5, -1, 2**63, True, "5", 2**63 - 1]),
        "duration": st.sampled_from(["1h", "4h0m0.5s", "0s", "-1s", "x", 5]),
        "scope": st.sampled_from(["Range", "AS", None]),
    },
).map(lambda change: GOOD | change)


@given(st.lists(likely | mutants, max_size=6))
def test_many_at_once_are_as_many_one_by_one(rows: list[Any]) -> None:
    """What is quick for ordinary decisions makes no difference to what becomes of any of them."""
    quick, thorough = decoder(), decoder()
    for known in (quick, thorough):
        known.decode(json.dumps({"new": [GOOD]}).encode(), startup=True, now=0)
    plain = [{"simulated": False} | row for row in rows]  # which says nothing, but is not ordinary
    first, second = (
        known.decode(json.dumps({"new": some}).encode(), startup=True, now=7)
        for known, some in ((quick, rows), (thorough, plain))
    )
    assert (first.ids, first.keys, first.deadlines) == (second.ids, second.keys, second.deadlines)
    assert [str(label) for label in first.labels] == [str(label) for label in second.labels]
    assert (first.rejects, first.ignored) == (second.rejects, second.ignored)
