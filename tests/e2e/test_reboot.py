"""Across a boot: the bans of the last run are in force before the LAPI answers, whatever became of their file."""

from __future__ import annotations

import contextlib
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest

from fwbouncer.host.state_format import Moment, unpack
from tests.lab import witness
from tests.lab.shell import run
from tests.lab.state import packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.bouncer import Bouncer
    from tests.lab.net import Network
    from tests.lab.packets import Probe

HOST, IN_RANGE, SIX = "198.18.1.1", "198.18.7.7", "2001:db8:ba0::1"
LATER = "198.18.1.2"


@pytest.fixture
def running(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> Bouncer:
    """Run a bouncer with three bans, all of them on disk."""
    fake_lapi.ban(HOST)
    fake_lapi.ban("198.18.4.0/22", origin="lists", scenario="firehol")
    fake_lapi.ban("2001:db8:ba0::/64", origin="CAPI")
    made = bouncer(api_url=fake_lapi.url)
    made.start()
    made.stop()
    assert state(made).exists()
    made.start()
    return made


def state(running: Bouncer) -> Path:
    """Return where a bouncer keeps its bans."""
    return running.config.with_name("state")


def wait(condition: Callable[[], Any], within: float = 5) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"waited {within} s in vain"
        time.sleep(0.02)


def reboot(running: Bouncer, *, off: int = 0) -> None:
    """Lose the process and all that is in the kernel; let the file come from another boot, `off` seconds ago."""
    running.kill()
    running.host.run("nft", "flush", "ruleset")
    path = state(running)
    saved = unpack(path.read_bytes())
    labels: list[Any] = [_Texts(*saved.texts[number]) for number in saved.labels]
    earlier = Moment(boot=0, wall=saved.at.wall - 1000 * off, boot_id=b"the boot before.")
    deadlines = saved.deadlines[:]
    for row in range(len(deadlines)):
        deadlines[row] -= saved.at.boot
    path.write_bytes(b"".join(packed((saved.ids, saved.keys, deadlines, labels), earlier)))


class _Texts:
    """What a label has in the file."""

    def __init__(self, origin: str, scenario: str, kind: str) -> None:
        self.origin, self.scenario, self.type = origin, scenario, kind


def test_a_reboot_before_the_lapi_is_up(running: Bouncer, fake_lapi: FakeLapi, probe: Probe) -> None:
    """With an empty kernel and no LAPI, READY means that the bans of the last run are in force."""
    fake_lapi.stop()
    reboot(running, off=600)
    assert probe.passes(HOST)
    running.start()
    assert probe.arriving([HOST, IN_RANGE, SIX]) == set()
    left = witness.elements(running.host, 4)[HOST]
    assert 4 * 3600 - 660 < left <= 4 * 3600 - 600
    status = running.status()
    assert status["decisions"]["total"] == 3
    assert "LAPI has not answered since the start" in status["warnings"][0]
    assert status["lapi"]["failing_since"] > 0
    fake_lapi.ban(LATER)
    fake_lapi.unban(HOST)
    with running.host.inside():
        fake_lapi.start()
    probe.wait_until(LATER, passes=False, within=5)
    probe.wait_until(HOST, passes=True, within=2)
    assert probe.arriving([IN_RANGE, SIX]) == set()
    assert running.status()["warnings"] == []


def test_a_stop_keeps_what_came_last(running: Bouncer, fake_lapi: FakeLapi, probe: Probe) -> None:
    """A ban of the last second is in force at the next start, also while the LAPI is away."""
    fake_lapi.ban(LATER)
    probe.wait_until(LATER, passes=False, within=2)
    assert running.stop() == 0
    assert probe.passes(LATER)
    fake_lapi.stop()
    running.start()
    assert probe.arriving([HOST, LATER]) == set()


def test_a_file_older_than_the_kernel(running: Bouncer, fake_lapi: FakeLapi, probe: Probe) -> None:
    """A ban that is only in the kernel outlives the crash without a gap, until the LAPI says that it is over."""
    older = shutil.copy(state(running), running.config.with_name("older"))
    fake_lapi.ban(LATER)
    fake_lapi.ban("198.18.16.0/20")
    probe.wait_until("198.18.17.1", passes=False, within=2)
    fake_lapi.stop()
    with probe.stream(LATER) as stream, probe.stream("198.18.17.1") as other:
        running.kill()
        shutil.copy(older, state(running))
        running.start()
        time.sleep(0.5)
    assert stream.arrived() == other.arrived() == 0
    assert probe.arriving([HOST, IN_RANGE]) == set()
    fake_lapi.unban(LATER)
    with running.host.inside():
        fake_lapi.start()
    probe.wait_until(LATER, passes=True, within=5)
    assert probe.arriving([HOST, IN_RANGE, "198.18.17.1"]) == set()


def test_a_key_refused_after_a_reboot(running: Bouncer, fake_lapi: FakeLapi, probe: Probe) -> None:
    """Where the LAPI refuses the key at the start, the bans of the last run are in the kernel all the same."""
    fake_lapi.keys = {"another"}
    reboot(running)
    running.start(ready=False)
    assert running.wait_exit() == 3
    assert probe.arriving([HOST, IN_RANGE, SIX]) == set()


def _flip_a_bit(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")


def _make_a_link(path: Path) -> None:
    there = path.with_name("there")
    path.rename(there)
    path.symlink_to(there)


BAD: dict[str, Callable[[Path], None]] = {"a wrong bit": _flip_a_bit, "a link": _make_a_link}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_used(running: Bouncer, probe: Probe, name: str) -> None:
    """It is set aside with a warning, and the start goes on without it; a new one is there within seconds."""
    reboot(running)
    BAD[name](state(running))
    running.start()
    assert probe.arriving([HOST, IN_RANGE, SIX]) == set()
    assert running.log.count("is not used:") == 1
    assert running.config.with_name("state.bad").is_symlink() == (name == "a link")
    wait(lambda: state(running).is_file() and not state(running).is_symlink())
    assert state(running).stat().st_mode & 0o7777 == 0o600


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk))
    try:
        yield disk
    finally:
        run("umount", "--lazy", str(disk))


