"""When the ledger goes to disk, and when the machine has slept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fwbouncer.core.book import Book
from fwbouncer.core.saving import APART, SOON, Saving
from fwbouncer.core.suspend import Suspend
from fwbouncer.daemon.saver import Saver
from fwbouncer.daemon.vigil import Vigil
from fwbouncer.host.alarm import Alarm
from fwbouncer.host.state_format import Moment, unpack
from tests.unit.core_naive import LABELS, page

if TYPE_CHECKING:
    from pathlib import Path

    from fwbouncer.core.model import Millis


class TestSaving:
    """The timetable of writes."""

    def test_the_first_change_is_written_within_seconds(self) -> None:
        """A new ban is on disk soon, and those that come meanwhile go with it."""
        saving = Saving()
        assert saving.look(1, 0, 1000) == 1000 + SOON
        assert saving.look(2, 0, 1900) == 1000 + SOON
        assert SOON < 5000

    def test_nothing_new_nothing_written(self) -> None:
        """Without a change there is no time for a write, ever."""
        saving = Saving()
        saving.wrote(7, 100, 0)
        assert saving.look(7, 0, 10**9) is None
        assert not saving.changed(7)

    def test_writes_are_far_apart(self) -> None:
        """However often something changes, writes keep their distance; after a quiet time one comes soon."""
        saving = Saving()
        saving.wrote(1, 0, 10_000)
        assert saving.look(2, 0, 10_100) == 10_000 + APART
        saving.wrote(2, 0, 10_000 + APART)
        assert saving.look(3, 0, 10**7) == 10**7 + SOON

    def test_large_files_are_written_less_often(self) -> None:
        """A file of 25 megabytes, rewritten all the time, is at most 100 kB a second."""
        saving = Saving()
        saving.wrote(1, 25_000_000, 0)
        due = saving.look(2, 0, 1)
        assert due is not None
        assert due >= 250_000

    def test_a_change_during_the_write_is_written_later(self) -> None:
        """What came after the columns were copied counts as unwritten."""
        saving = Saving()
        saving.wrote(1, 0, 0)
        assert saving.look(2, 0, 1) == APART

    def test_a_failed_write_is_tried_again_in_a_minute(self) -> None:
        """A full disk is not hammered, and not given up."""
        saving = Saving()
        saving.failed(1000)
        assert saving.look(1, 0, 1001) == 61_000


def _at(boot: Millis, wall: Millis) -> Moment:
    return Moment(boot=boot, wall=wall, boot_id=b"the boot it is..")


class TestSaver:
    """Who writes, with clocks that are set by hand."""

    def test_a_date_that_is_set_right_sets_the_file_right(self, tmp_path: Path) -> None:
        """What was written before the date was known is written again when it is, and not at every look."""
        path, clocks = tmp_path / "state", [_at(1_000, 5_000)]

        async def test() -> None:
            book = Book()
            saver = Saver(book, path, lambda: clocks[0])
            book.take(page([(1, b"\1\2\3\4", 10**7, LABELS[0])], startup=True), 1_000)
            for now, written in (
                (_at(9_000, 13_000), 13_000),
                (_at(50_000, 54_000), 13_000),  # nothing new
                (_at(60_000, 10**12), 10**12),  # the date is set
                (_at(99_000, 10**12 + 39_000), 10**12),  # nothing new
            ):
                clocks[0] = now
                saver.look()
                await saver.finish()
                assert unpack(path.read_bytes()).at.wall == written

        asyncio.run(test())


class TestSuspend:
    """Two clocks, of which one stands still in sleep."""

    def test_time_that_passes_is_no_sleep(self) -> None:
        """While both clocks go on together, or a little apart between two readings, nothing is noticed."""
        suspend = Suspend(1_000, 400)
        assert [suspend.slept(1_000 + t + t % 3, 400 + t) for t in range(0, 10**6, 997)] == [0] * 1004

    def test_a_sleep_is_noticed_once(self) -> None:
        """The growth of the distance is the sleep, and it is told once."""
        suspend = Suspend(1_000, 400)
        assert suspend.slept(3_601_000, 500) == 3_599_900
        assert suspend.slept(3_602_000, 1_500) == 0

    def test_many_short_sleeps_add_up(self) -> None:
        """Sleeps too short to count are not forgotten."""
        suspend = Suspend(0, 0)
        assert [suspend.slept(300 * n, 0) for n in range(5)] == [0, 0, 600, 0, 600]


class TestVigil:
    """Who looks at them."""

    def test_after_a_sleep_it_calls_once(self) -> None:
        """The alarm goes off, the clocks have parted, and what must be put right is."""
        reading, woken = [(0, 0)], []

        async def test() -> None:
            vigil = Vigil(lambda: woken.append(True), lambda: reading[0], every=0.01)
            task = asyncio.create_task(vigil.run())
            await asyncio.sleep(0.05)
            assert not woken
            reading[0] = (3_600_000, 10)
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(test())
        assert woken == [True]

    def test_the_alarm_is_quiet_between(self) -> None:
        """It becomes readable when it is due, and hearing it before that does no harm."""
        alarm = Alarm(3600)
        alarm.heard()
        alarm.close()
