"""Addresses as they are given to commands."""

from __future__ import annotations

from fwbouncer.errors import ConfigError


def address(text: str) -> str:
    """Return an address or network as the daemon writes it; raises ConfigError with what is wrong."""
    from fwbouncer.core.addresses import read, shown  # noqa: PLC0415 - ipaddress takes its time

    try:
        return shown(read(text[:100]))  # the error repeats it
    except ValueError as error:
        raise ConfigError(str(error)) from None
