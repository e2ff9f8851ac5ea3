"""Durations as Go writes them."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.duration import nanoseconds

UNITS = {
    "h": 3600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ns": 1,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4999h59m53s", (4999 * 3600 + 59 * 60 + 53) * 10**9),
        ("38m55.633568505s", (38 * 60 + 55) * 10**9 + 633568505),
        ("0s", 0),
        ("0", 0),
        ("+0", 0),
        ("-0", 0),
        ("1.5s", 1_500_000_000),
        ("-17h44m25s", -(17 * 3600 + 44 * 60 + 25) * 10**9),
        ("+1h", 3600 * 10**9),
        (".5h", 1800 * 10**9),
        ("1.h", 3600 * 10**9),
        ("1h30m", 5400 * 10**9),
        ("5m", 300 * 10**9),
        ("15ms", 15 * 10**6),
        ("1us", 1000),
        ("1\u00b5s", 1000),
        ("1\u03bcs", 1000),
        ("7ns", 7),
        ("1s1h", 3601 * 10**9),
        ("9223372036854775807ns", 2**63 - 1),
        ("-9223372036854775808ns", -(2**63)),
    ],
)
def test_every_form_that_go_writes_is_understood(text: str, expected: int) -> None:
    """Each form means what Go's parser says it means."""
    assert expected == nanoseconds(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "-",
        "1",
        "h",
        ".h",
        "1h ",
        " 1h",
        "1 h",
        "1d",
        "1w",
        "1hm",
        "--1h",
        "1H",
        "1e3s",
        "0x1s",
        "1,5s",
        "1h-5m",
        "\u0661s",
        "1s\n",
        "\n1s",
        "s",
        ".",
        "9223372036854775808ns",
        "-9223372036854775809ns",
        "2562048h",
        "99999999h",
        "1" * 5000 + "s",
        "1h" * 5000,
        "1s\x00",
        "\ud800s",
        "1.2.3s",
        "inf",
        "nan",
    ],
)
def test_anything_else_is_no_duration(text: str) -> None:
    """What Go would refuse, out of range included, is refused."""
    assert nanoseconds(text) is None


def oracle(text: str) -> Fraction | None:
    """Add up exactly, with nothing in common with the code."""
    unit = "|".join(sorted(UNITS, key=len, reverse=True))
    if not re.fullmatch(rf"[-+]?((\d+\.?\d*|\.\d+)({unit}))+", text, re.ASCII):
        return None
    terms = re.findall(rf"([\d.]+)({unit})", text)
    total = sum(
        (Fraction("0" + number + "0" * number.endswith(".")) * UNITS[name] for number, name in terms),
        Fraction(),
    )
    return -total if text.startswith("-") else total


numbers = st.from_regex(r"\A(?:[0-9]{1,12}\.?[0-9]{0,12}|\.[0-9]{1,9})\Z")
durations = st.builds(
    lambda sign, terms: sign + "".join(a + b for a, b in terms),
    st.sampled_from(["", "-", "+"]),
    st.lists(st.tuples(numbers, st.sampled_from(sorted(UNITS))), min_size=1, max_size=5),
)


@given(durations | st.text(alphabet="0123456789.+-hmsnuµ ", max_size=12))
def test_durations_agree_with_exact_arithmetic(text: str) -> None:
    """Fractions of nanoseconds apart, the result is the exact sum, or none where Go's 64 bits end."""
    expected = Fraction(0) if text in ("0", "+0", "-0") else oracle(text)
    found = nanoseconds(text)
    if expected is None or not -(2**63) <= int(expected) <= 2**63 - 1:
        # On the very edge a dropped fraction of a nanosecond may decide.
        assert found is None or (expected is not None and abs(abs(expected) - 2**63) < 10)
    else:
        assert found is not None
        assert abs(found - expected) < 5
