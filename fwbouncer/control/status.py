"""What the daemon says about itself, in answer to the command status."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class LapiStatus:
    """How it goes with the LAPI. Times are seconds."""

    url: str
    last_answer_ago: float | None = None  # None: it never answered
    failing_since: float | None = None  # None: it answers
    error: str | None = None
    next_poll_in: float | None = None
    snapshot_age: float | None = None  # None: there was none yet


@dataclass(frozen=True, slots=True)
class LoadingStatus:
    """How far the first load is: what is done now, with how many decisions or elements, for how many seconds."""

    phase: str  # "fetching" from the LAPI, "writing" to the kernel
    count: int  # decisions that have come so far; elements that are being written
    seconds: float


@dataclass(frozen=True, slots=True)
class DecisionStatus:
    """What the ledger holds."""

    total: int = 0
    by_origin: dict[str, int] = field(default_factory=dict)
    by_family: dict[str, int] = field(default_factory=dict)  # "IPv4", "IPv6"
    hosts: int = 0
    ranges: int = 0
    by_type: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KernelStatus:
    """What the kernel holds, and what it is still to get."""

    elements: int = 0  # that it must hold
    pending: int = 0  # of them and others: those in which it differs, as far as is known
    last_error: str | None = None
    repairs: int = 0
    last_write_ms: float | None = None
    held_back: int = 0  # for which a set of the administrator's has no room
    settled: bool = False  # it has held, at least once since the start, all that it must


@dataclass(frozen=True, slots=True)
class Traffic:
    """Packets and their bytes."""

    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class NeverBlockStatus:
    """Who is never blocked. `sources` are what says so: a word, "listed", a file or a host name."""

    count: int = 0
    sources: dict[str, list[str]] = field(default_factory=dict)
    passed: Traffic = Traffic()


@dataclass(frozen=True, slots=True)
class ProtectStatus:
    """What bans close. Ports are written as people write them: "all", "none" or "25, 6000-6010"."""

    ports: str = "all"  # by any policy
    policies: dict[str, str] = field(default_factory=dict)  # in the order in which they are tried
    replies: str = "pass"
    james_conf: str | None = None  # the folder that James's ports are read from
    proxied: str = ""  # the ports that James takes from a proxy alone; bans must be enforced there


@dataclass(frozen=True, slots=True)
class SessionsStatus:
    """The sessions of banned peers that were cut since the start."""

    on: bool = False  # on_ban.close_sessions, where it has an effect
    cut: int = 0
    peers: int = 0  # whose they were; one that is cut twice counts twice
    last_cut: int = 0  # sessions, the last time that there were any
    last_cut_ago: float | None = None  # seconds; None: there were none yet
    last_cut_ms: float | None = None  # from the kernel's word on the ban to the end of the last session
    unsupported: tuple[str, ...] = ()  # what this kernel can't do, in words


@dataclass(frozen=True, slots=True)
class Status:
    """The whole answer to the command status."""

    version: str
    pid: int
    mode: str
    owned: bool  # the table belongs to our socket, so nobody else can flush it
    since: float  # seconds that the daemon has been running
    lapi: LapiStatus
    loading: LoadingStatus | None = None  # None once the first load is in the kernel
    decisions: DecisionStatus = DecisionStatus()
    kernel: KernelStatus = KernelStatus()
    protect: ProtectStatus = ProtectStatus()
    rejects: dict[str, int] = field(default_factory=dict)  # reason -> decisions refused for it
    ignored: dict[str, int] = field(default_factory=dict)  # reason -> decisions that are not for us
    dropped: dict[str, Traffic] = field(default_factory=dict)  # by origin
    processed: Traffic = Traffic()
    never_block: NeverBlockStatus = NeverBlockStatus()
    sessions: SessionsStatus = SessionsStatus()
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as the control socket sends it."""
        return dataclasses.asdict(self)
