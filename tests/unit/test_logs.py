"""What the log promises: one event is one line, in both formats, and no trouble with it stops the daemon."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import re
import stat
import tempfile
from typing import TYPE_CHECKING, TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.config.schema import Log
from fwbouncer.host import logs
from fwbouncer.host.logfile import LogFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logging.getLogger("fwbouncer.test")


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Put logging back as it was, since it belongs to the whole process."""
    root, ours = logging.getLogger(), logging.getLogger(logs.OURS)
    before = root.handlers[:], root.level, ours.level, logging.raiseExceptions
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, level, ours_level, logging.raiseExceptions = before
    root.setLevel(level)
    ours.setLevel(ours_level)


def lines(config: Log | None = None) -> io.StringIO:
    """Set the log up towards a text, and return that."""
    out = io.StringIO()
    logs.setup(config or Log(level=logs.TRACE), {}, out)
    return out


class TestText:
    """Lines as the incumbent's users search for them."""

    def test_looks_like_logrus(self) -> None:
        """A line has time, level and msg, with logrus' names and quotes."""
        out = lines()
        log.info("Starting crowdsec-firewall-bouncer")
        log.warning('a "quoted" word')
        first, second = out.getvalue().splitlines()
        zone = r"(Z|[+-]\d\d:\d\d)"
        time = rf'time="\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d{zone}"'
        assert re.fullmatch(time + ' level=info msg="Starting crowdsec-firewall-bouncer"', first)
        assert second.endswith(r'level=warning msg="a \"quoted\" word"')

    def test_levels_have_logrus_names(self) -> None:
        """All six levels have the names that the incumbent gives them."""
        out = lines()
        for level in (logs.TRACE, 10, 20, 30, 40, 50):
            log.log(level, "x")
        found = re.findall(r"level=(\w+)", out.getvalue())
        assert found == ["trace", "debug", "info", "warning", "error", "fatal"]

    def test_fields_follow(self) -> None:
        """An event's fields stand behind its words as key=value, quoted where they must be."""
        out = lines()
        log.info("banned", extra=logs.fields("ban", decision=12, name="a b", why=""))
        assert out.getvalue().endswith('msg="banned" event=ban decision=12 name_="a b" why=""\n')

    @given(st.text(), st.text())
    def test_one_event_is_one_line(self, text: str, value: str) -> None:
        """Whatever a message or a field holds, it can neither begin a line nor forge a key."""
        record = logging.makeLogRecord({"msg": text.replace("%", ""), "levelno": 20, "who": value})
        line = logs.TextLine(journal=True).format(record)
        assert line.isprintable()
        assert re.fullmatch(r'<6>level=info msg="(?:[^"\\]|\\.)*" who=(?:[^" =]+|"(?:[^"\\]|\\.)*")', line)

    def test_traceback_is_on_the_line(self) -> None:
        """A traceback, which only a mistake of ours can cause, doesn't break the line."""
        out = lines()
        try:
            _ = 1 // 0
        except ZeroDivisionError:
            log.exception("oh")
        assert len(out.getvalue().splitlines()) == 1
        assert "ZeroDivisionError" in out.getvalue()


class TestJson:
    """One object a line."""

    def test_keys(self) -> None:
        """Time, level, message, event and its fields are keys of one object."""
        out = lines(Log(json=True))
        log.error("a\nb", extra=logs.fields("ban", decision=12, level=3))
        made = json.loads(out.getvalue())
        time = made.pop("time")
        assert re.match(r"\d{4}-\d\d-\d\dT", time)
        assert made == {"level": "error", "msg": "a\nb", "event": "ban", "decision": 12, "fields.level": 3}

    @pytest.mark.parametrize("value", [float("nan"), b"\xff", object, {1, 2}, {(1,): 2}, "\ud800", "\u2028"])
    def test_any_value(self, value: object) -> None:
        """A value that JSON has no form for is written as text, and the line stays one line of JSON."""
        record = logging.makeLogRecord({"msg": "x", "levelno": 20, "value": value})
        line = logs.JsonLine(journal=True).format(record)
        assert line.isascii()
        assert line.isprintable()
        assert json.loads(line.removeprefix("<6>"))["msg"] == "x"


