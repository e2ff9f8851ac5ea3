"""The service of an installation that no package made: its unit, its group and a configuration to begin with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fwbouncer.errors import FwbouncerError
from fwbouncer.host import installed, units

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = "fwbouncer.service"
FOLDER = Path("/etc/fwbouncer")
UNIT = Path("/etc/systemd/system", OURS)
GROUP_FILE = Path("/etc/sysusers.d/fwbouncer.conf")
PACKAGED = (Path("/usr/lib/systemd/system", OURS), Path("/lib/systemd/system", OURS))
# What the unit hides from its service: ProtectHome= and PrivateTmp=.
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - nothing is made there


def install() -> Iterator[str]:
    """Write what is missing or old; yield what was done. Raises FwbouncerError where the service could not run."""
    if any(path.exists() for path in PACKAGED):
        raise FwbouncerError(f"a package has installed {OURS} already; nothing is to be done")
    program = _program()
    _check_visible(program)
    sysusers, sample, unit = (_needed(name) for name in ("fwbouncer.sysusers", "fwbouncer.yaml", OURS))
    if installed.put(GROUP_FILE, sysusers.read_text(encoding="utf-8"), 0o644):
        yield f"wrote {GROUP_FILE}"
    _run("systemd-sysusers", str(GROUP_FILE))
    FOLDER.mkdir(mode=0o750, exist_ok=True)
    _run("chgrp", installed.GROUP, str(FOLDER))
    config = FOLDER / "fwbouncer.yaml"
    if not config.exists():
        installed.put(config, sample.read_text(encoding="utf-8"))
        yield f"wrote {config}, with the defaults"
    if installed.put(UNIT, unit_text(unit.read_text(encoding="utf-8"), program), 0o644):
        yield f"wrote {UNIT}"
    if units.systemd_runs():
        units.reload_units()


def remove() -> Iterator[str]:
    """Stop the service and take its files away, but for the configuration; yield what was done."""
    if UNIT.exists() and units.systemd_runs():
        units.stop(OURS)
        units.disable(OURS)
        yield f"stopped {OURS}"
    for path in (UNIT, GROUP_FILE):
        if path.exists():
            path.unlink()
            yield f"removed {path}"
    if units.systemd_runs():
        units.reload_units()
    yield f"left {FOLDER} as it is"


def register() -> None:
    """Get a key from the LAPI on this host, if there is one and we have none; it says itself what it does."""
    script = installed.shipped("register")
    if script is not None:
        subprocess.run(("sh", str(script)), check=False)  # noqa: S603 - our own script


def unit_text(shipped: str, program: Path) -> str:
    """Return the unit for a program that stands elsewhere than a package's."""
    if re.search(r"[\s%$\\\"']", str(program)):
        raise FwbouncerError(
            f"{program}: systemd would not take this path as it is; install to another folder"
        )
    text = re.sub(r"(?m)^Documentation=.*\n", "", shipped)
    return re.sub(r"(?m)^ExecStart=fwbouncer ", lambda _: f"ExecStart={program} ", text)


def _program() -> Path:
    """Return the program that runs now, by the path under which it can be started."""
    program = Path(sys.prefix, "bin", "fwbouncer")
    if program.exists():
        return program
    started = Path(sys.argv[0]).absolute()
    if started.name == "fwbouncer" and started.exists():
        return started
    raise FwbouncerError(f"there is no {program}; install fwbouncer into a virtual environment")


def _check_visible(program: Path) -> None:
    """Refuse what the service, which is not root and has no home, could not run."""
    for path in (program, Path(sys.executable).resolve(), Path(__file__).resolve()):
        if any(path.is_relative_to(hidden) for hidden in _HIDDEN):
            raise FwbouncerError(
                f"the service can't see {path}; install to a folder such as /opt/fwbouncer, "
                "with a Python that is not in a home"
            )
    if (code := installed.as_nobody(str(program), "--version")) != 0:
        raise FwbouncerError(f"nobody but root can run {program} ({code}); make its folders readable for all")


def _needed(name: str) -> Path:
    path = installed.shipped(name)
    if path is None:
        raise FwbouncerError(f"{name} did not come along with this installation; install it anew")
    return path


def _run(*words: str) -> None:
    try:
        done = subprocess.run(words, capture_output=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 - no shell
    except OSError as error:
        raise FwbouncerError(
            f"{words[0]} can't be run: {error.strerror}; the service needs systemd"
        ) from None
    if done.returncode:
        raise FwbouncerError(f"`{' '.join(words)}`: {done.stderr.decode(errors='replace').strip()}")
