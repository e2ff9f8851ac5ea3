"""What `run` does: reads the configuration, says what is wrong with it, and becomes the daemon."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from fwbouncer import __version__
from fwbouncer.commands.places import config_of
from fwbouncer.config.load import Draft, draft, load
from fwbouncer.config.schema import Config, Log, Mode
from fwbouncer.errors import ConfigError, FwbouncerError
from fwbouncer.exits import FAILED, FINE, WRONG, code_of, words_of
from fwbouncer.host import logs

if TYPE_CHECKING:
    import argparse

_log = logging.getLogger("fwbouncer")


def run(options: argparse.Namespace) -> int:
    """Run the daemon until it ends."""
    found = _drafted(options)
    if found is None:
        return _wrong()
    logs.setup(_level(options, found.log), os.environ)
    _announce(found)
    if not _judged(found) or found.config is None:
        return _wrong()
    from fwbouncer.daemon import run as serve  # noqa: PLC0415 - mistakes are told without it

    try:
        return serve(_verbose(options, found.config), lambda: _reload(options))
    except (FwbouncerError, OSError) as error:
        first, *rest = words_of(error)
        _log.critical("process terminated with error: %s", first)
        for line in rest:
            _log.critical("%s", line)
        return code_of(error)


def _wrong() -> int:
    """Return the exit code for a configuration that can't be run.

    WRONG makes systemd give up, and let go of the tables. Where bans stand from before, that would open the host.
    """
    from fwbouncer.host.systemd import Manager  # noqa: PLC0415 - few need it

    if not Manager(os.environ).kept_one:
        return WRONG
    _log.critical("the bans in the kernel stay as they are until the configuration is mended")
    return FAILED


def check(options: argparse.Namespace) -> int:
    """Check the configuration like the incumbent's -t, in log lines; but on standard error alone."""
    found = _drafted(options)
    logs.setup(_level(options, Log()), os.environ)
    if found is None or not _judged(found):
        return WRONG
    if found.config is not None and found.config.james_conf is not None:
        from fwbouncer.host.james import glance  # noqa: PLC0415 - few need it

        for warning in glance(found.config)[1]:
            _log.warning("%s", warning)
    _log.info("config is valid")
    return FINE


def _drafted(options: argparse.Namespace) -> Draft | None:
    """Read the configuration; when it can't be read, log that and return None."""
    try:
        return draft(config_of(options), os.environ)
    except ConfigError as error:
        logs.setup(Log(), os.environ)
        for problem in error.problems:
            _log.critical("%s", problem)
        return None


def _judged(found: Draft) -> bool:
    """Log what is wrong and what is better mended; tell whether nothing is wrong."""
    for warning in found.warnings:
        _log.warning("%s", warning)
    for problem in found.problems:
        _log.critical("%s", problem)
    return not found.problems


def _announce(found: Draft) -> None:
    """Say what is begun, in the lines and the order that the incumbent's users wait for."""
    _log.info("Starting crowdsec-firewall-bouncer (fwbouncer %s)", __version__)
    if found.mode is None:
        return
    _log.info("backend type: %s", found.mode.value)
    if found.mode in (Mode.IPTABLES, Mode.IPSET) and found.action is not None:
        _log.info("using '%s' as deny_action", found.action.value)
    if found.mode is Mode.DRY_RUN:
        _log.info("backend.Init() called")


def _reload(options: argparse.Namespace) -> Config:
    """Read the configuration again, for a daemon that was told to."""
    config = _verbose(options, load(config_of(options), os.environ))
    for warning in config.warnings:
        _log.warning("%s", warning)
    return config


def _verbose(options: argparse.Namespace, config: Config) -> Config:
    return replace(config, log=_level(options, config.log))


def _level(options: argparse.Namespace, log: Log) -> Log:
    return replace(log, level=min(log.level, 10)) if options.verbose else log
