"""Runs programs that only read, for as long as a person waits."""

from __future__ import annotations

import os
import shutil
import subprocess

LIMIT = 4.0  # seconds for one program
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


class CantLookError(Exception):
    """Something can't be looked at; the text says why."""


def find(name: str) -> str | None:
    """Return a program's path; None where it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SBIN}")


def output(*words: str, limit: float = LIMIT, both: bool = False) -> str:
    """Return what a program prints, with `both` on standard error, too.

    Raises CantLookError where it isn't there, fails or doesn't end in time.
    """
    path = find(words[0])
    if path is None:
        raise CantLookError(f"{words[0]} is not installed")
    # Beside its own folder, a service's PATH may lack those for administrators.
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{_SBIN}", "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603 - no shell; the words are our own
            (path, *words[1:]), capture_output=True, text=True, check=False, errors="backslashreplace",
            stdin=subprocess.DEVNULL, timeout=limit, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CantLookError(f"{words[0]} doesn't end within {limit:g} s") from None
    except OSError as error:
        raise CantLookError(f"{words[0]}: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise CantLookError(f"{words[0]}: {said[0] if said else f'exit code {done.returncode}'}")
    return done.stdout + done.stderr if both else done.stdout
