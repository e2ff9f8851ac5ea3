"""The page parser: any cutting into pieces gives what one parse of the whole would."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.errors import LapiBadAnswer
from fwbouncer.lapi.page import MAX_ROW, PageParser


def parse(body: bytes, *cuts: int) -> dict[str, list[Any]]:
    """Parse a body, cut at these places."""
    lists: dict[str, list[Any]] = {"new": [], "deleted": []}
    parser = PageParser({name: rows.extend for name, rows in lists.items()})
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for start, end in pairwise(places):
        parser.feed(body[start:end])
    parser.close()
    return lists


texts = st.text(max_size=8) | st.sampled_from(
    ["},{", "}],", '"deleted":[', "\\", '"', "é", "\U0001f600", "]}"]
)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | texts
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
rows = st.none() | st.lists(st.dictionaries(texts, anything, max_size=4) | anything, max_size=12)
pages = st.fixed_dictionaries(
    {}, optional={"new": rows, "deleted": rows, "links": anything, "n": anything}
).filter(lambda page: "new" in page or "deleted" in page)


@given(pages, st.randoms(use_true_random=False), st.booleans(), st.sampled_from([None, 1]), st.data())
def test_pieces_give_what_the_whole_gives(
    page: Any, random: Any, ascii_only: bool, indent: int | None, data: Any
) -> None:
    """Borders of pieces, the order of keys, white space and escapes change nothing."""
    names = list(page)
    random.shuffle(names)
    text = json.dumps({name: page[name] for name in names}, ensure_ascii=ascii_only, indent=indent)
    body = text.encode("utf-8", "surrogatepass")
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=6))
    expected = {"new": page.get("new") or [], "deleted": page.get("deleted") or []}
    assert expected == parse(body, *cuts)


def test_large_pages_survive_every_kind_of_border() -> None:
    """A body of many slices comes out whole, also where texts look like borders between decisions."""
    for odd in ("x", "},{", "é" * 7, '"},{"', "]}"):
        for separators in ((",", ":"), (", ", ": "), ("  ,\n", ":")):
            page = {
                "new": [{"id": i, "odd": odd} for i in range(9000)],
                "deleted": [{"id": i} for i in range(9000)],
            }
            body = json.dumps(page, separators=separators, ensure_ascii=False).encode()
            assert page == parse(body, *range(0, len(body), 7001))


@pytest.mark.parametrize(
    "body", [b'{"new":null,"deleted":null}', b'{"new":[]}', b' { "deleted" : [ ] } \n', b'{"new":null}']
)
def test_empty_lists_have_many_forms(body: bytes) -> None:
    """A list that is null, empty or missing has no decisions in it."""
    assert parse(body) == {"new": [], "deleted": []}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"[]",
        b"null",
        b"1",
        b'"new"',
        b"{}",
        b'{"message":"oops"}',
        b"<html>",
        b"\xef\xbb\xbf{}",
        b'{"new"}',
        b'{"new":[]',
        b'{"new":[}',
        b'{"new":[]]',
        b'{"new":[],}',
        b'{"new":[1,]}',
        b'{"new":[1 2]}',
        b'{"new":[]}{}',
        b'{"new":{}}',
        b'{"new":"x"}',
        b'{"new":1}',
        b'{"new":true}',
        b"{1:2}",
        b'{"new":[],"new":[]}',
        b'{"new" []}',
        b'{"new":[{"id":1}',
        b'{"new":[{"id":1},',
        b'{"new":[{"id":1',
        b'{"new":nul',
        b'{"new":[],"deleted":[',
        b"\x00",
        b"[" * 100000,
        b'{"new":[' + b"[" * 60000,
        b'{"new":[' + b'{"a":' * 9000,
        b'{"x":' + b"[" * 9000,
    ],
)
def test_what_is_no_page_is_refused(body: bytes) -> None:
    """Anything but a whole JSON object with a list of decisions in it is a bad answer, however it is cut."""
    with pytest.raises(LapiBadAnswer):
        parse(body)
    with pytest.raises(LapiBadAnswer):
        parse(body, *range(min(len(body), 1000)))


def test_a_truncated_page_is_refused_wherever_it_ends() -> None:
    """No proper prefix of a page passes for one."""
    body = b'{"new": [{"id":1,"value":"192.0.2.1"},{"id":2}], "deleted": [{"id":3}]}'
    for end in range(len(body)):
        with pytest.raises(LapiBadAnswer):
            parse(body[:end])


def test_bytes_that_are_no_text_spoil_one_decision_only() -> None:
    """A byte that is not UTF-8 becomes a replacement character where it stands."""
    assert parse(b'{"new":[{"a":"x\xffy"},{"b":1}]}')["new"] == [{"a": "x\ufffdy"}, {"b": 1}]


def test_huge_numbers_spoil_one_decision_only() -> None:
    """A number of more digits than Python takes is no reason to lose the page."""
    found = parse(b'{"new":[{"id":%b},{"id":-7},{"id":1e999}]}' % (b"9" * 9000))["new"]
    assert [float("inf"), -7, float("inf")] == [row["id"] for row in found]


def test_an_endless_text_ends_soon() -> None:
    """A decision that doesn't end is given up after a bounded number of bytes."""
    parser = PageParser({"new": lambda _: None})
    parser.feed(b'{"new":[{"value":"')
    for _ in range(MAX_ROW // 1000):
        parser.feed(b"x" * 1000)
    with pytest.raises(LapiBadAnswer, match="longer than"):
        parser.feed(b"x" * MAX_ROW)


def test_the_body_has_a_limit() -> None:
    """However well-formed, a body longer than the limit is refused."""
    parser = PageParser({"new": lambda _: None}, max_body=10_000)
    for _ in range(100):
        parser.feed(b" " * 100)
    with pytest.raises(LapiBadAnswer, match="longer than 10000"):
        parser.feed(b" ")
