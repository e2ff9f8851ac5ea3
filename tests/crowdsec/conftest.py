"""One engine for all tests here, and what it makes of every recorded line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.crowdsec.engine import Engine, engine
from tests.crowdsec.records import RECORDS, Record, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.crowdsec.engine import Explained


@pytest.fixture(scope="session")
def crowdsec_engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Debian's CrowdSec with our collection."""
    if os.geteuid() != 0:
        pytest.fail("needs root, for a network namespace")
    made = engine(tmp_path_factory.mktemp("engine") / "crowdsec")
    if made is None:
        pytest.fail("needs CrowdSec's package: ./packaging/test unpacks it")
    return made


Cases = dict[str, list["Explained"]]


def _by_case(record: Record, fed: Iterator[Explained]) -> Cases:
    return {case: [next(fed) for _ in lines] for case, lines in record.items()}


@pytest.fixture(scope="session")
def explained(crowdsec_engine: Engine) -> dict[str, Cases]:
    """What the engine makes of each record, case by case; all records of one type are fed at once."""
    known: dict[str, Cases] = {}
    for kind, names in RECORDS.items():
        records = {name: read(name) for name in names}
        lines = [line for record in records.values() for case in record.values() for line in case]
        fed = crowdsec_engine.feed(lines, kind, james_jmap="direct").lines
        assert [one.raw for one in fed] == lines
        left = iter(fed)
        known |= {name: _by_case(record, left) for name, record in records.items()}
    return known
