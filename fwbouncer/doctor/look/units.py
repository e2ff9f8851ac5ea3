"""systemd's view of our service and of those that meddle with a firewall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.doctor.facts import INCUMBENT_UNIT, OUR_UNIT, Units
from fwbouncer.doctor.look.program import CantLookError, output

if TYPE_CHECKING:
    from pathlib import Path

NAMES = (OUR_UNIT, INCUMBENT_UNIT, "crowdsec.service", "firewalld.service", "docker.service")
_PROPERTIES = (
    "Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "MainPID", "NRestarts", "Type",
    "FragmentPath", "DropInPaths", "NeedDaemonReload", "NotifyAccess", "FileDescriptorStoreMax",
    "NFileDescriptorStore", "Environment", "DynamicUser", "User", "Group", "CapabilityBoundingSet",
    "AmbientCapabilities", "RestrictAddressFamilies", "ExecStart", "Restart", "MemoryMax", "KillMode",
)  # fmt: skip


def look(root: Path) -> Units:
    """Ask systemd; raises CantLookError where it is not what runs this machine."""
    if not (root / "run/systemd/system").is_dir():
        raise CantLookError("systemd doesn't run this machine")
    words = output("systemctl", "--version").split()
    version = int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0
    return Units(
        version, parse(output("systemctl", "show", "--no-pager", "-p", ",".join(_PROPERTIES), *NAMES))
    )


def parse(text: str) -> dict[str, dict[str, str]]:
    """Read what `systemctl show` prints: a block of `key=value` lines for each unit, and an empty line between."""
    found = {}
    for block in text.split("\n\n"):
        unit = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        if "Id" in unit:
            found[unit["Id"]] = unit
    return found
