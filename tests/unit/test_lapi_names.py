"""Set names from hostile origins, and texts fit to be shown."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.names import Groups, set_group, shown

SAFE = re.compile(r"[A-Za-z0-9_.-]{1,100}", re.ASCII)


@pytest.mark.parametrize(
    ("origin", "scenario", "name"),
    [
        ("CAPI", "crowdsecurity/ssh-bf", "CAPI"),
        ("cscli", "manual", "cscli"),
        ("crowdsec", "linagora/james-auth", "crowdsec"),
        ("lists", "firehol_level1", "lists-firehol_level1"),
        ("", "x", "unknown"),
    ],
)
def test_usual_origins_are_named_as_ever(origin: str, scenario: str, name: str) -> None:
    """The incumbent's users find the sets that they know."""
    assert name == set_group(origin, scenario)


@given(st.text(max_size=400), st.text(max_size=400))
def test_every_origin_gets_a_safe_name(origin: str, scenario: str) -> None:
    """Whatever an origin is, its name needs no quotes in nft, fits, and always is the same."""
    name = set_group(origin, scenario)
    assert SAFE.fullmatch(name)
    assert not name.endswith("-ranges")
    assert name == set_group(origin, scenario)


@pytest.mark.parametrize(
    "origin", ['a"b', "a b", "a;b", "a\nb", "a}b", "$(b)", "../b", "ü", "\ud800", "b" * 101, "b-ranges", "{"]
)
def test_odd_origins_stay_apart(origin: str) -> None:
    """An odd name is replaced by one with a digest of its own behind it."""
    assert re.search(r"-[0-9a-f]{8}\Z", set_group(origin, ""))
    assert set_group(origin, "") != set_group(origin + "!", "")


def test_the_number_of_groups_is_bounded() -> None:
    """After so many strange origins the next share one name; known ones and CrowdSec's own keep theirs."""
    groups = Groups(limit=64)
    names = {groups(f"made-up-{number}", "") for number in range(1000)}
    assert len(names) == 65
    assert groups("made-up-3", "") == "made-up-3"
    assert groups("made-up-999", "") == "other"
    assert groups("CAPI", "") == "CAPI"


@given(st.text(max_size=300) | st.integers() | st.lists(st.text()) | st.floats() | st.none())
def test_shown_values_are_short_and_printable(value: object) -> None:
    """One line of printable ASCII comes out, whatever goes in."""
    text = shown(value, 40)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) <= 40 * 10 + 5


def test_shown_values_survive_huge_numbers() -> None:
    """A number that Python won't write out is no trap."""
    assert shown(10**5000) == "a huge number"
    assert shown(-7) == "-7"
