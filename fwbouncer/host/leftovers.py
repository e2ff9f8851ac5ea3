"""What older releases of crowdsec-firewall-bouncer leave behind in mode iptables: a rule and a set for each family.

They have neither a chain of their own nor numbers behind the names of their sets, so ours don't take their place.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fwbouncer.errors import KernelBusy, KernelError, NoSuchObject
from fwbouncer.kernel import ipset, iptables
from fwbouncer.kernel.ipset_socket import IpsetSocket
from fwbouncer.kernel.xtables import Xtables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.config.schema import Config

_TRIES, _PAUSE = 40, 0.05  # seconds; the kernel lets go of a rule's set a moment after the rule


def clear(config: Config) -> Iterator[str]:
    """Remove rules that look into a set of theirs, and the set; yield what was done, and what could not be."""
    sets = IpsetSocket.open()
    for family in config.families:
        name = config.blacklists[family]
        try:
            rules = Xtables(family)
            lines = [
                f"-D {chain} {iptables.join(line.rule)}"
                for chain, there in rules.save().items()
                for line in there.lines
                if line.rule[:6] == ("-m", "set", "--match-set", name, "src", "-j")
            ]
            if lines:
                rules.restore(lines)
            rules.close()
            if _destroyed(sets, name):
                yield f"removed {name} and the rules of crowdsec-firewall-bouncer that looked into it"
        except KernelError as error:
            yield f"note: {name} of crowdsec-firewall-bouncer stays, and what it bans stays banned: {error}"
    sets.close()


def _destroyed(sets: IpsetSocket, name: str) -> bool:
    for left in reversed(range(_TRIES)):
        try:
            sets.run(ipset.destroy(name))
        except NoSuchObject:
            return False
        except KernelBusy:
            if not left:
                raise
            time.sleep(_PAUSE)
        else:
            return True
    return False
