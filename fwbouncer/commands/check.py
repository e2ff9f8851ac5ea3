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

    from fwbouncer.config.schema import Config


def _check(options: argparse.Namespace) -> int:
    from fwbouncer.config.load import draft

    found = draft(config_of(options), os.environ)
    for warning in found.warnings:
        print(f"warning: {clean(warning)}", file=sys.stderr)
    if found.problems or found.config is None:
        raise ConfigError(*found.problems)
    _tell_ports(found.config)
    print("config is valid")
    return FINE


def _tell_ports(config: Config) -> None:
    """Say what bans would close, where that isn't simply everything."""
    from fwbouncer.core.ports import words
    from fwbouncer.host.james import glance

    policies, warnings = glance(config)
    for warning in warnings:
        print(f"warning: {clean(warning)}", file=sys.stderr)
    if policies.named or policies.default.ports is not None:
        for policy in policies:
            closes = "lets pass" if policy.passes else f"closes {words(policy.ports)}"
            print(f"policy {policy.name or 'default'}: {closes}")


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
