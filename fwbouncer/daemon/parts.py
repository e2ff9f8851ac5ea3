"""The daemon's parts, as those see them who answer questions about the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwbouncer.config.schema import Config
    from fwbouncer.core.model import Millis
    from fwbouncer.daemon.cutter import Cutter
    from fwbouncer.daemon.guardian import Guardian
    from fwbouncer.daemon.keeper import Keeper
    from fwbouncer.daemon.poller import Poller
    from fwbouncer.daemon.saver import Saver
    from fwbouncer.daemon.scope import Scope


@dataclass(frozen=True, slots=True)
class Parts:
    """What there is now; a reload exchanges some of it."""

    config: Config
    keeper: Keeper
    poller: Poller
    saver: Saver
    guardian: Guardian
    scope: Scope
    cutter: Cutter
    owned: bool  # whether the tables belong to our socket
    since: Millis  # when the daemon was started
