"""What is in the ipsets: filled in bulk, grown when full, long bans renewed before the kernel ends them."""

from __future__ import annotations

import ipaddress
import logging
import zlib
from typing import TYPE_CHECKING

from fwbouncer.core.model import FOREVER, AddressKey, Element, Millis, SetChange, is_range
from fwbouncer.errors import KernelError, NoSuchObject, SetFull
from fwbouncer.kernel import ipset, ipset_list
from fwbouncer.kernel.ipset_census import Census
from fwbouncer.kernel.ipset_glance import LARGE, Glance, small
from fwbouncer.kernel.ipset_numbers import MAX_TIMEOUT, Command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fwbouncer.kernel.backend import Clock
    from fwbouncer.kernel.ipset_list import Header
    from fwbouncer.kernel.ipset_socket import Ipsets, Refused

log = logging.getLogger(__name__)

_RENEWED_AT_ONCE = 4096  # elements; some 10 ms
_NAMED = 3  # refused entries are named in the log, the others only counted


def temporary_name(name: str) -> str:
    """Name the set that a set is grown through; always by one name, so a crash leaves nothing unknown."""
    return f"fwbouncer-{zlib.crc32(name.encode()):08x}"


def shown(key: AddressKey) -> str:
    """Write an address or network as people do."""
    size = len(key) & ~1
    address = ipaddress.ip_address(bytes(key[:size]))
    return f"{address}/{key[size]}" if is_range(key) else str(address)


def growable(header: Header) -> bool:
    """Tell whether a larger set with all the properties of this one can be made."""
    plain = all(len(value) in (1, 4) for _, value in header.create)
    return header.family is not None and header.type.startswith("hash:") and plain


