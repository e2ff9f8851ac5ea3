"""Runs every probe, and puts what they know together."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from fwbouncer.config.load import draft
from fwbouncer.control.client import NotRunning, ask
from fwbouncer.doctor.facts import Daemon, Facts, Settings
from fwbouncer.doctor.look import (
    engine,
    files,
    firewalld,
    james,
    keys,
    names,
    nft,
    processes,
    registry,
    system,
    units,
    xtables,
)
from fwbouncer.doctor.look import lapi as lapis
from fwbouncer.doctor.look.program import find
from fwbouncer.doctor.look.together import together
from fwbouncer.errors import ConfigError, ControlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fwbouncer.config.schema import Config
    from fwbouncer.doctor.facts import Lapis, Registry

LIMIT = 6.0  # seconds for all probes
_PATIENCE = 2.0  # seconds for an answer of the daemon's


def gather(path: Path, socket: Path, root: Path, environ: Mapping[str, str]) -> Facts:
    """Look at everything. Files are looked for below `root`."""
    daemon = _daemon(socket)
    settings = _settings(path, socket, {**environ, **_environment(root, daemon)})
    config = settings.config
    james_folders = james.folders(
        root, [config.james_conf] if config is not None and config.james_conf else []
    )
    probes: dict[str, Callable[[], Any]] = {
        "system": partial(system.look, root, environ),
        "units": partial(units.look, root),
        "processes": partial(processes.look, root),
        "nft": nft.look,
        "xtables": partial(xtables.look, _set_names(config)),
        "james": lambda: tuple(james.look(root, folder) for folder in james_folders),
        "engine": partial(engine.look, root),
        "firewalld": partial(firewalld.look, root),
        "files": partial(files.look, path, config),
    }
    if config is not None:
        own = [path, path.with_name(path.name + ".local"), *filter(None, [config.lapi.key_file])]
        listed = threading.Event()
        if find("cscli") is not None:
            probes["registry"] = partial(_registry, config, socket, listed)
        else:
            listed.set()
        probes["lapis"] = partial(_lapis, config, listed)
        probes["names"] = partial(names.look, config)
        probes["key_uses"] = partial(keys.look, root, config.lapi.key, own, james_folders)
    found = together(probes, LIMIT)
    return Facts(now=time.time(), root=os.geteuid() == 0, settings=settings, daemon=daemon, **found)


def _environment(root: Path, daemon: Daemon) -> dict[str, str]:
    """Return the variables that the daemon has: its configuration may use them, and its unit may set them."""
    pid = (daemon.status or {}).get("pid")
    with suppress(OSError, ValueError):
        words = (root / f"proc/{int(pid or 0)}/environ").read_bytes().split(b"\0")
        return dict(
            word.decode(errors="surrogateescape").partition("=")[::2] for word in words if b"=" in word
        )
    return {}


def _settings(path: Path, socket: Path, environ: Mapping[str, str]) -> Settings:
    try:
        found = draft(path, environ)
    except ConfigError as error:
        return Settings(path, None, error.problems, socket=socket)
    return Settings(path, found.config, found.problems, found.warnings, socket)


def _set_names(config: Config | None) -> tuple[str, ...]:
    return () if config is None else tuple(config.blacklists[family] for family in config.families)


def _daemon(socket: Path) -> Daemon:
    try:
        return Daemon(ask(socket, "status", timeout=_PATIENCE))
    except NotRunning as error:
        return Daemon(None, str(error), running=False)
    except ControlError as error:
        return Daemon(None, str(error))


def _registry(config: Config, socket: Path, listed: threading.Event) -> Registry:
    try:
        return registry.look(config.lapi.key, partial(_last_poll, socket))
    finally:
        listed.set()


def _lapis(config: Config, listed: threading.Event) -> Lapis:
    """Ask the LAPIs, once their list of bouncers is read: to old ones, who asks is who used the key last."""
    listed.wait(LIMIT / 2)
    return lapis.look(config.lapi)


def _last_poll(socket: Path) -> float | None:
    """Return when the LAPI answered the daemon last, in seconds since 1970."""
    with suppress(ControlError, TypeError, KeyError):
        return time.time() - float(ask(socket, "status", timeout=_PATIENCE)["lapi"]["last_answer_ago"])
    return None
