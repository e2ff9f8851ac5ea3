"""What the tests of the state file share."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from fwbouncer.core.guard import refusal
from fwbouncer.core.ledger import Ledger
from fwbouncer.core.model import Label, Page
from fwbouncer.host import state
from fwbouncer.host.state_format import Moment
from tests.lab.state import packed
from tests.unit.core_naive import HOUR, LABELS, keys, page

if TYPE_CHECKING:
    from pathlib import Path

    from fwbouncer.core.model import AddressKey, Millis

BOOT = b"the boot it was."
NOW = Moment(boot=5 * HOUR, wall=1_700_000_000_000, boot_id=BOOT)
ALL = frozenset({4, 5, 16, 17})
A, B = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 0, 24])
ROWS = [(1, A, NOW.boot + HOUR, LABELS[0]), (2, B, NOW.boot + 2 * HOUR, LABELS[2])]
HEAD = 64 + 32
KEYS = keys().filter(lambda key: refusal(key) is None)


def label(origin: str, scenario: str, kind: str) -> Label | None:
    """Make a label as the configuration has it: decisions of other types than ban are not wanted."""
    group = "CAPI" if origin == "CAPI" else "crowdsec"
    return Label(origin, scenario, kind, group) if kind == "ban" else None


def save(path: Path, rows: list[tuple[int, AddressKey, Millis, Label]], at: Moment = NOW) -> None:
    """Save these claims at this moment."""
    ledger = Ledger()
    ledger.absorb(page(rows), at.boot)
    state.save(path, packed(ledger.section(0, ledger.rows), at))


def load(path: Path, now: Moment = NOW, lengths: frozenset[int] = ALL) -> Page | None:
    """Load at this moment."""
    return state.load(path, lambda: now, lengths, label)


def rows_of(found: Page | None) -> list[tuple[int, AddressKey, Millis, Label]] | None:
    """Return the claims in the order of their ids."""
    if found is None:
        return None
    return sorted(
        zip(found.ids, found.keys, found.deadlines, found.labels, strict=True), key=lambda row: row[0]
    )


def signed(head: bytes, body: bytes) -> bytes:
    """Put the right checksum between a header and a body."""
    return head + blake2b(head + body, digest_size=32).digest() + body
