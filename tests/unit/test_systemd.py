"""What systemd's queue of jobs says about our end: over, or only to begin again."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from fwbouncer.host.systemd import Manager, to_be_started

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

OURS = "0::/system.slice/fwbouncer.service\n"
# As `systemctl list-jobs --no-legend --plain` of systemd 252 writes them: number, unit, what is done, how far it is.
RESTART = "3178 fwbouncer.service restart running\n"
STOP = "3178 fwbouncer.service stop running\n"


def restarting(folder: Path, jobs: str | Exception, groups: str = OURS) -> bool:
    """Ask a manager that has these jobs, as a process of these control groups."""

    def ask(words: Sequence[str]) -> str:
        assert words[:2] == ("systemctl", "list-jobs")
        if isinstance(jobs, Exception):
            raise jobs
        return jobs

    path = folder / "cgroup"
    path.write_text(groups)
    return to_be_started(ask, path)


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        (RESTART, True),
        (STOP, False),
        ("", False),
        ("12 other.service restart running\n" + RESTART, True),
        ("12 other.service restart running\n" + STOP, False),
        ("12 fwbouncer.service.d restart running\n13 a-fwbouncer.service restart waiting\n", False),
        (STOP + "3179 fwbouncer.service start waiting\n", True),
        ("9 poweroff.target start waiting\n" + STOP, False),
        ("No jobs running.\n", False),
        ("\n  \nrestart\n", False),
    ],
)
def test_the_queue_tells_a_restart_from_a_stop(tmp_path: Path, jobs: str, expected: bool) -> None:
    """Only a job that starts our own unit again keeps the bans; anything else is a stop."""
    assert restarting(tmp_path, jobs) is expected


@pytest.mark.parametrize(
    "failure",
    [FileNotFoundError("systemctl"), PermissionError(), subprocess.TimeoutExpired("systemctl", 3)],
)
def test_a_manager_that_does_not_answer_means_a_stop(tmp_path: Path, failure: Exception) -> None:
    """Where systemctl is missing, forbidden or hangs, a stop is a stop."""
    assert restarting(tmp_path, failure) is False


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("0::/system.slice/system-fwbouncer.slice/fwbouncer.service\n", True),
        ("12:cpu:/system.slice/other.service\n1:name=systemd:/other.service\n" + OURS, True),
        ("0::/system.slice/other.service\n", False),
        ("0::/user.slice/user-0.slice/session-1.scope\n", False),
        ("0::/\n", False),
        ("", False),
    ],
)
def test_our_unit_is_the_one_that_the_kernel_names(tmp_path: Path, groups: str, expected: bool) -> None:
    """The unit is the last part of our control group's path, whatever slices it is in."""
    assert restarting(tmp_path, RESTART, groups) is expected


def test_without_a_manager_nobody_is_asked() -> None:
    """A foreground run or a container's first process stops for good."""
    assert Manager({}).restarting() is False


def test_the_kernel_need_not_tell(tmp_path: Path) -> None:
    """Where the control group can't be read, as without /proc, a stop is a stop."""
    assert to_be_started(lambda _: RESTART, tmp_path / "missing") is False
