"""The state file: what is saved comes back."""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwbouncer.core.ledger import Ledger
from fwbouncer.host import state
from fwbouncer.host.state_format import Moment
from tests.lab.state import packed
from tests.unit.core_naive import DURATIONS, HOUR, LABELS, page, thorough
from tests.unit.state_help import BOOT, KEYS, NOW, ROWS, A, load, rows_of, save

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file in a folder of its own."""
    return tmp_path / "state"


class TestSaved:
    """What comes back."""

    @settings(thorough, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_ledger_comes_back(self, path: Path, data: st.DataObject) -> None:
        """Every claim is there again with its id, address, deadline and label; freed rows are not."""
        ledger = Ledger()
        row = st.tuples(
            st.integers(-5, 50), KEYS, DURATIONS.map(lambda d: NOW.boot + d), st.sampled_from(LABELS)
        )
        rows = data.draw(st.lists(row, max_size=20, unique_by=lambda row: row[0]), "rows")
        ledger.absorb(page(rows), NOW.boot)
        gone = data.draw(st.sets(st.integers(-5, 50)), "gone")
        ledger.drop(gone)
        state.save(path, packed(ledger.section(0, ledger.rows), NOW))
        expected = [
            (i, k, d, label) for i, k, d, label in sorted(rows, key=lambda row: row[0]) if i not in gone
        ]
        assert expected == (rows_of(load(path)) or [])

    def test_only_root_may_read_it(self, path: Path) -> None:
        """The file has mode 0600 whatever the umask, and nothing else is left in the folder."""
        before = os.umask(0)
        try:
            save(path, ROWS)
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o7777 == 0o600
        assert [path] == list(path.parent.iterdir())

    def test_a_million_claims_are_small(self) -> None:
        """A claim on an IPv4 host takes 25 bytes."""
        count = 10_000
        columns = array("q", range(count)), [A] * count, array("q", [HOUR]) * count, [LABELS[0]] * count
        assert sum(map(len, packed(columns, NOW))) < 25 * count + 200

    def test_an_empty_ledger_is_no_trouble(self, path: Path) -> None:
        """A state without a ban is a state: it says that nobody was banned."""
        save(path, [])
        assert rows_of(load(path)) == []

    def test_the_folder_is_made(self, path: Path) -> None:
        """Where the folder is missing, it is made, for us alone."""
        inner = path.parent / "fwbouncer" / "state"
        save(inner, ROWS)
        assert inner.parent.stat().st_mode & 0o777 == 0o700
        with pytest.raises(OSError, match="No such file"):
            save(path.parent / "a" / "b" / "state", ROWS)

    def test_a_link_in_its_place_is_replaced_not_followed(self, path: Path) -> None:
        """Writing never goes through a symbolic link, neither at the name nor at the one used meanwhile."""
        target = path.parent / "precious"
        target.write_text("precious")
        path.symlink_to(target)
        path.with_name("state.new").symlink_to(target)
        save(path, ROWS)
        assert target.read_text() == "precious"
        assert not path.is_symlink()

    def test_a_failed_write_leaves_the_old_file(self, path: Path) -> None:
        """What can't be written whole is not written at all, and nothing half-made stays."""
        save(path, ROWS)
        path.with_name("state.new").mkdir()
        with pytest.raises(OSError, match=r"state\.new"):
            save(path, ROWS[:1])
        assert rows_of(load(path)) == ROWS


class TestClocks:
    """Deadlines from one boot to the next."""

    def test_across_a_boot_the_wall_clock_counts(self, path: Path) -> None:
        """A machine that was off for half an hour owes its bans half an hour less."""
        save(path, ROWS)
        after = Moment(boot=9_000, wall=NOW.wall + HOUR // 2, boot_id=b"another boot it.")
        assert rows_of(load(path, after)) == [
            (i, k, 9_000 + d - NOW.boot - HOUR // 2, label) for i, k, d, label in ROWS
        ]

    def test_within_a_boot_the_date_does_not_matter(self, path: Path) -> None:
        """Without a boot in between, deadlines stay as they are, whatever somebody did to the date."""
        save(path, ROWS)
        for jump in (-1000 * HOUR, -HOUR, HOUR, 1000 * HOUR):
            later = Moment(boot=NOW.boot + 5, wall=NOW.wall + jump, boot_id=BOOT)
            assert rows_of(load(path, later)) == ROWS

    def test_a_clock_that_starts_in_the_past_counts_from_the_save(self, path: Path) -> None:
        """Where the date is before that of the file, no time is taken off: nobody knows how much it would be."""
        save(path, ROWS)
        after = Moment(boot=9_000, wall=0, boot_id=b"another boot it.")
        assert rows_of(load(path, after)) == [(i, k, 9_000 + d - NOW.boot, label) for i, k, d, label in ROWS]

    def test_an_unknown_boot_goes_by_the_date(self, path: Path) -> None:
        """Where the kernel doesn't tell which boot this is, the wall clock decides."""
        unknown = Moment(boot=NOW.boot, wall=NOW.wall)
        save(path, ROWS, unknown)
        found = load(path, Moment(boot=NOW.boot + 77, wall=NOW.wall + 60_000))
        assert found is not None
        assert list(found.deadlines) == [d + 77 - 60_000 for _, _, d, _ in ROWS]

    def test_what_is_over_is_left_out(self, path: Path) -> None:
        """Of two bans the one whose time has come stays away."""
        save(path, ROWS)
        after = Moment(boot=1, wall=NOW.wall + HOUR, boot_id=b"another boot it.")
        assert [i for i, *_ in rows_of(load(path, after)) or []] == [2]
