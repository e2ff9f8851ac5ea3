"""Proxies in front of James: what comes through one has its address, and a ban on that closes everything."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from fwbouncer.core.addresses import shown
from fwbouncer.doctor.checks.mending import configure, edit
from fwbouncer.doctor.facts import James, Unseen
from fwbouncer.doctor.finding import Finding, fine, note, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.config.schema import Config
    from fwbouncer.doctor.facts import Facts


def check(facts: Facts) -> Iterator[Finding]:
    """Tell which of James's servers see a proxy alone, and whether that can be banned."""
    for james in () if isinstance(facts.james, Unseen) else facts.james:
        if facts.config is not None and james.reading is not None and james.reading.proxied:
            yield from _proxied(facts, facts.config, james)
        if james.own_bouncer:
            yield note(
                "james.own-module",
                f"James's own CrowdSec module is on, too: {james.conf / 'extensions.properties'}",
                "It asks the LAPI for all decisions at every connection, and knows neither IPv6 ranges nor the types "
                "of decisions. What fwbouncer blocks never gets there.",
                edit(james.conf / "extensions.properties", "without the CrowdSec module, then restart James"),
            )


def _proxied(facts: Facts, config: Config, james: James) -> Iterator[Finding]:
    ports = james.reading.proxied_ports if james.reading is not None else ""
    bannable = [proxy for proxy in james.proxies if not _spared(config, proxy)]
    if bannable:
        yield warning(
            "proxy.bannable",
            f"James's ports {ports} are reached through {', '.join(bannable)}, which a ban can reach",
            "James names the proxy where it doesn't know the client, so CrowdSec may ban it; then nobody gets in.",
            *configure(facts, f"protect: {{proxies: [{', '.join(bannable)}]}}"),
        )
    elif not config.proxies:
        yield warning(
            "proxy.unnamed",
            f"James takes ports {ports} from a proxy alone (proxyRequired), and the configuration names none",
            "CrowdSec may ban the proxy, and then nobody gets in. Bans on clients must be enforced on the proxy's "
            "host: here their packets have its address.",
            *configure(facts, "protect: {proxies: [<the proxies' addresses>]}"),
        )
    else:
        yield fine("proxy.named", f"the proxies in front of James's ports {ports} are never blocked")


def _spared(config: Config, proxy: str) -> bool:
    address = ip_address(proxy)
    networks = [ip_network(shown(key)) for key in (*config.proxies, *config.never_block.networks)]
    return address.is_loopback or any(address in each for each in networks if each.version == address.version)
