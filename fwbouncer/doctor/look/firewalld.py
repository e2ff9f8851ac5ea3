"""firewalld's configuration, which says what its reload does to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def look(root: Path) -> dict[str, str] | None:
    """Read firewalld.conf; None where firewalld is not installed."""
    try:
        text = (root / "etc/firewalld/firewalld.conf").read_text(errors="replace")
    except FileNotFoundError:
        return None
    pairs = (line.partition("=")[::2] for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs if key.strip()}
