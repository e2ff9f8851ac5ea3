"""Files: the service reads what it must, and nobody else what is secret."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from fwbouncer.doctor.checks.mending import quoted
from fwbouncer.doctor.facts import OUR_UNIT, File, Units, Unseen
from fwbouncer.doctor.finding import Finding, fine, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.doctor.facts import Facts

_READ_BY_SERVICE = ("config", "overlay", "key", "list")
_SECRET = ("config", "overlay", "key", "state")


def check(facts: Facts) -> Iterator[Finding]:
    """Tell which files are too open, or too closed."""
    if isinstance(facts.files, Unseen):
        return
    found = [finding for each in facts.files if not each.missing for finding in _judged(facts, each)]
    yield from found
    if not found:
        yield fine("files.modes", "nobody else reads or changes fwbouncer's files")


def _judged(facts: Facts, file: File) -> Iterator[Finding]:
    path = quoted(file.path)
    if file.mode & stat.S_IWOTH and file.role != "socket":
        yield problem(
            "files.writable",
            f"everybody may change {file.path} (mode {file.mode:04o})",
            "Whoever has an account here may ban and unban whom they like.",
            f"chmod o-w {path}",
        )
    if file.mode & stat.S_IROTH and file.role in _SECRET and _is_secret(facts, file):
        yield warning(
            "files.readable",
            f"everybody may read {file.path} (mode {file.mode:04o})",
            "It holds what others should not know, the API key for instance.",
            f"chmod o-rwx {path}",
        )
    if file.role == "socket" and file.mode & 0o077:
        yield problem(
            "files.socket",
            f"others than its owner may open {file.path} (mode {file.mode:04o})",
            "Only root and the service shall give the daemon commands.",
            f"chmod 0600 {path}",
        )
    yield from _closed(facts, file)


def _is_secret(facts: Facts, file: File) -> bool:
    if file.role != "config":
        return True
    lapi = facts.config.lapi if facts.config is not None else None
    return lapi is None or (lapi.key is not None and lapi.key_file is None)


def _closed(facts: Facts, file: File) -> Iterator[Finding]:
    """Tell where the service, which is not root, can't read a file."""
    if not isinstance(facts.units, Units) or facts.units.get(OUR_UNIT, "LoadState") != "loaded":
        return
    user, group = facts.units.get(OUR_UNIT, "User"), facts.units.get(OUR_UNIT, "Group")
    if facts.units.get(OUR_UNIT, "DynamicUser") != "yes" or file.role not in _READ_BY_SERVICE or not group:
        return
    by_group = file.group == group and file.mode & stat.S_IRGRP
    if not by_group and file.owner != user and not file.mode & stat.S_IROTH:
        path = quoted(file.path)
        yield problem(
            "files.unreadable",
            f"the service, which runs in group {group}, can't read {file.path} ({file.owner}:{file.group}, "
            f"mode {file.mode:04o})",
            "It doesn't start with it, or reload.",
            f"chgrp {quoted(group)} {path}",
            f"chmod 0640 {path}",
        )
