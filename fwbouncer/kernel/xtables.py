"""One family's iptables programs: read a table, change it in one call, notice that it changed."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fwbouncer.core.model import Family
from fwbouncer.errors import ConfigError, KernelBusy, KernelError
from fwbouncer.kernel import iptables
from fwbouncer.kernel.xtables_mark import LegacyMark, NftMark

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fwbouncer.kernel.iptables import Table

log = logging.getLogger(__name__)

_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_ENVIRONMENT = {"PATH": _PATH, "LC_ALL": "C"}
_LOCK_WAIT = "5"  # seconds for /run/xtables.lock, which every iptables program of the legacy kind takes
_TIMEOUT = 30  # seconds for a program as a whole
_PROGRAM = {Family.V4: "iptables", Family.V6: "ip6tables"}
_RESOURCE_PROBLEM = 4  # the exit code for a lock that was not free, or a table that changed meanwhile


class Filter(Protocol):
    """One table of one family."""

    def mark(self) -> bytes:
        """Return something that changes when the rules change, and costs next to nothing."""

    def save(self) -> Table:
        """Read the table with its counters."""

    def restore(self, lines: Sequence[str]) -> None:
        """Carry out lines of iptables-restore, all or none."""

    def accepts(self, lines: Sequence[str]) -> str | None:
        """Try lines without effect; returns what iptables-restore says against them."""


def find(name: str) -> str:
    """Find a program where an administrator would; a service's PATH may lack the sbin folders."""
    path = shutil.which(name) or shutil.which(name, path=_PATH)
    if path is None:
        raise ConfigError(f"unable to find {name}: install iptables, or use `mode: nftables`")
    return path


class Xtables:
    """A table through iptables-save and iptables-restore.

    `variant` is "legacy" or "nft" to insist on one; otherwise it is what the system has under the plain name.
    """

    def __init__(
        self,
        family: Family,
        variant: str = "",
        which: Callable[[str], str] = find,
        table: str = iptables.FILTER,
    ) -> None:
        self.table = table
        self.family = family
        program = _PROGRAM[family] + (f"-{variant}" if variant else "")
        self._save = which(f"{program}-save")
        self._restore = which(f"{program}-restore")
        self.nft = "nf_tables" in self._run([self._restore, "--version"])
        self._mark = NftMark() if self.nft else LegacyMark(family, table)

    def mark(self) -> bytes:
        """Return something that changes when the rules change, and costs next to nothing."""
        return self._mark.read()

    def save(self) -> Table:
        """Read the table with its counters."""
        return iptables.parse(self._run([self._save, "-c", "-t", self.table]), self.table)

    def other(self, table: str) -> Table:
        """Read another table of this family."""
        return iptables.parse(self._run([self._save, "-t", table]), table)

    def restore(self, lines: Sequence[str]) -> None:
        """Carry out lines of iptables-restore, all or none."""
        for line in lines:
            log.debug("%s: %s", self._restore, line)
        command = [self._restore, "--noflush", "--counters", "-w", _LOCK_WAIT]
        self._run(command, iptables.restore_text(lines, self.table))

    def accepts(self, lines: Sequence[str]) -> str | None:
        """Try lines without effect; returns what iptables-restore says against them."""
        try:
            command = [self._restore, "--test", "--noflush", "-w", _LOCK_WAIT]
            self._run(command, iptables.restore_text(lines, self.table))
        except KernelError as error:
            return str(error)
        return None

    def close(self) -> None:
        """Let go of the kernel."""
        self._mark.close()

    @staticmethod
    def _run(command: list[str], text: str = "") -> str:
        try:
            done = subprocess.run(  # noqa: S603 - no shell; the words are our own
                command, input=text, capture_output=True, text=True, check=False,
                env=_ENVIRONMENT, timeout=_TIMEOUT, errors="backslashreplace",
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise KernelBusy(f"{command[0]} doesn't end") from error
        except OSError as error:
            raise KernelError(f"{command[0]}: {error.strerror}") from error
        if done.returncode == 0:
            return done.stdout
        said = " ".join(line for line in done.stderr.split("\n") if line and not line.startswith("# Warning"))
        kind = KernelBusy if done.returncode == _RESOURCE_PROBLEM else KernelError
        raise kind(f"{command[0]}: {said or f'exit code {done.returncode}'}")


def stands(xtables: Xtables, table: str) -> bool:
    """Tell whether a table that an earlier configuration may have used holds something of ours.

    Nothing is made by asking: a table that no rule was ever put into stays away.
    """
    if not xtables.nft:
        names = "ip_tables_names" if xtables.family is Family.V4 else "ip6_tables_names"
        try:
            known = Path("/proc/self/net", names).read_text().split()
        except OSError:
            return False
        if table not in known:
            return False
    return any(map(iptables.is_ours, xtables.other(table)))
