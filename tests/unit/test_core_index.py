"""Where each decision is kept, held against a dict."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core import index
from fwbouncer.core.index import Index
from tests.unit.core_naive import thorough

if TYPE_CHECKING:
    from collections.abc import Iterator

IDS = st.integers(-3, 60)


@pytest.fixture(autouse=True)
def _tidies_early() -> Iterator[None]:
    """Let few ids be enough for a tidying."""
    with patch.object(index, "_FEW", 3):
        yield


@thorough
@given(first=st.lists(IDS, max_size=40), steps=st.lists(st.tuples(IDS, st.booleans()), max_size=60))
def test_any_history_ends_as_in_a_dict(first: list[int], steps: list[tuple[int, bool]]) -> None:
    """Filled, then changed and tidied in any order: it holds what a dict would hold."""
    ours, naive = Index(), dict[int, int]()
    if ours.fill(array("q", first)):
        naive = {decision: row for row, decision in enumerate(first)}
    else:
        assert len(set(first)) < len(first)
    for row, (decision, tidy) in enumerate(steps, 100):
        assert ours.get(decision) == naive.get(decision)
        if decision in naive:
            ours.take_out(decision)
            del naive[decision]
        else:
            ours.put(decision, row)
            naive[decision] = row
        if tidy:
            ours.tidy()
        assert dict(ours.items()) == naive
        assert len(ours) == len(naive)
    assert set(ours) == set(naive)


def test_what_comes_in_any_order_is_found() -> None:
    """A page whose ids don't rise is no worse."""
    ours = Index()
    assert ours.fill(array("q", [30, 10, 20]))
    assert [ours.get(decision) for decision in (10, 20, 30, 15)] == [1, 2, 0, None]
    assert not Index().fill(array("q", [1, 2, 1]))
