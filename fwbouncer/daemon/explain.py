"""Answers the command explain: what bans an address or a range, what spares it, and what the kernel says of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fwbouncer.config.schema import Config, Mode
from fwbouncer.core.addresses import supernets
from fwbouncer.core.cover import Inside, around
from fwbouncer.core.model import FOREVER, NEVER_BLOCK, AddressKey, family_of, is_range
from fwbouncer.core.ports import Ports, words
from fwbouncer.core.ranges import span
from fwbouncer.core.selection import Claim, Selection, Sieve
from fwbouncer.daemon.listing import address, value
from fwbouncer.errors import ControlError, KernelError
from fwbouncer.kernel.sessions import count_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.book import Book
    from fwbouncer.core.model import Millis
    from fwbouncer.daemon.keeper import Keeper
    from fwbouncer.daemon.listing import Dates
    from fwbouncer.daemon.parts import Parts
    from fwbouncer.kernel.backend import Held

BLOCKED, PARTLY, NOT = "blocked", "partly blocked", "not blocked"
_SLICE = 8192  # claims that are looked at in one go
_NAMED = 20  # decisions that are told one by one
_ASKED = 8  # addresses of a range that the kernel is asked about
_SOON = 0.3  # seconds after which a difference counts that a write may just be about to end


@dataclass(frozen=True, slots=True)
class Word:
    """What the kernel says: the sets that hold each address, or why it can't be asked."""

    held: dict[bytes, list[Held]] = field(default_factory=dict)
    error: str | None = None

    def bans(self, one: bytes) -> bool:
        """Tell whether it holds a ban of an address that nothing goes ahead of."""
        groups = {each.target.group for each in self.held.get(one, ())}
        return bool(groups) and NEVER_BLOCK not in groups


async def explain(parts: Parts, request: dict[str, Any], dates: Dates) -> dict[str, Any]:
    """Gather the answer; see the command's help for its keys."""
    key = address(request.get("address"))
    family, keeper, book = family_of(key), parts.keeper, parts.keeper.book
    if family not in parts.config.families:
        raise ControlError(f"IPv{family.value} is switched off here")
    inside = Inside(key)
    if is_range(key):
        await _gather(book, key, inside)
        asked = _samples(key, inside.first)
    else:
        inside.add(around(book.ledger, key), _NAMED)
        asked = [key]
    word = await _ask(keeper, asked)
    lacks = [one for one in asked if word.error is None and _expected(book, one) != word.bans(one)]
    if lacks:
        await asyncio.sleep(_SOON)
        word = await _ask(keeper, asked)
        lacks = [one for one in asked if word.error is None and _expected(book, one) != word.bans(one)]
    spared = book.never.spared(family)
    low, high = span(key, family)
    banned = inside.banned(spared)
    return {
        "address": value(key),
        "verdict": _verdict(parts.config, word, asked, (banned, high - low + 1)),
        "ports": words(_ports(parts.config, inside.first)),
        "decisions": [_decision(parts.config, claim, dates) for claim in inside.first],
        "decisions_total": inside.claims,
        "by_origin": dict(inside.by_origin),
        "addresses": {"total": high - low + 1, "banned": banned},
        "never_block": list(_sparing(parts, key, dates)),
        "kernel": _kernel(word, asked[0] if asked else b"", dates)
        if not is_range(key)
        else _some(word, lacks),
        "sessions": await _sessions(keeper, key),
        "difference": _difference(keeper, lacks, word),
        "notes": list(_notes(parts)),
    }


async def _gather(book: Book, key: AddressKey, inside: Inside) -> None:
    """Look through all claims for those in a range, in slices."""
    sieve = Sieve(Selection(within=key))
    inside.add(sieve.around(book.ledger), _NAMED)
    for at in range(0, book.ledger.rows, _SLICE):
        inside.add(sieve.sift(book.ledger.section(at, at + _SLICE)), _NAMED)
        await asyncio.sleep(0)


def _samples(key: AddressKey, claims: list[Claim]) -> list[bytes]:
    """Return a few addresses of a range that are banned, as far as the claims go."""
    family = family_of(key)
    low, _ = span(key, family)
    firsts = (max(low, span(each, family)[0]) for _, each, _, _ in claims)
    return [first.to_bytes(family.size, "big") for first in dict.fromkeys(firsts)][:_ASKED]


