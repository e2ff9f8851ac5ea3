"""The state file: whatever else lies in its place does no harm."""

from __future__ import annotations

import logging
import os
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwbouncer.core.guard import refusal
from fwbouncer.core.ledger import Ledger
from fwbouncer.core.model import Label
from fwbouncer.host import state_format
from fwbouncer.host.state_format import Moment, StateError
from tests.unit.core_naive import HOUR, LABELS, thorough
from tests.unit.state_help import BOOT, HEAD, NOW, ROWS, A, load, rows_of, save, signed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file in a folder of its own."""
    return tmp_path / "state"


class TestRefused:
    """What is not used."""

    @pytest.fixture(autouse=True)
    def _caught(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING)

    def _set_aside(self, path: Path, caplog: pytest.LogCaptureFixture, words: str, now: Moment = NOW) -> None:
        assert load(path, now) is None
        assert words in caplog.text
        assert len(caplog.records) == 1
        assert not os.path.lexists(path)
        assert os.path.lexists(path.with_name("state.bad"))

    def test_no_file_is_no_trouble(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Before the first save there is nothing to say."""
        assert load(path) is None
        assert not caplog.records

    def test_all_over(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A file of which nothing is left is set aside."""
        save(path, ROWS)
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
        save(path, ROWS)
        good = path.read_bytes()
        for at in range(len(good)):
            path.write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
            path.chmod(0o600)
            assert load(path) is None, at
        for bad in (good[:-1], good + b"\0", good[: len(good) // 2]):
            path.write_bytes(bad)
            assert load(path) is None

    def test_a_link(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A symbolic link is not followed; it is renamed itself, and what it points to stays."""
        save(path.with_name("elsewhere"), ROWS)
        path.symlink_to(path.with_name("elsewhere"))
        self._set_aside(path, caplog, "symbolic link")
        assert path.with_name("elsewhere").is_file()

    def test_writable_by_others(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """What others may write is not believed."""
        save(path, ROWS)
        path.chmod(0o620)
        self._set_aside(path, caplog, "others may write it")

    def test_of_another_owner(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """What belongs to another user is not believed."""
        save(path, ROWS)
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
        assert load(path) is None
        assert path.is_fifo()
        path.unlink()
        path.mkdir()
        assert load(path) is None
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
            found = state_format.unpack(signed(head, body))
        except StateError:
            return
        assert len(found.ids) == len(found.keys) == len(found.deadlines) == len(found.labels) == claims
        assert all(label < len(found.texts) for label in found.labels)

    @settings(thorough, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_mutation(self, path: Path, data: st.DataObject) -> None:
        """A good file with some bytes changed, signed again: nothing but sound claims comes out of it."""
        save(path, ROWS)
        raw = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 6))):
            at = data.draw(st.sampled_from([*range(8, 64), *range(HEAD, len(raw))]))
            raw[at] = data.draw(st.integers(0, 255))
        path.write_bytes(signed(bytes(raw[:64]), bytes(raw[HEAD:])))
        path.chmod(0o600)
        found = load(path)
        if found is not None:
            for key, deadline in zip(found.keys, found.deadlines, strict=True):
                assert refusal(key) is None
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
        save(path, [*ROWS, (3, key, NOW.boot + HOUR, LABELS[0])])
        assert rows_of(load(path)) == ROWS

    def test_what_the_configuration_no_longer_wants_is_left_out(self, path: Path) -> None:
        """Decisions of other types and of a family that is off stay away."""
        captcha = Label("crowdsec", "x", "captcha", "crowdsec")
        six = (4, bytes([32]) + bytes(15), NOW.boot + HOUR, LABELS[0])
        save(path, [*ROWS, (3, A, NOW.boot + HOUR, captcha), six])
        assert rows_of(load(path, lengths=frozenset({4, 5}))) == ROWS

    def test_deadlines_beyond_reason(self, path: Path) -> None:
        """A deadline in ten thousand years is no decision's."""
        save(path, [*ROWS, (3, A, 2**62, LABELS[0])])
        assert rows_of(load(path)) == ROWS
