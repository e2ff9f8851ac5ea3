"""The difference between the table as it stands and as it must be, as requests in an order the kernel takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.config.schema import Hook
from fwbouncer.kernel import nft, port_match, wire
from fwbouncer.kernel.called import is_of_group, never_set, opening_chain
from fwbouncer.kernel.nft import KEY_TYPE, Verb, request
from fwbouncer.kernel.ruleset import BANNED, NEAR
from fwbouncer.kernel.standing import MADE_HERE, Standing, StandingChain, StandingSet, comment
from fwbouncer.kernel.wire import NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, Message

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from fwbouncer.config.schema import Nft
    from fwbouncer.kernel.ruleset import Chain, Skeleton

_ACCEPT = 1
# User data of a set: its keys are in network order. Without it nft prints interval sets wrongly.
_BIG_ENDIAN = b"\x00\x04\x02\x00\x00\x00"


def differs(standing: Standing, place: Nft, wanted: Skeleton, *, owned: bool) -> bool:
    """Tell whether anything of the skeleton must be mended."""
    return any(True for _ in mend(standing, place, wanted, owned=owned))


def must_be_replaced(standing: Standing, place: Nft, *, owned: bool, port: int) -> bool:
    """Tell whether a table can't be mended: ownership and a set's kind are fixed when they are made.

    Nor can a table that somebody put to sleep: in the transaction that wakes it, the kernel takes no new hooked chain
    (EINVAL: __NFT_TABLE_F_UPDATE).
    """
    if not standing.exists:
        return False
    if standing.flags & nft.TABLE_DORMANT:
        return True
    if bool(standing.flags & nft.TABLE_OWNER) != owned or (owned and standing.owner != port):
        return True
    prefix, never = f"{place.blacklists}-", never_set(place)
    ours = (
        (name, there) for name, there in standing.sets.items() if name.startswith(prefix) or name == never
    )
    return any(
        there.flags != set_flags(name.endswith("-ranges") or name == never)
        or there.key_type != KEY_TYPE[place.family]
        for name, there in ours
    )


def outrun(standing: Standing, place: Nft, wanted: Skeleton) -> frozenset[str]:
    """Return the chains that must stay as they are for one more step, where rules move ahead of them.

    A packet that has passed prerouting before the rules came there may not find them gone at the next hook.
    """
    changed = {chain.name for chain in wanted.chains if _rules_differ(standing, chain)}
    ahead = {opening_chain(place), *(c.name for c in wanted.chains if c.hook is Hook.PREROUTING)}
    strange = {name for name in standing.chains if all(name != chain.name for chain in wanted.chains)}
    behind = {
        name
        for name, chain in standing.chains.items()
        if (chain.hook is not None and chain.hook > Hook.PREROUTING.value) or is_of_group(place, name)
    }
    behind &= strange | {
        chain.name for chain in wanted.chains if chain.name in changed and _let_go(standing, chain)
    }
    if not behind or not changed & ahead:
        return frozenset()
    return frozenset(behind | strange)


def _let_go(standing: Standing, chain: Chain) -> bool:
    """Tell whether a chain changes in more than that it looks into more sets."""
    before = standing.chains.get(chain.name)
    if before is None or not before.accepts:
        return False
    rules = [rule for rule in before.rules if not rule.startswith(NEAR)]
    after = [rule.comment for rule in chain.rules if not rule.purpose.startswith(NEAR)]
    more = [comment for comment in after if comment not in rules]
    kept = [comment for comment in after if comment in rules]
    return kept != rules or not all(comment.startswith(BANNED) for comment in more)


def mend(
    standing: Standing, place: Nft, wanted: Skeleton, *, owned: bool, keep: Collection[str] = ()
) -> Iterator[Message]:
    """Yield what makes the table as it must be: sets before the rules that look into them.

    Chains to `keep` are left as they are.
    """
    if not place.set_only:
        yield from _table(standing, place, owned=owned)
    for name in wanted.counters:
        if name not in standing.counters:
            yield _counter(place, name)
    yield from _sets(standing, place, wanted)
    if not place.set_only:
        yield from _chains(standing, place, wanted, keep)


def delete_table(place: Nft) -> Message:
    """Take the whole table out."""
    return request(
        Verb.DEL_TABLE,
        place.family,
        wire.text(1, place.table),
        about=f"delete table {place.table}",
        subject=place.table,
    )


def flush_set(place: Nft, name: str) -> Message:
    """Take all elements out of a set."""
    attributes = wire.text(1, place.table) + wire.text(2, name)
    return request(Verb.DEL_ELEMENT, place.family, attributes, about=f"flush set {name}", subject=name)


def delete_set(place: Nft, name: str) -> Message:
    """Take a set out."""
    attributes = wire.text(1, place.table) + wire.text(2, name)
    return request(Verb.DEL_SET, place.family, attributes, about=f"delete set {name}", subject=name)


def set_flags(interval: bool) -> int:
    """Return the flags that a set of ours has."""
    return nft.SET_TIMEOUT | (nft.SET_INTERVAL if interval else 0)


def _table(standing: Standing, place: Nft, *, owned: bool) -> Iterator[Message]:
    flags = nft.TABLE_OWNER if owned else 0
    if standing.exists:
        return
    yield request(
        Verb.NEW_TABLE,
        place.family,
        wire.text(1, place.table) + wire.u32(2, flags),
        flags=NLM_F_CREATE,
        about=f"create table {place.table}",
    )


def _counter(place: Nft, name: str) -> Message:
    attributes = wire.text(1, place.table) + wire.text(2, name) + wire.u32(3, nft.OBJECT_COUNTER)
    zero = wire.nested(4, wire.u64(1, 0), wire.u64(2, 0))
    flags = NLM_F_CREATE | NLM_F_EXCL
    return request(
        Verb.NEW_OBJECT, place.family, attributes, zero, flags=flags, about=f"create counter {name}"
    )


def _sets(standing: Standing, place: Nft, wanted: Skeleton) -> Iterator[Message]:
    """Make the sets that are missing. Within a transaction a set is known by its number as well as its name."""
    for number, (name, interval) in enumerate(wanted.sets, 1):
        if name in standing.sets:
            continue
        attributes = (
            wire.text(1, place.table),
            wire.text(2, name),
            wire.u32(3, set_flags(interval)),
            wire.u32(4, KEY_TYPE[place.family]),
            wire.u32(5, place.family.size),
            wire.u32(10, number),
            wire.attribute(13, _BIG_ENDIAN + (MADE_HERE if place.set_only else b"")),
        )
        flags = NLM_F_CREATE | NLM_F_EXCL
        yield request(
            Verb.NEW_SET, place.family, *attributes, flags=flags, about=f"create set {name}", subject=name
        )


def mended(  # noqa: PLR0913 - the same as `mend`, and whose it is
    standing: Standing, place: Nft, wanted: Skeleton, *, owned: bool, port: int, keep: Collection[str] = ()
) -> Standing:
    """Return how the table stands once the kernel has taken what `mend` yields."""
    after = Standing(exists=True, flags=nft.TABLE_OWNER if owned else 0, owner=port if owned else 0)
    after.counters = {
        name: standing.counters.get(name, (0, 0)) for name in (*standing.counters, *wanted.counters)
    }
    after.sets = dict(standing.sets)
    for name, interval in wanted.sets:
        after.sets.setdefault(
            name, StandingSet(set_flags(interval), KEY_TYPE[place.family], ours=place.set_only)
        )
    after.chains = {name: standing.chains[name] for name in keep}
    for chain in wanted.chains:
        if chain.name in keep:
            continue
        comments = tuple(rule.comment for rule in chain.rules)
        after.chains[chain.name] = StandingChain(
            chain.hook.value if chain.hook else None, chain.priority, accepts=True, rules=comments
        )
    return after


def _chains(standing: Standing, place: Nft, wanted: Skeleton, keep: Collection[str]) -> Iterator[Message]:
    """Rewrite the chains that differ. A chain that is in the way goes first, one that is jumped to is made first."""
    names = {chain.name for chain in wanted.chains}.union(keep)
    strange = [name for name in standing.chains if name not in names]
    ours = [chain for chain in wanted.chains if chain.name not in keep]
    moved = [c.name for c in ours if c.name in standing.chains and _moved(standing.chains[c.name], c)]
    # One of ours may stand there under another name: then what jumps to it must jump elsewhere.
    lost = any(standing.chains[name].hook is None for name in strange) and any(
        c.hook is None and c.name not in standing.chains for c in ours
    )
    stale = [c for c in ours if lost or c.name in moved or _rules_differ(standing, c)]
    for name in {*strange, *(chain.name for chain in stale if chain.name in standing.chains)}:
        yield _about_chain(Verb.DEL_RULE, place, name, "empty", key=2)
    for name in (*strange, *moved):
        yield _about_chain(Verb.DEL_CHAIN, place, name, "delete", key=3)
    for chain in ours:
        before = standing.chains.get(chain.name)
        if before is None or chain.name in moved or not before.accepts:
            yield _chain(place, chain)
    for chain in stale:
        yield from _rules(place, chain)


def _moved(standing: StandingChain, chain: Chain) -> bool:
    hook = chain.hook.value if chain.hook else None
    return standing.hook != hook or (hook is not None and standing.priority != chain.priority)


def _rules_differ(standing: Standing, chain: Chain) -> bool:
    before = standing.chains.get(chain.name)
    return before is None or before.rules != tuple(rule.comment for rule in chain.rules)


def _about_chain(verb: Verb, place: Nft, name: str, word: str, *, key: int) -> Message:
    attributes = wire.text(1, place.table) + wire.text(key, name)
    return request(verb, place.family, attributes, about=f"{word} chain {name}", subject=name)


def _chain(place: Nft, chain: Chain) -> Message:
    attributes = [wire.text(1, place.table), wire.text(3, chain.name)]
    if chain.hook:
        attributes += [
            wire.nested(4, wire.u32(1, chain.hook.value), wire.u32(2, chain.priority)),
            wire.u32(5, _ACCEPT),
            wire.text(7, "filter"),
        ]
    return request(
        Verb.NEW_CHAIN, place.family, *attributes, flags=NLM_F_CREATE, about=f"create chain {chain.name}"
    )


def _rules(place: Nft, chain: Chain) -> Iterator[Message]:
    for rule in chain.rules:
        for made in rule.sets:
            yield from port_match.create(place, made)
        yield request(
            Verb.NEW_RULE,
            place.family,
            wire.text(1, place.table),
            wire.text(2, chain.name),
            wire.nested(4, rule.expressions),
            wire.attribute(7, comment(rule.comment)),
            flags=NLM_F_CREATE | NLM_F_APPEND,
            about=f"add rule to chain {chain.name}: {rule.purpose}",
        )
