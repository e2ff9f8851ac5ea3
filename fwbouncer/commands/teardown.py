"""The command `teardown`: takes everything of ours out of the kernel, with the daemon or without one."""
# ruff: noqa: PLC0415, T201 - imports stand where they are needed, for speed; and commands print

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fwbouncer.commands.command import Command
from fwbouncer.commands.places import config_of, socket_of
from fwbouncer.exits import FINE, clean

if TYPE_CHECKING:
    import argparse


def _teardown(options: argparse.Namespace) -> int:
    from fwbouncer.control.client import NotRunning, ask

    try:
        answer = ask(socket_of(options), "teardown", timeout=60)
    except NotRunning:
        from fwbouncer.config.load import load
        from fwbouncer.daemon import teardown

        return teardown(load(config_of(options), os.environ))
    print(clean(str(answer.get("text", "the daemon has removed everything of its own from the kernel"))))
    return FINE


COMMAND = Command("teardown", "Remove everything of ours from the kernel.", _teardown, asks=True)
