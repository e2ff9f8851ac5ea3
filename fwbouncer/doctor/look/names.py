"""The host names in the configuration, looked up as the daemon does it."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fwbouncer.config.never_block import listed
from fwbouncer.doctor.facts import Names, Unseen
from fwbouncer.doctor.look.together import together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.config.schema import Config

_MOST = 32  # names; more of them would take more than a moment
_PATIENCE = 3.0  # seconds for all of them


def look(config: Config) -> Names:
    """Look all names up at once."""
    names = list(dict.fromkeys(_named(config)))[:_MOST]
    found = together({name: partial(_addresses, name) for name in names}, _PATIENCE)
    return Names({name: () if isinstance(told, Unseen) else told for name, told in found.items()})


def _named(config: Config) -> Iterator[str]:
    yield from config.never_block.names
    for path in config.never_block.files:
        try:
            yield from listed(path)[0].names
        except OSError:
            continue
    for url in config.lapi.urls:
        host = "" if url.startswith(("/", "unix:")) else urlsplit(url).hostname or ""
        if host and ":" not in host and not host.rpartition(".")[2].isdecimal():
            yield host


def _addresses(name: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))