async def _ask(keeper: Keeper, addresses: list[bytes]) -> Word:
    def look() -> Word:
        return Word({one: keeper.backend.holders(one) for one in addresses})

    try:
        return await keeper.call(look)
    except KernelError as error:
        return Word(error=str(error))


async def _sessions(keeper: Keeper, key: AddressKey) -> int | None:
    try:
        return await keeper.call(lambda: count_with(key))
    except KernelError:  # this kernel can't list sockets
        return None


def _expected(book: Book, one: bytes) -> bool:
    """Tell whether the kernel must hold a ban of an address that nothing goes ahead of."""
    return any(True for _ in around(book.ledger, one)) and not book.never.holds(one)


def _verdict(config: Config, word: Word, asked: list[bytes], count: tuple[int, int]) -> str:
    banned, total = count
    if config.mode is Mode.DRY_RUN:
        return NOT
    if total == 1 and word.error is None:  # the kernel's word counts
        return BLOCKED if word.bans(asked[0]) else NOT
    return BLOCKED if banned == total else PARTLY if banned else NOT


def _ports(config: Config, claims: list[Claim]) -> Ports | None:
    """Return the ports that some decisions close together; None for all."""
    several = [config.policies.of_group(label.group).ports for _, _, _, label in claims]
    known = [ports for ports in several if ports is not None]
    return Ports.together(known) if len(known) == len(several) else None


def _decision(config: Config, claim: Claim, dates: Dates) -> dict[str, Any]:
    decision, key, deadline, label = claim
    policy = config.policies.of_group(label.group)
    return {
        "id": decision if decision >= 0 else None,
        "value": value(key),
        "origin": label.origin,
        "scenario": label.scenario,
        "type": label.type,
        "until": dates.text(deadline),
        "left": dates.left(deadline),
        "policy": policy.name or "default",
        "ports": words(policy.ports),
        "action": (policy.action or config.deny.action).value,
    }


def _sparing(parts: Parts, key: AddressKey, dates: Dates) -> Iterator[dict[str, Any]]:
    """Yield what lets an address, or some of a range, pass ahead of all bans."""
    wider = {key, *supernets(key)}
    family = family_of(key)
    low, high = span(key, family)
    for source, keys in parts.guardian.sources().items():
        for each, until in keys.items():
            if each in wider or (
                is_range(key) and family_of(each) is family and low <= span(each, family)[0] <= high
            ):
                yield {"value": value(each), "source": source, "left": _left(until, dates)}


def _left(until: Millis | None, dates: Dates) -> int | None:
    return None if until is None or until >= FOREVER else dates.left(until)


def _kernel(word: Word, one: bytes, dates: Dates) -> dict[str, Any]:
    sets = [
        {
            "set": held.name,
            "passes": held.target.group == NEVER_BLOCK,
            "left": _left(held.until, dates),
            "rules": list(held.rules),
        }
        for held in word.held.get(one, ())
    ]
    return {"asked": len(word.held), "error": word.error, "sets": sets}


def _some(word: Word, lacks: list[bytes]) -> dict[str, Any]:
    """Say what the kernel knows of some addresses of a range."""
    return {"asked": len(word.held), "error": word.error, "holding": len(word.held) - len(lacks)}


def _difference(keeper: Keeper, lacks: list[bytes], word: Word) -> str | None:
    """Say how the kernel differs from what it must hold, and have it put right."""
    if not lacks:
        return None
    if keeper.last_error is not None:
        return f"the kernel refuses changes at the moment: {keeper.last_error}"
    if keeper.writing is not None or not keeper.book.synced:
        return "the kernel is about to be written"
    keeper.distrust()
    if word.held.get(lacks[0]):
        return "the kernel holds what it must not hold; it is being put right"
    return "the kernel lacks it; it is being put right"


def _notes(parts: Parts) -> Iterator[str]:
    book, config = parts.keeper.book, parts.config
    if not book.synced:
        yield "no list of decisions has come yet; what the kernel holds is from an earlier run"
    elif book.provisional:
        yield "the decisions are those of the last run: the LAPI has not answered since the start"
    if config.mode is Mode.DRY_RUN:
        yield "mode dry-run: nothing is ever blocked"
    if config.mode is Mode.IPSET or any(place.set_only for place in config.nft.values()):
        yield "the rules are your own: whether this set blocks is for them to say"
    if book.delta.held_back:
        yield f"{book.delta.held_back} bans are held back: a set of fixed size is full"
