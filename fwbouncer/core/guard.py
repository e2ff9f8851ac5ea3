"""Refuses to ban what no decision may ever close: everything, loopback, networks nobody was given whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.core.model import Family, family_of, is_range

if TYPE_CHECKING:
    from fwbouncer.core.model import AddressKey

# No registry ever handed out a larger block, so a shorter prefix is a mistake or an attack.
SHORTEST = {Family.V4: 8, Family.V6: 19}

UNSAFE = {0, 127}  # no host whose address begins with another byte is ever refused
_LOOPBACK6 = b"\0" * 15 + b"\1"


def refusal(key: AddressKey) -> str | None:
    """Say why this address or network must not be banned; None where it may be."""
    if len(key) == 4:
        return "is loopback" if key[0] == 127 else None
    if is_range(key):
        prefix, shortest = key[-1], SHORTEST[family_of(key)]
        if prefix == 0:
            return "is everything"
        if prefix < shortest:
            return f"has a prefix shorter than /{shortest}"
        if len(key) == 5:
            return "is loopback" if key[0] == 127 else None
        # A network holds ::1 exactly when it starts at :: and leaves the last bit open.
        return "contains loopback" if prefix < 128 and not any(key[:-1]) else None
    return "is loopback" if key == _LOOPBACK6 else None
