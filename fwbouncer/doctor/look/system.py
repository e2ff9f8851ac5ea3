"""The kernel, and what it was built with."""

from __future__ import annotations

import gzip
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from fwbouncer.doctor.facts import System
from fwbouncer.doctor.look.program import CantLookError, output

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_WANTED = ("CONFIG_INET_DIAG_DESTROY", "CONFIG_NF_TABLES", "CONFIG_NF_CONNTRACK", "CONFIG_IP_SET")
_CONNTRACK = "proc/sys/net/netfilter/nf_conntrack_"


def look(root: Path, environ: Mapping[str, str]) -> System:
    """Read the kernel's release, options and limits."""
    release = os.uname().release
    return System(
        release=release,
        options=_options(root, release),
        nft=_nft(),
        conntrack=_conntrack(root),
        ssh_client=environ.get("SSH_CONNECTION", "").partition(" ")[0],
        containers=any(
            (root / "sys/class/net" / bridge).exists() for bridge in ("docker0", "docker_gwbridge")
        ),
    )


def _options(root: Path, release: str) -> dict[str, str]:
    text = ""
    with suppress(OSError, EOFError):
        text = (root / f"boot/config-{release}").read_text(errors="replace")
    if not text:
        with suppress(OSError, EOFError), gzip.open(root / "proc/config.gz", "rt", errors="replace") as file:
            text = file.read(1 << 20)
    pairs = (line.partition("=")[::2] for line in text.splitlines())
    found = {name: value for name, value in pairs if name in _WANTED}
    return found if not text else {name: found.get(name, "n") for name in _WANTED}


def _nft() -> str:
    """Return nft's version: `nftables v1.0.6 (Lester Gooch #5)`."""
    with suppress(CantLookError):
        words = output("nft", "--version").split()
        return words[1].removeprefix("v") if len(words) > 1 else ""
    return ""


def _conntrack(root: Path) -> tuple[int, int] | None:
    try:
        count, most = (int((root / (_CONNTRACK + name)).read_text()) for name in ("count", "max"))
    except (OSError, ValueError):
        return None
    return count, most
