"""The commands that mend things, written so that they can be copied into a root shell as they are."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from fwbouncer.doctor.facts import Facts

RESTART = "systemctl restart fwbouncer"
_DROP_INS = "/etc/systemd/system/fwbouncer.service.d"


def edit(path: Path, what: str) -> str:
    """Open a file; the comment says what to write."""
    return f'"${{EDITOR:-vi}}" {shlex.quote(str(path))}  # {what}'


def configure(facts: Facts, what: str) -> tuple[str, ...]:
    """Change our configuration, look it over, and have the daemon read it again."""
    path = facts.settings.path
    return (
        edit(path, what),
        f"fwbouncer check-config -c {shlex.quote(str(path))}",
        "systemctl reload fwbouncer",
    )


def drop_in(name: str, *settings: str) -> tuple[str, ...]:
    """Change our unit by a file beside it; the bans stay while it is restarted."""
    text = "\\n".join(("[Service]", *settings, ""))
    return (
        f"mkdir -p {_DROP_INS}",
        f"printf '{text}' >{_DROP_INS}/{name}.conf",
        "systemctl daemon-reload",
        RESTART,
    )


def quoted(path: Path | str) -> str:
    """Write a path or name as one word of the shell's."""
    return shlex.quote(str(path))