class SetStore:
    """The contents of named sets. `longest` is the longest timeout, in seconds, that an element is given."""

    def __init__(self, sets: Ipsets, clock: Clock, longest: int = MAX_TIMEOUT) -> None:
        self._sets = sets
        self._clock = clock
        self._longest = longest
        self._census: dict[str, Census] = {}
        self._glances: dict[str, Glance] = {}
        # Bans that outlast the longest timeout, with their true deadlines, and since when the kernel counts.
        self._long: dict[str, dict[Element, Millis]] = {}
        self._counting: dict[str, Millis] = {}
        self._renewing: dict[str, list[Element]] = {}

    def read(self, name: str, *, keep_permanent: bool = False) -> dict[Element, Millis]:
        """List a set. With `keep_permanent`, what never ends is the administrator's own and left out."""
        now = self._clock()
        found: dict[Element, Millis] = {}
        ends: list[Millis] = []
        capped = self._long.get(name, {})
        enough = now + self._longest * 250
        for body in self._sets.elements(name):
            held = ipset_list.held(body)
            if held is None or held.nomatch or (keep_permanent and held.timeout == 0):
                continue
            end = now + held.timeout * 1000 if held.timeout else FOREVER
            ends.append(end)
            # A ban that the kernel holds capped is right as it is, as long as it will be renewed in time.
            found[held.key] = capped[held.key] if enough < end < FOREVER and held.key in capped else end
        self._glances.pop(name, None)
        header = self._count(name, now)
        self._census.setdefault(name, Census()).restart(ends, header.elements, now)
        self._glance(name).mark(found.items() if len(found) >= LARGE else (), now)
        return found

    def write(self, name: str, change: SetChange) -> None:
        """Carry out a change, new bans first; entries that the kernel refuses are logged and left out."""
        header = self._header(name, len(change.add))
        if header.elements + len(change.add) > header.maxelem and growable(header):
            header = self._grow(header, header.elements + len(change.add))
        tight = header.elements + len(change.add) > header.maxelem
        if tight:  # a set that can't grow takes new elements only where old ones were
            self._take_out(name, change.remove)
        refused = self._put_in(name, header, [*change.add, *change.renew])
        if not tight:
            self._take_out(name, change.remove)
        self._take_stock(name, change, refused)

    def disturbed(self, name: str) -> str | None:
        """Say what somebody else did to a set, as far as its size tells."""
        now, census = self._clock(), self._census.get(name)
        large = census is not None and census.most >= LARGE
        if large and self._glance(name).enough(lambda mark: self._sets.holds(name, mark), now):
            return None
        try:
            count = self._count(name, now).elements
        except NoSuchObject as error:
            return str(error) if census is not None else None
        wrong = census.check(count, now) if census is not None else "appeared"
        return f"ipset {name} {wrong}" if wrong else None

    def tend(self) -> None:
        """Renew some of the bans that the kernel would otherwise end before their time."""
        now = self._clock()
        for name, since in list(self._counting.items()):
            if name not in self._renewing and now >= since + self._longest * 500:
                self._renewing[name] = list(self._long[name])
        for name, elements in list(self._renewing.items()):
            some = [elements.pop() for _ in range(min(_RENEWED_AT_ONCE, len(elements)))]
            if not elements:
                del self._renewing[name]
                self._counting[name] = now
            still = self._long.get(name, {})
            try:
                renewed = [(element, still[element]) for element in some if element in still]
                self._put_in(name, self._sets.header(name), renewed)
            except KernelError:
                self._counting[name] = 0  # all over again, soon
                raise

    def forget(self, name: str) -> None:
        """Drop what is known about a set that is no longer ours."""
        for known in (self._census, self._glances, self._long, self._counting, self._renewing):
            known.pop(name, None)

    def _glance(self, name: str) -> Glance:
        return self._glances.setdefault(name, Glance())

    def _count(self, name: str, now: Millis) -> Header:
        glance = self._glance(name)
        glance.header = header = self._sets.header(name)
        glance.counted(header.elements, now)
        return header

    def _header(self, name: str, coming: int) -> Header:
        """Return a set's header; a large set's may be old, where there is room all the same."""
        known, census = self._glance(name).header, self._census.get(name)
        if known is not None and census is not None and growable(known):
            room = known.maxelem - census.most
            if census.most >= LARGE and coming <= room:
                return known
        return self._count(name, self._clock())

    def _take_stock(self, name: str, change: SetChange, refused: int) -> None:
        census, now = self._census.setdefault(name, Census()), self._clock()
        self._glance(name).wrote(change, now)
        if small(change, census.most):
            census.changed(len(change.add), len(change.renew), len(change.remove) + refused)
        else:
            census.settle(self._count(name, now).elements, now)

    def _put_in(self, name: str, header: Header, pairs: list[tuple[Element, Millis]]) -> int:
        """Add or renew; returns how many the kernel doesn't take."""
        count = len(pairs)
        if header.type != "hash:net":
            # A hash:ip set takes a network address by address: a /8 would be 16 million elements.
            self._complain(
                name,
                [(e, f"a {header.type} set holds no networks") for e, _ in pairs if is_range(e)],
            )
            pairs = [pair for pair in pairs if not is_range(pair[0])]
        if not pairs:
            return count
        packed = list(self._packed(name, pairs, timeouts=header.timeouts))
        try:
            refused = self._sets.bulk(Command.ADD, name, packed)
        except SetFull:
            self._grow(header, header.elements + len(pairs))
            refused = self._sets.bulk(Command.ADD, name, packed)
        self._complain(name, _named(refused, pairs))
        return count - len(pairs) + len(refused)

    def _packed(
        self,
        name: str,
        pairs: Iterable[tuple[Element, Millis]],
        *,
        timeouts: bool,
    ) -> Iterator[bytes]:
        if not timeouts:
            yield from (ipset.pack(element, None) for element, _ in pairs)
            return
        now, longest = self._clock(), self._longest
        capped = self._long.get(name, {})
        ends: list[Millis] = []
        for element, deadline in pairs:
            # Rounded up, and never 0, which the kernel takes for ever.
            seconds = 0 if deadline >= FOREVER else max(1, -((now - deadline) // 1000))
            if seconds > longest:
                seconds = longest
                capped[element] = deadline
            elif capped:
                capped.pop(element, None)
            ends.append(now + seconds * 1000 if seconds else FOREVER)
            yield ipset.pack(element, seconds)
        self._census.setdefault(name, Census()).expect(ends)
        if capped:
            self._long[name] = capped
            self._counting.setdefault(name, now)
        elif name in self._counting:
            for known in (self._long, self._counting, self._renewing):
                known.pop(name, None)

    def _take_out(self, name: str, elements: list[Element]) -> None:
        if not elements:
            return
        capped = self._long.get(name)
        if capped:
            for element in elements:
                capped.pop(element, None)
        refused = self._sets.bulk(Command.DELETE, name, [ipset.pack(element, None) for element in elements])
        self._complain(name, [(elements[r.index], r.why) for r in refused])

    def _grow(self, header: Header, needed: int) -> Header:
        """Exchange a set for a larger one with the same elements, in one step for the rules that use it."""
        if not growable(header):
            raise SetFull(header.name)
        name, larger = header.name, max(2 * header.maxelem, needed * 5 // 4)
        temporary = temporary_name(name)
        self._sets.run(ipset.destroy(temporary))
        self._sets.run(ipset.create_like(temporary, header, larger))
        try:
            self._sets.bulk(
                Command.ADD,
                temporary,
                [ipset_list.copied(body) for body in self._sets.elements(name)],
            )
            self._sets.run(ipset.swap(name, temporary))
        finally:
            self._sets.run(ipset.destroy(temporary))
        log.info("ipset %s held at most %d elements; it has grown to %d", name, header.maxelem, larger)
        return self._sets.header(name)

    @staticmethod
    def _complain(name: str, refused: list[tuple[Element, str]]) -> None:
        for element, why in refused[:_NAMED]:
            log.warning("ipset %s doesn't take %s: %s", name, shown(element), why)
        if len(refused) > _NAMED:
            log.warning("ipset %s doesn't take %d more", name, len(refused) - _NAMED)


def _named(refused: Iterable[Refused], pairs: list[tuple[Element, Millis]]) -> list[tuple[Element, str]]:
    return [(pairs[r.index][0], r.why) for r in refused]