def test_a_full_disk(bouncer: MakeBouncer, fake_lapi: FakeLapi, probe: Probe, small_disk: Path) -> None:
    """Without room for the file everything goes on, with one warning; with room again it is written."""
    fill = small_disk / "fill"
    with fill.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    fake_lapi.ban(HOST)
    running = bouncer(api_url=fake_lapi.url, state_file=str(small_disk / "state"))
    running.start()
    running.wait_log("can't be kept")
    fake_lapi.ban(LATER)
    probe.wait_until(LATER, passes=False, within=2)
    assert probe.arriving([HOST]) == set()
    assert "No space left on device" in running.status()["warnings"][0]
    assert running.log.count("can't be kept") == 1
    assert {path.name for path in small_disk.iterdir()} == {"fill"}
    fill.unlink()
    running.stop()
    fake_lapi.stop()
    running.start()
    assert probe.arriving([HOST, LATER]) == set()


@pytest.mark.parametrize("where", ["{}/nowhere/of/all/state", "/proc/fwbouncer/state"])
def test_a_folder_that_cannot_be_had(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, probe: Probe, tmp_path: Path, where: str
) -> None:
    """A missing or read-only folder costs a warning and nothing else; a path that may be a mistake is not made."""
    fake_lapi.ban(HOST)
    running = bouncer(api_url=fake_lapi.url, state_file=where.format(tmp_path))
    running.start()
    running.wait_log("can't be kept")
    assert probe.arriving([HOST]) == set()
    assert running.stop() == 0
    assert not (tmp_path / "nowhere").exists()


def test_while_nothing_is_known_nothing_is_kept(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> None:
    """A start without a file and without the LAPI writes none: it would say that nobody is banned."""
    fake_lapi.stop()
    running = bouncer(api_url=fake_lapi.url)
    running.start(ready=False)
    time.sleep(2.5)
    running.stop()
    assert not state(running).exists()


def test_who_does_not_keep(bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network) -> None:
    """A dry run writes no file, a check of the configuration touches none, and `none` switches it off."""
    fake_lapi.ban(HOST)
    dry = bouncer(api_url=fake_lapi.url, mode="dry-run")
    dry.start()
    time.sleep(2)
    dry.stop()
    assert not state(dry).exists()
    state(dry).write_text("not a state file")
    assert dry.attempt("check-config")[0] == 0
    assert state(dry).read_text() == "not a state file"
    off = bouncer(api_url=fake_lapi.url, state_file="none")
    off.start()
    off.stop()
    assert not state(off).exists()
