"""The nftables backend: one socket, one atomic transaction a change, tables owned where a socket can outlive us."""

from __future__ import annotations

import time
from contextlib import closing, nullcontext, suppress
from typing import TYPE_CHECKING

from fwbouncer.core.model import (
    FOREVER,
    NEVER_BLOCK,
    PROCESSED,
    Change,
    Element,
    Family,
    Holding,
    Kind,
    Layout,
    Millis,
)
from fwbouncer.errors import KernelBusy, KernelError, NotPermitted
from fwbouncer.kernel import called, elements, filling, lookup, mend, nft, ruleset, standing, wire
from fwbouncer.kernel.backend import Clock, Counted, Held
from fwbouncer.kernel.found import Found, check_given, target_of
from fwbouncer.kernel.near import Near
from fwbouncer.kernel.nft import Verb, request
from fwbouncer.kernel.socket import NetlinkSocket
from fwbouncer.kernel.standing import Standing
from fwbouncer.kernel.watch import Watch
from fwbouncer.kernel.wire import NLM_F_DUMP, Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fwbouncer.config.schema import Config, Nft

_TRIES = 5  # how often a reading that was disturbed is begun anew
_ON_ITS_WAY = 0.01  # seconds, far more than a packet takes from one hook to the next
_MUCH = 2000  # elements in a change from which on notifications are turned off meanwhile
_TOO_MANY = (
    250_000  # hosts: a dump walks a hash table from its start for every 32 KiB, so its time is quadratic
)


