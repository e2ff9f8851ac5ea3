"""Files that the commands put on this host: whole or not at all, root's, and readable for the service's group."""

from __future__ import annotations

import grp
import os
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import suppress
from pathlib import Path

GROUP = "fwbouncer"
_NOBODY = 65534


def put(path: Path, text: str, mode: int = 0o640) -> bool:
    """Write a file, unless it holds just that already; return whether it was written."""
    data = text.encode()
    with suppress(OSError):
        if path.read_bytes() == data:
            return False
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchown(file.fileno(), 0 if os.geteuid() == 0 else -1, group() if mode == 0o640 else -1)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return True


def group() -> int:
    """Return the id of the group that the service reads its configuration as; -1, which is no change, for none."""
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return -1


def readable(path: Path) -> bool:
    """Tell whether the service can read a file: a user of its own, in the group; only root can find that out."""
    if os.geteuid() != 0 or group() < 0:
        return os.access(path, os.R_OK)
    return as_nobody("test", "-r", str(path), group=group()) == 0


def as_nobody(*words: str, group: int = _NOBODY) -> int:
    """Run a command as a user who may nothing, in one group; return its exit code."""
    done = subprocess.run(  # noqa: S603 - no shell
        words, user=_NOBODY, group=group, extra_groups=[], capture_output=True, check=False, cwd="/"
    )
    return done.returncode


def shipped(name: str) -> Path | None:
    """Find a file that came along: in a checkout, with a package, or with pip; None if it is in neither."""
    checkout = Path(__file__).parents[2]
    places = (
        checkout / "systemd",
        checkout / "packaging",
        Path(sys.prefix, "share", "fwbouncer"),
        Path(sysconfig.get_path("data"), "share", "fwbouncer"),
        Path("/usr/share/fwbouncer"),
    )
    return next((place / name for place in places if (place / name).is_file()), None)
