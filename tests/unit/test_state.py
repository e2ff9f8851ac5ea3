"""The state file: what is saved comes back, and whatever else lies in its place does no harm."""

from __future__ import annotations

import logging
import os
import struct
from array import array
from hashlib import blake2b
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwbouncer.core.ledger import Ledger
from fwbouncer.core.model import Label, Page
from fwbouncer.host import state, state_format
from fwbouncer.host.state_format import Moment, StateError
from tests.unit.core_naive import DURATIONS, HOUR, LABELS, keys, page, thorough

if TYPE_CHECKING:
    from pathlib import Path

    from fwbouncer.core.model import AddressKey, Millis

BOOT = b"the boot it was."
NOW = Moment(boot=5 * HOUR, wall=1_700_000_000_000, boot_id=BOOT)
ALL = frozenset({4, 5, 16, 17})
A, B = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 0, 24])
ROWS = [(1, A, NOW.boot + HOUR, LABELS[0]), (2, B, NOW.boot + 2 * HOUR, LABELS[2])]
HEAD = 64 + 32
_KEYS = keys().filter(lambda key: state.refusal(key) is None)


def _label(origin: str, scenario: str, kind: str) -> Label | None:
    return (
        Label(origin, scenario, kind, "CAPI" if origin == "CAPI" else "crowdsec") if kind == "ban" else None
    )


def _save(path: Path, rows: list[tuple[int, AddressKey, Millis, Label]], at: Moment = NOW) -> None:
    ledger = Ledger()
    ledger.absorb(page(rows), at.boot)
    state.save(path, ledger.columns(), at)


def _load(path: Path, now: Moment = NOW, lengths: frozenset[int] = ALL) -> Page | None:
    return state.load(path, lambda: now, lengths, _label)


def _rows(found: Page | None) -> list[tuple[int, AddressKey, Millis, Label]] | None:
    if found is None:
        return None
    return sorted(
        zip(found.ids, found.keys, found.deadlines, found.labels, strict=True), key=lambda row: row[0]
    )


def _signed(head: bytes, body: bytes) -> bytes:
    return head + blake2b(head + body, digest_size=32).digest() + body


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
            st.integers(-5, 50), _KEYS, DURATIONS.map(lambda d: NOW.boot + d), st.sampled_from(LABELS)
        )
        rows = data.draw(st.lists(row, max_size=20, unique_by=lambda row: row[0]), "rows")
        ledger.absorb(page(rows), NOW.boot)
        gone = data.draw(st.sets(st.integers(-5, 50)), "gone")
        ledger.drop(gone)
        state.save(path, ledger.columns(), NOW)
        expected = [
            (i, k, d, label) for i, k, d, label in sorted(rows, key=lambda row: row[0]) if i not in gone
        ]
        assert expected == (_rows(_load(path)) or [])

    def test_only_root_may_read_it(self, path: Path) -> None:
        """The file has mode 0600 whatever the umask, and nothing else is left in the folder."""
        before = os.umask(0)
        try:
            _save(path, ROWS)
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o7777 == 0o600
        assert [path] == list(path.parent.iterdir())

    def test_a_million_claims_are_small(self) -> None:
        """A claim on an IPv4 host takes 25 bytes."""
        count = 10_000
        columns = array("q", range(count)), [A] * count, array("q", [HOUR]) * count, [LABELS[0]] * count
        assert sum(map(len, state_format.pack(columns, NOW))) < 25 * count + 200

    def test_an_empty_ledger_is_no_trouble(self, path: Path) -> None:
        """A state without a ban is a state: it says that nobody was banned."""
        _save(path, [])
        assert _rows(_load(path)) == []

    def test_the_folder_is_made(self, path: Path) -> None:
        """Where the folder is missing, it is made, for us alone."""
        inner = path.parent / "fwbouncer" / "state"
        _save(inner, ROWS)
        assert inner.parent.stat().st_mode & 0o777 == 0o700
        with pytest.raises(OSError, match="No such file"):
            _save(path.parent / "a" / "b" / "state", ROWS)

    def test_a_link_in_its_place_is_replaced_not_followed(self, path: Path) -> None:
        """Writing never goes through a symbolic link, neither at the name nor at the one used meanwhile."""
        target = path.parent / "precious"
        target.write_text("precious")
        path.symlink_to(target)
        path.with_name("state.new").symlink_to(target)
        _save(path, ROWS)
        assert target.read_text() == "precious"
        assert not path.is_symlink()

    def test_a_failed_write_leaves_the_old_file(self, path: Path) -> None:
        """What can't be written whole is not written at all, and nothing half-made stays."""
        _save(path, ROWS)
        path.with_name("state.new").mkdir()
        with pytest.raises(OSError, match=r"state\.new"):
            _save(path, ROWS[:1])
        assert _rows(_load(path)) == ROWS


