"""Host names that are never blocked: looked up again and again, and no answer is trusted blindly.

A name gives single addresses and never a network, at most 32 of them, and only such as a peer can have. An answer
that fails, gives nothing of that kind or far too much changes nothing: what was known stays. An address stays for a
quarter of an hour after the last answer that named it, since many names answer with other addresses each time.
"""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias

from fwbouncer.host.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fwbouncer.core.model import AddressKey, Millis

_log = logging.getLogger("fwbouncer.never_block")

MOST = 32
STAYS: Millis = 15 * 60_000

# Name -> addresses as texts; raises OSError. It may take its time.
Resolver: TypeAlias = "Callable[[str], Iterable[str]]"


def resolve(name: str) -> list[str]:
    """Ask the system, which knows /etc/hosts as well as DNS."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]


@dataclass(slots=True)
class Answer:
    """What is known of one name: address -> when it was last named."""

    seen: dict[AddressKey, Millis] = field(default_factory=dict)
    failing: str | None = None  # what is wrong with the newest answer


class Names:
    """All names. `follow` says which there are; looking up is up to the caller, in a thread."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}

    def follow(self, names: Iterable[str], known: Mapping[str, Iterable[AddressKey]] | None = None) -> None:
        """Follow these names and no others. `known` is from an earlier run: better than nothing."""
        earlier = known or {}
        self._answers = {
            name: self._answers.get(name) or Answer(dict.fromkeys(list(earlier.get(name, ()))[:MOST], 0))
            for name in names
        }

    def unknown(self) -> list[str]:
        """Return the names of which no address is known."""
        return [name for name, answer in self._answers.items() if not answer.seen]

    def failing(self) -> bool:
        """Tell whether the newest answer for some name was no good."""
        return any(answer.failing is not None for answer in self._answers.values())

    def addresses(self) -> dict[str, list[AddressKey]]:
        """Return what each name stands for."""
        return {name: sorted(answer.seen) for name, answer in self._answers.items()}

    def take(self, name: str, texts: Iterable[str] | OSError, now: Millis) -> None:
        """Take an answer, or the error that came instead."""
        answer = self._answers.get(name)
        if answer is None:
            return  # nobody wants to know any more
        if isinstance(texts, OSError):
            self._doubt(name, answer, texts.strerror or str(texts))
            return
        usable = {key for key in map(peer, texts) if key is not None}
        if not usable:
            self._doubt(name, answer, "the answer has no address that a peer can have")
        elif len(usable) > MOST:
            self._doubt(name, answer, f"the answer has {len(usable)} addresses, and only {MOST} are believed")
        else:
            if answer.failing is not None:
                _log.info("%s can be looked up again", name, extra=fields("resolved", name=name))
            answer.failing = None
            kept = {key: at for key, at in answer.seen.items() if at + STAYS > now} | dict.fromkeys(
                usable, now
            )
            newest = sorted(kept.items(), key=lambda item: (-item[1], item[0]))[:MOST]
            answer.seen = dict(newest)

    @staticmethod
    def _doubt(name: str, answer: Answer, why: str) -> None:
        if why != answer.failing:
            stays = f"its last {len(answer.seen)} addresses stay" if answer.seen else "it spares nobody yet"
            _log.warning("never_block: %s: %s; %s", name, why, stays, extra=fields("unresolved", name=name))
        answer.failing = why


def peer(text: str) -> AddressKey | None:
    """Return the key of an address that a peer from elsewhere can have; None for any other.

    Private addresses are believed: names of machines nearby have them.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    odd = address.is_loopback or address.is_unspecified or address.is_multicast
    if (
        odd
        or address.is_link_local
        or (address.is_reserved and not address.packed.startswith(b"\0\x64\xff\x9b"))
    ):
        return None  # 64:ff9b::/96 are IPv4 addresses behind a translator
    return None if getattr(address, "ipv4_mapped", None) else address.packed
