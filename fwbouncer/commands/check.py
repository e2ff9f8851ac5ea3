"""The command `check-config`, and the flags -t and -T: read the configuration, and touch nothing."""
# ruff: noqa: PLC0415, T201 - imports stand where they are needed, for speed; and commands print

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from fwbouncer.commands.command import Command
from fwbouncer.commands.places import config_of
from fwbouncer.errors import ConfigError
from fwbouncer.exits import FINE, clean

if TYPE_CHECKING:
    import argparse


def _check(options: argparse.Namespace) -> int:
    from fwbouncer.config.load import draft

    found = draft(config_of(options), os.environ)
    for warning in found.warnings:
        print(f"warning: {clean(warning)}", file=sys.stderr)
    if found.problems:
        raise ConfigError(*found.problems)
    print("config is valid")
    return FINE


def test(options: argparse.Namespace) -> int:
    """Check the configuration like the incumbent's -t, in log lines."""
    from fwbouncer.commands import running

    return running.check(options)


def show(options: argparse.Namespace) -> int:
    """Show the configuration as it is merged, like the incumbent's -T, but without secrets."""
    from fwbouncer.config.show import merged

    text, problems = merged(config_of(options), os.environ)
    print("# The configuration as it is merged, variables put in. Secrets are hidden.")
    print(text, end="")
    if problems:
        sys.stdout.flush()
        raise ConfigError(*problems)
    return FINE


COMMAND = Command("check-config", "Check the configuration; touch nothing.", _check)
