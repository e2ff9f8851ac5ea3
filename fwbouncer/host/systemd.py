"""The service manager: says how we are, and keeps the netlink socket for us while we are gone."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import sdnotify

from fwbouncer.kernel.socket import NETLINK_NETFILTER, NetlinkSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FD_NAME = "fwbouncer-nft"
_FIRST_FD = 3
_GROUPS = Path("/proc/self/cgroup")
_OWNER_SINCE = (5, 12)  # the Linux that brought NFT_TABLE_F_OWNER


class Manager:
    """systemd, or nobody: without NOTIFY_SOCKET every call does nothing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._notifier = sdnotify.SystemdNotifier() if self._address else None

    @property
    def present(self) -> bool:
        """Whether somebody listens."""
        return self._notifier is not None

    @property
    def keeps_sockets(self) -> bool:
        """Whether a socket given to it outlives us.

        FDSTORE tells how many it takes. systemd sets it from 254 on, and our unit for those before: where nobody
        says so, a socket that was given away would be closed unseen.
        """
        return self.present and self._environ.get("FDSTORE", "0") not in ("", "0")

    @property
    def kept_one(self) -> bool:
        """Whether a socket was kept for us, and with it what stands in the kernel."""
        ours = self._environ.get("LISTEN_PID") == str(os.getpid())
        return ours and FD_NAME in self._environ.get("LISTEN_FDNAMES", "").split(":")

    def watchdog_interval(self) -> float | None:
        """Return how many seconds may pass between two pings, halved for safety; None for no watchdog."""
        microseconds = self._environ.get("WATCHDOG_USEC", "")
        ours = self._environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if not self.present or not ours or not microseconds.isascii() or not microseconds.isdigit():
            return None
        return int(microseconds) / 2_000_000 or None

    def say(self, *lines: str) -> None:
        """Send lines such as READY=1; a text in one is cut to one line."""
        if self._notifier is not None:
            self._notifier.notify("\n".join(line.replace("\n", " ") for line in lines))

    def restarting(self) -> bool:
        """Tell whether we are being stopped to be started again; False where the manager can't be asked."""
        return self.present and to_be_started()

    def keep(self, sock: NetlinkSocket) -> None:
        """Hand over a copy of the socket.

        FDPOLL=0 because the manager would close a socket on which an error is pending, and an overrun is one.
        """
        if not self.keeps_sockets:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = f"FDSTORE=1\nFDNAME={FD_NAME}\nFDPOLL=0".encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.connect(address)
            socket.send_fds(out, [message], [sock.fileno()])

    def forget(self) -> None:
        """Have the manager close what it keeps."""
        self.say("FDSTOREREMOVE=1", f"FDNAME={FD_NAME}")

    def kept(self) -> NetlinkSocket | None:
        """Return the socket that was kept for us, if there is one; others that came along are closed."""
        if self._environ.get("LISTEN_PID") != str(os.getpid()):
            return None
        count = self._environ.get("LISTEN_FDS", "0")
        names = self._environ.get("LISTEN_FDNAMES", "").split(":")
        found: NetlinkSocket | None = None
        for at in range(int(count) if count.isascii() and count.isdigit() else 0):
            raw = socket.socket(fileno=_FIRST_FD + at)
            os.set_inheritable(raw.fileno(), False)
            ours = names[at : at + 1] == [FD_NAME] and raw.family == socket.AF_NETLINK
            if ours and raw.proto == NETLINK_NETFILTER and found is None:
                found = NetlinkSocket(raw)
            else:
                raw.close()
        return found


def _printed(words: Sequence[str]) -> str:
    return subprocess.run(words, capture_output=True, text=True, timeout=3, check=False).stdout  # noqa: S603 - no shell


def to_be_started(ask: Callable[[Sequence[str]], str] = _printed, groups: Path = _GROUPS) -> bool:
    """Tell whether systemd is about to start the service that we run as; False where that can't be found out.

    It sends the same signal for a stop and a restart. Its queue of jobs tells them apart.
    """
    try:
        unit = _unit(groups.read_text(encoding="ascii", errors="replace"))
        jobs = ask(("systemctl", "list-jobs", "--no-legend", "--plain")) if unit else ""
    except (OSError, subprocess.SubprocessError):
        return False
    columns = [line.split() for line in jobs.splitlines()]
    return any(job[1:3] in ([unit, "restart"], [unit, "start"]) for job in columns)


def _unit(groups: str) -> str | None:
    """Return the name of the service that we run as: the last part of our control group's path."""
    names = (line.rsplit("/", 1)[-1] for line in groups.splitlines() if line.startswith("0::"))
    return next((name for name in names if name.endswith(".service")), None)


def kernel_can_own() -> bool:
    """Tell whether this kernel knows tables that belong to a socket."""
    parts = os.uname().release.split(".")[:2]
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in parts) >= _OWNER_SINCE
