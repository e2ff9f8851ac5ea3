"""Become a program that finds the given descriptors where systemd would put them: at 3 and up, with names.

launch.py FD,FD,… NAME:NAME:… PROGRAM ARGUMENT…
"""

from __future__ import annotations

import fcntl
import os
import sys


def main() -> None:
    """Move the descriptors, set LISTEN_*, and become the program; the pid stays."""
    numbers = [int(word) for word in sys.argv[1].split(",")]
    # Out of the way first, so that no move overwrites one that is still to be moved.
    parked = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 100) for number in numbers]
    for target, number in enumerate(parked, start=3):
        os.dup2(number, target, inheritable=True)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(numbers)), LISTEN_FDNAMES=sys.argv[2])
    os.execvp(sys.argv[3], sys.argv[3:])


main()
