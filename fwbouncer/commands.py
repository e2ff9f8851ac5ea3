"""The commands: real objects are put together here, and nowhere else.

Each takes the parsed arguments and returns an exit code. The daemon is imported only by who runs it, because
it brings asyncio, httpx and pyroute2 along, and a command is to answer at once.
"""
# ruff: noqa: PLC0415, T201 - imports stand where they are needed, as said above; and commands print

from __future__ import annotations

import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fwbouncer import __version__
from fwbouncer.config.load import Draft, draft, load
from fwbouncer.config.schema import Config, Log, Mode
from fwbouncer.control.client import NotRunning, ask
from fwbouncer.errors import ConfigError, FwbouncerError
from fwbouncer.exits import FAILED, FINE, WRONG, clean, code_of, words_of
from fwbouncer.host import logs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_log = logging.getLogger("fwbouncer")
_CONFIG = Path("/etc/fwbouncer/fwbouncer.yaml")
_INCUMBENTS = Path("/etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml")
_SOCKET = Path("/run/fwbouncer/control.sock")
_DEMOS = (Path(__file__).parents[1] / "packaging" / "demo", Path("/usr/share/fwbouncer/demo"))


def _path(options: argparse.Namespace) -> Path:
    """Return the configuration file that was named, or the one that is installed."""
    if options.config is not None:
        named: Path = options.config
        return named
    return _INCUMBENTS if not os.path.lexists(_CONFIG) and os.path.lexists(_INCUMBENTS) else _CONFIG


def _run(options: argparse.Namespace) -> int:
    found = _drafted(options)
    if found is None:
        return _wrong()
    logs.setup(_level(options, found.log), os.environ)
    _announce(found)
    if not _judged(found) or found.config is None:
        return _wrong()
    from fwbouncer.daemon import run

    try:
        return run(_verbose(options, found.config), lambda: _reload(options))
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
    from fwbouncer.host.systemd import Manager

    if not Manager(os.environ).kept_one:
        return WRONG
    _log.critical("the bans in the kernel stay as they are until the configuration is mended")
    return FAILED


def _test(options: argparse.Namespace) -> int:
    """Check the configuration like the incumbent's -t, in log lines; but on standard error alone."""
    found = _drafted(options)
    logs.setup(_level(options, Log()), os.environ)
    if found is None or not _judged(found):
        return WRONG
    _log.info("config is valid")
    return FINE


def _drafted(options: argparse.Namespace) -> Draft | None:
    """Read the configuration; when it can't be read, log that and return None."""
    try:
        return draft(_path(options), os.environ)
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
    config = _verbose(options, load(_path(options), os.environ))
    for warning in config.warnings:
        _log.warning("%s", warning)
    return config


def _verbose(options: argparse.Namespace, config: Config) -> Config:
    return replace(config, log=_level(options, config.log))


def _level(options: argparse.Namespace, log: Log) -> Log:
    return replace(log, level=min(log.level, 10)) if options.verbose else log


def _check(options: argparse.Namespace) -> int:
    found = draft(_path(options), os.environ)
    for warning in found.warnings:
        print(f"warning: {clean(warning)}", file=sys.stderr)
    if found.problems:
        raise ConfigError(*found.problems)
    print("config is valid")
    return FINE


def _show(options: argparse.Namespace) -> int:
    from fwbouncer.config.show import merged

    text, problems = merged(_path(options), os.environ)
    print("# The configuration as it is merged, variables put in. Secrets are hidden.")
    print(text, end="")
    if problems:
        sys.stdout.flush()
        raise ConfigError(*problems)
    return FINE


def _status(options: argparse.Namespace) -> int:
    from fwbouncer.control.status import render

    answer = ask(_socket(options), "status")
    if options.json:
        import json

        del answer["protocol"]
        print(json.dumps(answer, indent=2))
    else:
        print(render(answer, color=sys.stdout.isatty() and "NO_COLOR" not in os.environ), end="")
    return FINE


def _unblock(options: argparse.Namespace) -> int:
    from fwbouncer import unblock

    return unblock.run(options, lambda **request: ask(_socket(options), "unblock", timeout=30, **request))


def _teardown(options: argparse.Namespace) -> int:
    try:
        answer = ask(_socket(options), "teardown", timeout=60)
    except NotRunning:
        from fwbouncer.daemon import teardown

        return teardown(load(_path(options), os.environ))
    print(clean(str(answer.get("text", "the daemon has removed everything of its own from the kernel"))))
    return FINE


def _socket(options: argparse.Namespace) -> Path:
    """Return where to ask. The usual socket is known without a right to read the configuration."""
    named: Path | None = options.control_socket
    if named is not None:
        return named
    if options.config is None and _SOCKET.exists():
        return _SOCKET

    try:
        # A wrong configuration names it too: the daemon was started with an earlier one.
        return draft(_path(options), os.environ).control_socket
    except ConfigError:
        if options.config is not None:
            raise
        return _SOCKET


def _demo(options: argparse.Namespace) -> int:
    for script in _DEMOS:
        if os.access(script, os.X_OK):
            sys.stdout.flush()
            os.execv(script, [str(script), *options.arguments])  # noqa: S606 - our own script, no shell needed
    raise FwbouncerError(
        f"the demo is not installed: neither {_DEMOS[0]} nor {_DEMOS[1]} can be run; see the README"
    )


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "test": _test,
    "show": _show,
    "check-config": _check,
    "status": _status,
    "unblock": _unblock,
    "teardown": _teardown,
    "demo": _demo,
}
