"""The commands of the command line, a file each; real objects are put together here, and nowhere else.

To add one: write its module with a COMMAND in it, and name it here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.commands import (
    check,
    demo,
    doctor,
    explain,
    install_service,
    migrate,
    run,
    status,
    teardown,
    top,
    unblock,
)
from fwbouncer.commands import list as list_

if TYPE_CHECKING:
    from fwbouncer.commands.command import Command

# In the order in which help lists them.
COMMANDS: tuple[Command, ...] = (
    run.COMMAND,
    check.COMMAND,
    status.COMMAND,
    explain.COMMAND,
    list_.COMMAND,
    top.COMMAND,
    unblock.COMMAND,
    doctor.COMMAND,
    teardown.COMMAND,
    migrate.COMMAND,
    install_service.COMMAND,
    demo.COMMAND,
)
