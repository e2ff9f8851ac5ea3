"""The bytes of a state file, made in one go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.host.state_format import Packer

if TYPE_CHECKING:
    from fwbouncer.core.claims import Columns
    from fwbouncer.host.state_format import Moment


def packed(columns: Columns, at: Moment) -> list[bytes]:
    """Return the bytes of a file that holds these claims, in parts."""
    packer = Packer()
    packer.add(columns)
    return packer.finish(at)
