"""Turns the text of an address or a network into an address key."""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwbouncer.core.model import AddressKey

_LONGEST_TEXT = 49  # an IPv6 address with a dotted tail, and /128
_MAPPED = b"\0" * 10 + b"\xff\xff"
_PREFIXES = {str(n): n for n in range(129)}  # no sign, no leading zero, no digits of other scripts


def address_key(text: str) -> AddressKey | None:
    """Return the key that a value stands for; None where it stands for no address and no network.

    Bits behind the prefix are cleared. IPv4 written as IPv6 (`::ffff:192.0.2.1`) becomes IPv4, since that is
    how its packets look.
    """
    if len(text) > _LONGEST_TEXT:
        return None
    address, slash, length = text.partition("/")
    try:
        packed = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except (OSError, ValueError):  # no address; a NUL or a lone surrogate inside
        return None
    bits = len(packed) * 8
    prefix = _PREFIXES.get(length) if slash else bits
    if prefix is None or prefix > bits:
        return None
    if bits == 128 and prefix >= 96 and packed.startswith(_MAPPED):
        packed, prefix, bits = packed[12:], prefix - 96, 32
    if prefix == bits:
        return packed
    network = int.from_bytes(packed, "big") >> (bits - prefix) << (bits - prefix)
    return network.to_bytes(bits // 8, "big") + bytes((prefix,))


def address_keys(texts: Iterable[str]) -> list[AddressKey] | None:
    """Return the keys of many values, faster than one by one; None where one of them is no address.

    Raises what `inet_pton` does: where this fails for any reason, `address_key` tells which value it is.
    """
    keys = [
        inet_pton(AF_INET6 if ":" in text else AF_INET, text) if "/" not in text else address_key(text)
        for text in texts
    ]
    odd = [key for key in keys if not key or not key[0]]
    if any(key is None or key.startswith(_MAPPED) for key in odd):
        return None
    return cast("list[AddressKey]", keys)
