"""The tasks that tie the rooms together; decides nothing itself."""

from __future__ import annotations

import asyncio
import os

from fwbouncer.config.schema import Config, Mode
from fwbouncer.daemon import assembly
from fwbouncer.daemon.service import FINE, Daemon, Reload
from fwbouncer.host.systemd import Manager


def run(config: Config, reload: Reload) -> int:
    """Run until told to stop; returns the exit code. Raises FwbouncerError where it can't begin."""
    return asyncio.run(Daemon(config, reload, Manager(os.environ)).run())


def teardown(config: Config) -> int:
    """Take out of the kernel what a daemon left that is gone now."""
    if config.mode is not Mode.DRY_RUN:
        backend = assembly.backend(config, assembly.Place(None, owned=False))
        backend.remove()
    return FINE