class TestDestinations:
    """Standard error, the journal, a file."""

    def test_level(self) -> None:
        """Less than the level isn't written, and libraries write warnings alone."""
        out = lines(Log(level=20))
        log.debug("no")
        logging.getLogger("httpx").info("no")
        logging.getLogger("httpx").warning("yes")
        assert out.getvalue().count("\n") == 1

    def test_setup_twice(self) -> None:
        """A second call, after a reload, replaces the first."""
        first, second = lines(), lines()
        log.info("x")
        assert (first.getvalue(), second.getvalue().count("\n")) == ("", 1)

    @pytest.mark.parametrize("json_lines", [True, False])
    def test_journal(self, json_lines: bool) -> None:
        """Where standard error is the journal, lines have its priority in front and no time of their own."""
        with tempfile.TemporaryFile("w+") as out:
            found = os.fstat(out.fileno())
            environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
            logs.setup(Log(json=json_lines), environ, out)
            log.error("x")
            out.seek(0)
            line = out.read()
        assert line == ('<3>{"level": "error", "msg": "x"}\n' if json_lines else '<3>level=error msg="x"\n')

    def test_not_the_journal(self, tmp_path: Path) -> None:
        """A redirected standard error is not taken for the journal that the variable names."""
        with (tmp_path / "out").open("w+") as out:
            logs.setup(Log(), {"JOURNAL_STREAM": "1:2"}, out)
            log.info("x")
        assert (tmp_path / "out").read_text().startswith("time=")

    def test_closed_standard_error(self) -> None:
        """A standard error that is gone stops nothing."""
        out = lines()
        out.close()
        log.error("x")

    def test_file(self, tmp_path: Path) -> None:
        """Lines go to the file, which is private; errors are seen on standard error too."""
        path = tmp_path / "x.log"
        out = lines(Log(file=path))
        log.info("one")
        log.error("two")
        assert [line.split("msg=")[1] for line in path.read_text().splitlines()] == ['"one"', '"two"']
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert out.getvalue().count("\n") == 1
        assert "two" in out.getvalue()

    def test_missing_directory(self, tmp_path: Path) -> None:
        """Without its directory the log goes to standard error, with one warning, until there is one."""
        path = tmp_path / "later" / "x.log"
        out = lines(Log(file=path))
        for word in ("one", "two"):
            log.info(word)
        log.error("three")
        assert re.findall('msg="(.*?)"', out.getvalue()) == [
            f"can't write to {path}: No such file or directory; the log goes on here",
            "one",
            "two",
            "three",
        ]
        path.parent.mkdir()
        log.info("four")
        assert "four" in path.read_text()

    def test_full_disk(self, tmp_path: Path) -> None:
        """A full disk loses no line and stops nothing."""
        path = tmp_path / "x.log"
        path.symlink_to("/dev/full")
        out = lines(Log(file=path))
        log.info("one")
        log.info("two")
        assert re.findall('msg="(.*?)"', out.getvalue())[1:] == ["one", "two"]
        assert out.getvalue().count("No space left") == 1


class TestOldFiles:
    """A new file when one is large; the old ones."""

    def handler(self, path: Path, **more: object) -> tuple[LogFile, TextIO]:
        """Make a handler whose files take 1 MB."""
        out = io.StringIO()
        console = logs.Console(out)
        console.setFormatter(logs.TextLine(journal=False))
        config = Log(file=path, max_size_mb=1, **more)  # type: ignore[arg-type]
        handler = LogFile(config, console)
        handler.setFormatter(logs.TextLine(journal=False))
        return handler, out

    def fill(self, handler: LogFile, rounds: int) -> None:
        """Write so much that `rounds` files are put aside, and wait until each is tidy."""
        for _ in range(rounds * 11 + 1):
            handler.emit(logging.makeLogRecord({"msg": "x" * 100_000, "levelno": 20}))
        handler.tidy()
        handler.close()

    def test_new_file_and_compression(self, tmp_path: Path) -> None:
        """A file of its size is put aside and compressed, privately, and no line is lost."""
        handler, _ = self.handler(tmp_path / "x.log", max_files=9)
        self.fill(handler, 2)
        packed = sorted(tmp_path.glob("x-*.log.gz"))
        assert len(packed) == 2
        assert {stat.S_IMODE(path.stat().st_mode) for path in packed} == {0o600}
        text = (tmp_path / "x.log").read_bytes() + b"".join(gzip.decompress(p.read_bytes()) for p in packed)
        assert text.count(b"\n") == 23
        assert len(list(tmp_path.iterdir())) == 3

    def test_count(self, tmp_path: Path) -> None:
        """Only so many old files are kept, the newest, and other programs' files are left alone."""
        (tmp_path / "y.log").write_text("theirs")
        (tmp_path / "x-notes.log").write_text("theirs")
        handler, _ = self.handler(tmp_path / "x.log", max_files=1, compress=False)
        self.fill(handler, 3)
        assert len(list(tmp_path.glob("x-2*.log"))) == 1
        assert (tmp_path / "y.log").exists()
        assert (tmp_path / "x-notes.log").exists()

    def test_age(self, tmp_path: Path) -> None:
        """Files older than their days are removed, compressed or not, and so is what a crash left."""
        for name in (
            "x-2026-01-01T00-00-00.1.log",
            "x-2026-01-01T00-00-00.2.log.gz",
            "x-2026-01-01T00-00-00.3.log.gz.part",
        ):
            (tmp_path / name).write_text("old")
            os.utime(tmp_path / name, (0, 0))
        (tmp_path / "x-2026-01-01T00-00-00.4.log").write_text("new")
        handler, _ = self.handler(tmp_path / "x.log")
        handler.tidy()
        assert [path.name for path in tmp_path.iterdir()] == ["x-2026-01-01T00-00-00.4.log.gz"]