class TestClocks:
    """Deadlines from one boot to the next."""

    def test_across_a_boot_the_wall_clock_counts(self, path: Path) -> None:
        """A machine that was off for half an hour owes its bans half an hour less."""
        _save(path, ROWS)
        after = Moment(boot=9_000, wall=NOW.wall + HOUR // 2, boot_id=b"another boot it.")
        assert _rows(_load(path, after)) == [
            (i, k, 9_000 + d - NOW.boot - HOUR // 2, label) for i, k, d, label in ROWS
        ]

    def test_within_a_boot_the_date_does_not_matter(self, path: Path) -> None:
        """Without a boot in between, deadlines stay as they are, whatever somebody did to the date."""
        _save(path, ROWS)
        for jump in (-1000 * HOUR, -HOUR, HOUR, 1000 * HOUR):
            later = Moment(boot=NOW.boot + 5, wall=NOW.wall + jump, boot_id=BOOT)
            assert _rows(_load(path, later)) == ROWS

    def test_a_clock_that_starts_in_the_past_counts_from_the_save(self, path: Path) -> None:
        """Where the date is before that of the file, no time is taken off: nobody knows how much it would be."""
        _save(path, ROWS)
        after = Moment(boot=9_000, wall=0, boot_id=b"another boot it.")
        assert _rows(_load(path, after)) == [(i, k, 9_000 + d - NOW.boot, label) for i, k, d, label in ROWS]

    def test_an_unknown_boot_goes_by_the_date(self, path: Path) -> None:
        """Where the kernel doesn't tell which boot this is, the wall clock decides."""
        unknown = Moment(boot=NOW.boot, wall=NOW.wall)
        _save(path, ROWS, unknown)
        found = _load(path, Moment(boot=NOW.boot + 77, wall=NOW.wall + 60_000))
        assert found is not None
        assert list(found.deadlines) == [d + 77 - 60_000 for _, _, d, _ in ROWS]

    def test_what_is_over_is_left_out(self, path: Path) -> None:
        """Of two bans the one whose time has come stays away."""
        _save(path, ROWS)
        after = Moment(boot=1, wall=NOW.wall + HOUR, boot_id=b"another boot it.")
        assert [i for i, *_ in _rows(_load(path, after)) or []] == [2]


class TestRefused:
    """What is not used."""

    @pytest.fixture(autouse=True)
    def _caught(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING)

    def _set_aside(self, path: Path, caplog: pytest.LogCaptureFixture, words: str, now: Moment = NOW) -> None:
        assert _load(path, now) is None
        assert words in caplog.text
        assert len(caplog.records) == 1
        assert not os.path.lexists(path)
        assert os.path.lexists(path.with_name("state.bad"))

    def test_no_file_is_no_trouble(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Before the first save there is nothing to say."""
        assert _load(path) is None
        assert not caplog.records

    def test_all_over(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A file of which nothing is left is set aside."""
        _save(path, ROWS)
        later = Moment(boot=NOW.boot + 9 * HOUR, wall=NOW.wall, boot_id=BOOT)
        self._set_aside(path, caplog, "nothing in it is in force", later)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "it is empty"),
            (b"#!/bin/sh\nrm -rf /\n", "it is no state file"),
            (b"\0" * 4096, "it is no state file"),
            (b"fwbstate", "it breaks off"),
            (b"fwbstate" + struct.pack("<I", 2) + b"\0" * 200, "it has format 2"),
        ],
    )
    def test_foreign_and_future(
        self, path: Path, caplog: pytest.LogCaptureFixture, content: bytes, words: str
    ) -> None:
        """What is no state file, or one of a later fwbouncer, is set aside with a word about why."""
        path.write_bytes(content)
        self._set_aside(path, caplog, words)

    def test_corrupt_everywhere(self, path: Path) -> None:
        """One wrong bit, wherever it is, and one byte too few or too many: the file is set aside."""
        _save(path, ROWS)
        good = path.read_bytes()
        for at in range(len(good)):
            path.write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
            path.chmod(0o600)
            assert _load(path) is None, at
        for bad in (good[:-1], good + b"\0", good[: len(good) // 2]):
            path.write_bytes(bad)
            assert _load(path) is None

    def test_a_link(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A symbolic link is not followed; it is renamed itself, and what it points to stays."""
        _save(path.with_name("elsewhere"), ROWS)
        path.symlink_to(path.with_name("elsewhere"))
        self._set_aside(path, caplog, "symbolic link")
        assert path.with_name("elsewhere").is_file()

    def test_writable_by_others(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """What others may write is not believed."""
        _save(path, ROWS)
        path.chmod(0o620)
        self._set_aside(path, caplog, "others may write it")

    def test_of_another_owner(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """What belongs to another user is not believed."""
        _save(path, ROWS)
        os.chown(path, 12345, 0)
        self._set_aside(path, caplog, "belongs to user 12345")

    def test_too_large(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A file of a terabyte is not read."""
        path.touch(0o600)
        os.truncate(path, 2**40)
        self._set_aside(path, caplog, "larger than")

    def test_pipes_and_folders_stay_where_they_are(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What is no file is neither waited for nor moved."""
        os.mkfifo(path)
        assert _load(path) is None
        assert path.is_fifo()
        path.unlink()
        path.mkdir()
        assert _load(path) is None
        assert path.is_dir()
        assert len(caplog.records) == 2


class TestHostile:
    """A file whose checksum is right and whose contents are not."""

    @thorough
    @given(
        body=st.binary(max_size=300), counts=st.tuples(*[st.integers(0, 2**32 - 1)] * 2), small=st.booleans()
    )
    def test_any_body(self, body: bytes, counts: tuple[int, int], small: bool) -> None:
        """Whatever is behind a valid header is refused or read, within its own length."""
        claims, labels = (count % 8 if small else count for count in counts)
        head = struct.pack("<8sIIqq16sIIQ", b"fwbstate", 1, 4, 0, 0, BOOT, claims, labels, len(body))
        try:
            found = state_format.unpack(_signed(head, body))
        except StateError:
            return
        assert len(found.ids) == len(found.keys) == len(found.deadlines) == len(found.labels) == claims
        assert all(label < len(found.texts) for label in found.labels)

    @settings(thorough, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_mutation(self, path: Path, data: st.DataObject) -> None:
        """A good file with some bytes changed, signed again: nothing but sound claims comes out of it."""
        _save(path, ROWS)
        raw = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 6))):
            at = data.draw(st.sampled_from([*range(8, 64), *range(HEAD, len(raw))]))
            raw[at] = data.draw(st.integers(0, 255))
        path.write_bytes(_signed(bytes(raw[:64]), bytes(raw[HEAD:])))
        path.chmod(0o600)
        found = _load(path)
        if found is not None:
            for key, deadline in zip(found.keys, found.deadlines, strict=True):
                assert state.refusal(key) is None
                assert NOW.boot < deadline < 2**62
            Ledger().absorb(found, NOW.boot)

    @pytest.mark.parametrize(
        "key",
        [
            bytes([127, 0, 0, 1]),
            bytes(5),
            bytes(17),
            bytes([10, 0, 0, 0, 7]),
            bytes([10, 0, 0, 1, 8]),
            bytes([9, 0, 0, 0, 33]),
        ],
        ids=["loopback", "everything", "everything-6", "short", "host bits", "long"],
    )
    def test_no_address_that_a_lapi_could_not_ban(self, path: Path, key: bytes) -> None:
        """Loopback, everything and impossible networks are left out, and the rest goes in."""
        _save(path, [*ROWS, (3, key, NOW.boot + HOUR, LABELS[0])])
        assert _rows(_load(path)) == ROWS

    def test_what_the_configuration_no_longer_wants_is_left_out(self, path: Path) -> None:
        """Decisions of other types and of a family that is off stay away."""
        captcha = Label("crowdsec", "x", "captcha", "crowdsec")
        six = (4, bytes([32]) + bytes(15), NOW.boot + HOUR, LABELS[0])
        _save(path, [*ROWS, (3, A, NOW.boot + HOUR, captcha), six])
        assert _rows(_load(path, lengths=frozenset({4, 5}))) == ROWS

    def test_deadlines_beyond_reason(self, path: Path) -> None:
        """A deadline in ten thousand years is no decision's."""
        _save(path, [*ROWS, (3, A, 2**62, LABELS[0])])
        assert _rows(_load(path)) == ROWS
