"""Who is never blocked: sensible, complete, and not too much."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from fwbouncer.core.addresses import shown
from fwbouncer.core.model import is_range
from fwbouncer.doctor.checks.mending import configure, quoted
from fwbouncer.doctor.facts import System, Unseen
from fwbouncer.doctor.finding import Finding, fine, note, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.config.schema import Config
    from fwbouncer.doctor.facts import Facts

_WIDE = {4: 16, 6: 32}  # prefixes shorter than these hold whole providers


def check(facts: Facts) -> Iterator[Finding]:
    """Tell of entries that spare nobody or too many, and of an administrator who isn't in the list."""
    config = facts.config
    if config is None:
        return
    found = [*_unresolved(facts, config), *_wide(facts, config), *_yourself(facts, config)]
    yield from found
    if not found:
        yield fine("never-block.sane", "never_block spares nobody it should not, and this host in any case")


def _unresolved(facts: Facts, config: Config) -> Iterator[Finding]:
    if isinstance(facts.names, Unseen):
        return
    hosts = set(config.never_block.names)
    for name, addresses in facts.names.answers.items():
        if not addresses and name in hosts:
            yield warning(
                "never-block.unresolved",
                f"never_block names {name}, which has no address now",
                "It is spared as it was known last; after a start, not at all.",
                f"getent ahosts {quoted(name)}",
                *configure(facts, f"never_block: an address instead of {name}"),
            )


def _wide(facts: Facts, config: Config) -> Iterator[Finding]:
    for key in config.never_block.networks:
        network = ip_network(shown(key))
        if is_range(key) and network.prefixlen < _WIDE[network.version] and not network.is_private:
            yield warning(
                "never-block.wide",
                f"never_block spares {network}, {network.num_addresses:,} public addresses",
                "No ban in it has any effect.",
                *configure(facts, f"never_block: what you know of {network}"),
            )


def _yourself(facts: Facts, config: Config) -> Iterator[Finding]:
    """Advise whoever reads this over SSH."""
    if not isinstance(facts.system, System) or config.never_block.ssh_peers:
        return
    try:
        client = ip_address(facts.system.ssh_client.partition("%")[0])
    except ValueError:
        return
    networks = [ip_network(shown(key)) for key in config.never_block.networks]
    if client.is_loopback or any(
        client in network for network in networks if network.version == client.version
    ):
        return
    yield note(
        "never-block.yourself",
        f"you are logged in from {client}, which a ban can reach",
        "A ban on it ends your session, and the next one doesn't begin.",
        *configure(facts, f"never_block: [ssh-peers], or {client} where it doesn't change"),
    )
