"""The command `migrate`: takes over the settings, the key and the place of crowdsec-firewall-bouncer."""
# ruff: noqa: PLC0415, T201 - imports stand where they are needed, for speed; and commands print

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fwbouncer.commands.command import Command
from fwbouncer.commands.places import CONFIG, INCUMBENTS
from fwbouncer.errors import ConfigError, FwbouncerError
from fwbouncer.exits import FINE, clean

if TYPE_CHECKING:
    import argparse

    from fwbouncer.host.moving import Plan

THEIRS = "crowdsec-firewall-bouncer.service"
_MORE = """\
The new settings go to fwbouncer.yaml.local, beside the file that -c names, and the key to a file of its own.
A crowdsec-firewall-bouncer that runs is ended, in a way that leaves its bans in force, and disabled, as soon as
fwbouncer enforces them; if that fails it is started again."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="source",
        metavar="PATH",
        type=Path,
        default=INCUMBENTS,
        help=f"unless it is {INCUMBENTS}",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")


def _migrate(options: argparse.Namespace) -> int:
    from fwbouncer.host import moving, units

    source: Path = options.source
    target: Path = options.config or CONFIG
    if source.resolve() == target.resolve():
        raise ConfigError(f"--from: {source} is fwbouncer's own file; name crowdsec-firewall-bouncer's")
    running = units.environment_of(THEIRS) if units.systemd_runs() else None
    plan = moving.plan(source, target, os.environ if running is None else running)
    _tell(plan)
    if options.dry_run:
        print("nothing was done: --dry-run")
        return FINE
    if os.geteuid() != 0:
        raise FwbouncerError("taking over needs root: sudo fwbouncer migrate")
    for line in moving.write(plan):
        _say(line)
    for line in moving.change_places(plan, THEIRS):
        _say(line)
    return FINE


def _tell(plan: Plan) -> None:
    _say(f"from {plan.source}, with its overlay:")
    for name, value in plan.told:
        _say(f"  {name}: {value}")
    for note in plan.notes:
        _say(f"note: {note}")


def _say(line: str) -> None:
    print(clean(line), flush=True)


COMMAND = Command(
    "migrate",
    "Take over settings, key and place of crowdsec-firewall-bouncer.",
    _migrate,
    arguments=_arguments,
    more=_MORE,
)
