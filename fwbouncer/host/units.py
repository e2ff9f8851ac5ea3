"""Other services of this host, through systemctl: for the commands that install or replace, never for the daemon."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fwbouncer.errors import FwbouncerError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BOOTED = Path("/run/systemd/system")  # systemd's own sign that it runs this host
_PROGRAM = "systemctl"
_PATIENCE = 120  # seconds for one call; a start waits until the service is ready


def systemd_runs() -> bool:
    """Tell whether this host was booted with systemd."""
    return _BOOTED.is_dir()


def known(unit: str) -> bool:
    """Tell whether systemd has a unit of this name."""
    return _property(unit, "LoadState") == "loaded"


def active(unit: str) -> bool:
    """Tell whether a service runs, or is being started over and over."""
    return _property(unit, "ActiveState") in ("active", "activating", "reloading")


def enabled(unit: str) -> bool:
    """Tell whether a service starts at boot."""
    return _property(unit, "UnitFileState") in ("enabled", "enabled-runtime")


def environment_of(unit: str) -> dict[str, str] | None:
    """Return the variables that a running service was started with; None if it doesn't run."""
    pid = _property(unit, "MainPID")
    if pid in ("", "0"):
        return None
    try:
        raw = Path("/proc", pid, "environ").read_bytes()
    except OSError:
        return None
    pairs = (part.partition(b"=") for part in raw.split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, sign, value in pairs if sign}


def reload_units() -> None:
    """Have systemd read its unit files again."""
    _call("daemon-reload")


def start(unit: str) -> None:
    """Start a service, or start it anew; raises FwbouncerError if it doesn't get ready."""
    _call("restart", unit)


def stop(unit: str) -> None:
    """Stop a service."""
    _call("stop", unit)


def enable(unit: str) -> None:
    """Have a service start at boot."""
    _call("enable", "--quiet", unit)


def disable(unit: str) -> None:
    """Have a service not start at boot."""
    _call("disable", "--quiet", unit)


def last_words(unit: str) -> list[str]:
    """Return the end of what a service has said."""
    words = ("journalctl", "--no-pager", "--quiet", "-o", "cat", "-n", "5", "-u", unit)
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(words, capture_output=True, timeout=20, check=False)  # noqa: S603 - no shell
        return done.stdout.decode(errors="replace").splitlines()
    return []


@contextmanager
def killed_when_stopped(unit: str) -> Iterator[None]:
    """Let a stop of the service inside the block be a SIGKILL, which gives it no chance to clean up behind itself."""
    folder = Path("/run/systemd/system", f"{unit}.d")
    drop_in = folder / "fwbouncer-migrate.conf"
    folder.mkdir(parents=True, exist_ok=True)
    drop_in.write_text("[Service]\nKillSignal=SIGKILL\nExecStop=\nExecStopPost=\n", encoding="ascii")
    reload_units()
    try:
        yield
    finally:
        drop_in.unlink(missing_ok=True)
        with suppress(OSError):  # others' drop-ins may be in it
            folder.rmdir()
        reload_units()


def _property(unit: str, name: str) -> str:
    try:
        return _call("show", "-P", name, unit).strip()
    except FwbouncerError:
        return ""


def _call(*words: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            (_PROGRAM, *words), capture_output=True, timeout=_PATIENCE, check=False, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise FwbouncerError(f"{_PROGRAM} can't be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise FwbouncerError(f"`{_PROGRAM} {' '.join(words)}` took longer than {_PATIENCE} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise FwbouncerError(f"`{_PROGRAM} {' '.join(words)}`: {said}")
    return done.stdout.decode(errors="replace")
