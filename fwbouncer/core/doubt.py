"""Which of the bans that a snapshot lacks are over: one that shrinks sharply is not taken at its word at once.

When the LAPI's database fails halfway, the LAPI closes the page properly and says nothing. A second snapshot must
lack the same bans, and not come so soon after the first that the same failure explains both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.core.model import family_of, is_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fwbouncer.core.model import AddressKey, Millis

_SHARP = 0.25  # of all addresses that are banned
_FEW = 20  # bans; whoever watches so few waits for them to end
_SOON: Millis = 500
_LATER: Millis = 15_000


class Doubt:
    """Remembers which bans the last sharply shrunken snapshot lacked, and since when."""

    def __init__(self) -> None:
        self._suspects: set[int] = set()
        self._ripe: Millis = 0

    @property
    def ripe(self) -> Millis | None:
        """Return from when on another snapshot would be believed; None if nothing is in doubt."""
        return self._ripe if self._suspects else None

    def __len__(self) -> int:
        return len(self._suspects)

    def judge(
        self, missing: dict[int, AddressKey], listed: Iterable[AddressKey], banned: int, now: Millis
    ) -> set[int]:
        """Return which of the claims that a snapshot lacks are over; the others stay for now.

        `listed` is what the snapshot bans, and `banned` counts what was banned before it. A list that was refreshed
        has all its addresses under new ids: that frees nobody, however many claims are missing. Nor does a claim
        that was found in the kernel (its id is below zero) and that the snapshot now tells by its real id.
        """
        found = {decision for decision in missing if decision < 0}
        if found:  # rarely: a large list is not copied into a set for nothing
            known = set(listed)
            found = {decision for decision in found if missing[decision] in known}
            missing = {decision: key for decision, key in missing.items() if decision not in found}
        return found | self._judge(missing, listed, banned, now)

    def _judge(
        self, missing: dict[int, AddressKey], listed: Iterable[AddressKey], banned: int, now: Millis
    ) -> set[int]:
        claims = set(missing)
        limit = _SHARP * banned
        if len(claims) <= limit or _freed(missing.values(), listed) <= limit:
            self._suspects = set()
            return claims
        self._suspects &= claims
        if not self._suspects:
            self._suspect(claims, now)
            return set()
        if now < self._ripe:
            return set()
        confirmed = self._suspects
        self._suspect(claims - confirmed, now)
        return confirmed

    def _suspect(self, claims: set[int], now: Millis) -> None:
        self._suspects = claims
        self._ripe = now + (_SOON if len(claims) <= _FEW else _LATER)


def _freed(keys: Iterable[AddressKey], listed: Iterable[AddressKey]) -> int:
    covered = covered_by(listed)
    return sum(not covered(key) for key in set(keys))


def covered_by(keys: Iterable[AddressKey]) -> Callable[[AddressKey], bool]:
    """Return a function that tells whether one of these bans all that a key bans."""
    known = set(keys)
    prefixes = {(family_of(key), key[-1]) for key in known if is_range(key)}

    def covered(key: AddressKey) -> bool:
        if key in known:
            return True
        family = family_of(key)
        bits = family.size * 8
        own = key[-1] if is_range(key) else bits
        if own == bits and key[: family.size] in known:
            return True
        first = int.from_bytes(key[: family.size], "big")
        return any(
            (first >> (bits - prefix) << (bits - prefix)).to_bytes(family.size, "big") + bytes([prefix])
            in known
            for of, prefix in prefixes
            if of is family and prefix <= own
        )

    return covered
