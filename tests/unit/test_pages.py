"""What the commands print: readable, complete, and nothing that a terminal would obey."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.control import explained, page, rates
from fwbouncer.control.table import Table

NASTY = "evil\x1b[2J\nrm -rf\u202e"
JUNK: Any = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def _harmless(text: str) -> bool:
    return all(char.isprintable() or char == "\n" for char in text)


class TestList:
    """The rows of `list`."""

    def test_rows(self) -> None:
        """Columns stand below each other; a header comes first, and once."""
        rows = [
            {"id": 7, "value": "192.0.2.1", "left": 3600, "origin": "CAPI", "type": "ban", "scenario": "a/b"},
            {
                "id": None,
                "value": "2001:db8::/48",
                "left": 1,
                "origin": NASTY,
                "type": "ban",
                "scenario": "x",
            },
        ]
        piece = "".join(json.dumps(row) + "\n" for row in rows).encode()
        table = Table(header=True)
        text = table.rows(piece) + table.rows(piece)
        lines = text.splitlines()
        assert [line.split()[0] for line in lines] == ["ADDRESS", *["192.0.2.1", "2001:db8::/48"] * 2]
        assert len({line.index("ban") for line in lines[1:]}) == 1
        assert "evil\\x1b[2J\\nrm -rf\\u202e" in text
        assert _harmless(text)


ANSWER: Any = {
    "address": "192.0.2.1",
    "verdict": "blocked",
    "decisions": [
        {
            "id": 1,
            "value": "192.0.2.1",
            "origin": "crowdsec",
            "scenario": NASTY,
            "type": "ban",
            "until": "2026-01-01T00:00:00Z",
            "left": 60,
        }
    ],
    "decisions_total": 3,
    "addresses": {"total": 1, "banned": 1},
    "never_block": [{"value": "192.0.2.0/24", "source": "unblocked", "left": 30}],
    "kernel": {
        "error": None,
        "sets": [{"set": "ip a b", "left": 59, "rules": ["c: banned by crowdsec"]}],
    },
    "difference": "the kernel lacks it",
    "notes": ["mode dry-run"],
}


class TestExplain:
    """The page of `explain`."""

    def test_page(self) -> None:
        """Verdict, decisions, what spares, the kernel's word and the difference are all there."""
        assert explained.render(ANSWER, color=False).splitlines() == [
            "192.0.2.1 is blocked",
            "decisions  1 on 192.0.2.1 by crowdsec: evil\\x1b[2J\\nrm -rf\\u202e (ban)",
            "             until 2026-01-01T00:00:00Z, for 1 min still",
            "           and 2 more; `fwbouncer list --range` shows them all",
            "spared     192.0.2.0/24 is never blocked: unblocked, for 30 s still",
            "kernel     ip a b holds it, for 59 s still",
            "             used by c: banned by crowdsec",
            "           the kernel lacks it",
            "note       mode dry-run",
        ]

    def test_colors(self) -> None:
        """On a terminal the verdict stands out; the text is the same."""
        painted = explained.render(ANSWER, color=True)
        assert "\x1b[31mblocked\x1b[0m" in painted


class TestTop:
    """The rates of `top`."""

    @staticmethod
    def reading(at: float, packets: int) -> dict[str, Any]:
        """Make the daemon's answer."""
        each = {"packets": packets, "bytes": packets * 40}
        return {"at": at, "dropped": {"CAPI": each, NASTY: {"packets": 0, "bytes": 0}}, "processed": each}

    def test_rates(self) -> None:
        """Packets a second are the difference over the time; a counter that began anew counts from zero."""
        sample = rates.rates(self.reading(10, 100), self.reading(12, 160))
        assert sample["dropped"]["CAPI"] == {
            "packets": 160,
            "packets_per_second": 30.0,
            "bytes": 6400,
            "bytes_per_second": 1200.0,
        }
        again = rates.rates(self.reading(10, 100), self.reading(12, 20))
        assert again["dropped"]["CAPI"]["packets_per_second"] == 10.0

    def test_table(self) -> None:
        """Who costs most comes first, what was seen last."""
        text = rates.render(rates.rates(self.reading(10, 100), self.reading(12, 160)), color=False)
        assert [line.split()[0] for line in text.splitlines()][:2] == ["FROM", "CAPI"]
        assert text.splitlines()[-1].startswith("everything seen")
        assert _harmless(text)


@given(
    JUNK, st.sampled_from(["decisions", "kernel", "never_block", "dropped", "lapi", "loading", "notes", "at"])
)
@pytest.mark.parametrize("render", [explained.render, page.render])
def test_any_answer_has_a_page(render: Any, junk: Any, key: str) -> None:
    """Whatever another version sends, the page is a page, and harmless."""
    assert _harmless(render({key: junk}, color=False))
    assert _harmless(render({key: {key: junk, "sets": junk, "passed": junk}}, color=False))
    rates.render(rates.rates({key: junk}, {key: junk}), color=False)
