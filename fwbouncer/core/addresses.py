"""Addresses and networks as people write them <-> address keys."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

from fwbouncer.core.model import is_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.model import AddressKey


def read(text: str) -> AddressKey:
    """Return the key of an address or network; raises ValueError with what is wrong.

    IPv4 written as IPv6 (`::ffff:192.0.2.1`) becomes IPv4, since that is how its packets look.
    """
    if "%" in text:
        raise ValueError("names an interface behind %; leave that out")
    if "/" in text and not text.rpartition("/")[2].isdigit():
        raise ValueError("needs the length of its prefix behind the /, as in 192.0.2.0/24")
    loose = ip_network(text, strict=False)
    key = key_of(loose)
    if (
        loose.num_addresses > 1
        and ip_network(text.partition("/")[0]).network_address != loose.network_address
    ):
        raise ValueError(f"is an address inside a network; write {shown(key)} for all of it")
    return key


def key_of(network: IPv4Network | IPv6Network) -> AddressKey:
    """Return a network's key; that of one address where it holds only one."""
    packed, prefix = network.network_address.packed, network.prefixlen
    if isinstance(network, IPv6Network) and prefix >= 96 and network.network_address.ipv4_mapped:
        packed, prefix = packed[12:], prefix - 96
    return packed if prefix == len(packed) * 8 else packed + bytes([prefix])


def shown(key: AddressKey) -> str:
    """Write a key as people do."""
    if is_range(key):
        return str(ip_network((key[:-1], key[-1])))
    return str(ip_network(key).network_address)


def supernets(key: AddressKey) -> Iterator[AddressKey]:
    """Yield every network around an address or network, from the narrowest to the one that is everything."""
    size = len(key) & ~1
    prefix = key[size] if is_range(key) else size * 8
    number = int.from_bytes(key[:size], "big")
    for shorter in range(prefix - 1, -1, -1):
        bits = size * 8 - shorter
        yield (number >> bits << bits).to_bytes(size, "big") + bytes([shorter])
