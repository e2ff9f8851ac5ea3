"""The files that matter: who may read and write them."""

from __future__ import annotations

import grp
import pwd
import stat
from typing import TYPE_CHECKING

from fwbouncer.doctor.facts import File

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fwbouncer.config.schema import Config


def look(path: Path, config: Config | None) -> tuple[File, ...]:
    """Look at the configuration and at what it names."""
    return tuple(_described(role, each) for role, each in _named(path, config))


def _named(path: Path, config: Config | None) -> Iterator[tuple[str, Path]]:
    yield "config", path
    overlay = path.with_name(path.name + ".local")
    if overlay.exists():
        yield "overlay", overlay
    if config is None:
        return
    for secret in (config.lapi.key_file, config.lapi.key_path):
        if secret is not None:
            yield "key", secret
    if config.state_file is not None:
        yield "state folder", config.state_file.parent
        yield "state", config.state_file
    yield "socket", config.control_socket
    for each in config.never_block.files:
        yield "list", each


def _described(role: str, path: Path) -> File:
    try:
        told = path.stat()
    except OSError as error:
        return File(role, path, missing=error.strerror or "?")
    return File(
        role, path, mode=stat.S_IMODE(told.st_mode), owner=_user(told.st_uid), group=_group(told.st_gid),
        size=told.st_size, modified=told.st_mtime,
    )  # fmt: skip


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