class Nftables:
    """See `Backend`. `owned` tables belong to `sock`: nobody else can write them, and they end with it."""

    def __init__(self, config: Config, clock: Clock, sock: NetlinkSocket, *, owned: bool) -> None:
        self._config = config
        self._clock = clock
        self._sock = sock
        self._owned = owned
        self._standing: dict[Family, Standing] = {family: Standing() for family in config.nft}
        self._groups: dict[Family, dict[str, set[Kind]]] = {family: {} for family in config.nft}
        self._near = Near()
        self._made: dict[
            Family, tuple[object, ruleset.Skeleton]
        ] = {}  # what it was made from, and the last skeleton
        self._replace: set[Family] = set()
        self._idle: dict[Family, set[str]] = {}  # empty sets of policies that are configured no more
        self._whole: bool | None = None  # None where it must be found out
        self._layout = Layout(flatten=True)
        tables = frozenset((family, place.table) for family, place in config.nft.items())
        self._watch = None if self._owns_all() else Watch(sock, tables)

    def layout(self) -> Layout:
        """Hosts and flattened ranges in sets of their own; the administrator's sets as they are."""
        return self._layout

    def dump(self) -> Holding:
        """Read tables and elements; a table that can't be mended counts as empty and will be replaced."""
        for attempt in range(_TRIES):
            try:
                return self._dump(last=attempt == _TRIES - 1)
            except KernelBusy:
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def whole(self) -> bool:
        """Compare what stands with what must stand."""
        if self._whole is None:
            self._whole = (
                not self._replace
                and not any(self._idle.values())
                and not any(
                    mend.differs(self._standing[family], place, self._wanted(place, {}), owned=self._owned)
                    for family, place in self._config.nft.items()
                )
            )
        return self._whole

    def apply(self, change: Change) -> None:
        """Mend the skeleton and change the elements of all families in one transaction.

        Where the socket's buffer may not grow as large (in a user namespace), in as few as possible: see `halves`.
        Where the configuration moves rules ahead to an earlier hook, in two, so that no packet slips between.
        """
        self._near.expect(change)
        keep = {
            family: mend.outrun(self._standing[family], place, self._wanted(place, change))
            for family, place in self._config.nft.items()
            if not place.set_only
        }
        if not any(keep.values()):
            self._write(change, {})
            return
        first, second = filling.parted(change)
        self._write(first, keep)
        time.sleep(_ON_ITS_WAY)
        self._write(second, {})

    def _write(self, change: Change, keep: Mapping[Family, frozenset[str]]) -> None:
        """Carry out a change with the skeleton; chains to `keep` stay as they are."""
        messages: list[Message] = []
        after: dict[Family, Standing] = {}
        for family, place in self._config.nft.items():
            wanted = self._wanted(place, change)
            before = self._standing[family]
            if family in self._replace:
                messages.append(mend.delete_table(place))
            kept = keep.get(family, frozenset())
            messages += mend.mend(before, place, wanted, owned=self._owned, keep=kept)
            after[family] = mend.mended(
                before, place, wanted, owned=self._owned, port=self._sock.port, keep=kept
            )
            idle = set() if kept else self._idle.get(family, set())
            for name in idle - {name for name, _ in wanted.sets}:
                messages.append(mend.delete_set(place, name))
                del after[family].sets[name]
        messages += self._all_elements(change)
        if not messages:
            return
        if not self._sock.takes(sum(len(m.payload) + 32 for m in messages)) and (
            parts := filling.halves(change)
        ):
            for part in parts:
                self._write(part, keep)
            return
        much = sum(map(len, change.values())) > _MUCH
        with self._watch.aside() if self._watch and much else nullcontext():
            self._sock.send_all(*nft.transaction(messages))
        self._whole = None
        self._standing.update(after)
        self._replace.clear()
        if not keep:
            self._idle.clear()
        for target in change:
            self._groups[target.family].setdefault(target.group, set()).add(target.kind)

    def counters(self) -> list[Counted]:
        """Read the named counters of each table, on a socket of its own: a large write doesn't hold this up."""
        found = []
        reader = NetlinkSocket.open()
        for family, place in self._config.nft.items():
            if place.set_only or not self._standing[family].exists:
                continue
            life = standing.handle(reader, family, place.table)
            for name, (packets, octets) in standing.counters(reader, family, place.table).items():
                group = name.removeprefix(f"{place.blacklists}-")
                if name == called.never_set(place):
                    found.append(Counted(NEVER_BLOCK, family, packets, octets, life))
                elif group != name or name == PROCESSED:
                    found.append(Counted(group, family, packets, octets, life))
        reader.close()
        return found

    def holders(self, address: bytes) -> list[Held]:
        """Ask the kernel, on a socket of its own."""
        place = self._config.nft.get(Family.V4 if len(address) == 4 else Family.V6)
        return lookup.holders(place, address, self._clock()) if place else []

    def fileno(self) -> int | None:
        """Return the watch's descriptor; an owned table needs no watch."""
        return self._watch.fileno() if self._watch else None

    def pulse(self) -> float | None:
        """Return None: the kernel tells every change."""
        return None

    def disturbed(self) -> str | None:
        """Ask the watch."""
        return self._watch.disturbed() if self._watch else None

    def remove(self) -> None:
        """Delete our tables; from the administrator's only our elements, and sets of ours that nothing uses."""
        self._whole = None
        for family, place in self._config.nft.items():
            found = standing.read(self._sock, family, place.table)
            if not found.exists:
                continue
            if place.set_only:
                self._empty(place, found)
                continue
            if found.flags & nft.TABLE_OWNER and found.owner != self._sock.port:
                raise NotPermitted(
                    f"table {place.table} belongs to another process's socket: stop that fwbouncer instead"
                )
            self._sock.send_all(*nft.transaction([mend.delete_table(place)]))
            self._standing[family] = Standing()
            self._groups[family] = {}

    def close(self) -> None:
        """Stop watching. The socket stays open: whoever made it may hand it to another backend."""
        if self._watch:
            self._watch.close()

    def _owns_all(self) -> bool:
        return self._owned and not any(place.set_only for place in self._config.nft.values())

    def _wanted(self, place: Nft, change: Change) -> ruleset.Skeleton:
        groups = {group: set(kinds) for group, kinds in self._groups[place.family].items()}
        for target in change:
            if target.family is place.family:
                groups.setdefault(target.group, set()).add(target.kind)
        near = self._near.around(place.family)
        made = self._made.get(place.family)
        if made is None or made[0] != (groups, near):  # with many groups it takes milliseconds
            skeleton = ruleset.skeleton(self._config, place, groups, near)
            made = self._made[place.family] = (groups, near), skeleton
        return made[1]

    def _dump(self, *, last: bool) -> Holding:
        holding: Holding = {}
        self._whole = None
        self._replace.clear()
        self._idle.clear()
        found = Found()
        for family, place in self._config.nft.items():
            table = standing.read(self._sock, family, place.table)
            if place.set_only:
                check_given(place, table)
            elif mend.must_be_replaced(table, place, owned=self._owned, port=self._sock.port):
                self._replace.add(family)
                table = Standing()
            self._standing[family] = table
            self._groups[family] = found.take_in(place, table)
            for name, target in found.names[family].items():
                held = self._read_elements(place, name, table.sets[name].flags, tolerant=last)
                if held is None:
                    found.unread.add(target)
                holding[target] = held or {}
                if held == {} and not self._config.policies.know(target.group):
                    self._idle.setdefault(family, set()).add(name)
                    self._groups[family][target.group].discard(target.kind)
        self._layout = found.layout()
        self._near = Near()
        self._near.find(holding)
        return holding

    def _read_elements(
        self, place: Nft, name: str, flags: int, *, tolerant: bool
    ) -> dict[Element, Millis] | None:
        """Read a set; None for one that is so large that filling it anew is cheaper."""
        head = wire.text(1, place.table) + wire.text(2, name)
        ask = request(
            Verb.GET_ELEMENT, place.family, head, flags=NLM_F_DUMP, about=f"list set {name}", subject=name
        )
        held: dict[Element, Millis] = {}
        parts = []
        with closing(NetlinkSocket.open()) as reader:  # closing it ends a dump that is left halfway
            for reply in reader.dump(ask, tolerant=tolerant):
                read = elements.read(reply.payload, place.family, tagged=place.set_only)
                if flags & nft.SET_INTERVAL:
                    parts += read
                else:
                    now = self._clock()
                    held.update({key: min(now + left, FOREVER) for key, _, left in read})
                    if len(held) > _TOO_MANY and not place.set_only:
                        return None
        if flags & nft.SET_INTERVAL:
            now = self._clock()
            pairs = elements.pair(parts, place.family).items()
            held = {key: min(now + left, FOREVER) for key, left in pairs}
        return held

    def _all_elements(self, change: Change) -> Iterator[Message]:
        now = self._clock()
        for target, part in change.items():
            place = self._config.nft[target.family]
            there = self._standing[target.family].sets.get(called.set_name(place, target))
            yield from filling.filling(place, target, there, part, now)

    def _empty(self, place: Nft, found: Standing) -> None:
        """Take our elements out of the administrator's sets, then the sets that we made, if nothing uses them."""
        for name, there in found.sets.items():
            if target_of(place, name, there) is None:
                continue
            held = self._read_elements(place, name, there.flags, tolerant=True) or {}
            messages = filling.emptying(place, name, there, held)
            if messages:
                self._sock.send_all(*nft.transaction(messages))
            if there.ours:
                with suppress(
                    KernelError
                ):  # a rule of the administrator's still uses it: then it stays, empty
                    self._sock.send_all(*nft.transaction([mend.delete_set(place, name)]))
