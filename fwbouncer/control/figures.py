"""What Prometheus is told, as plain figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fwbouncer.core.latency import Latency

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwbouncer.core.model import Family
    from fwbouncer.core.tally import Totals, Traffic


@dataclass(frozen=True, slots=True)
class Process:
    """What the system says about the process. Times are seconds."""

    started: float  # since 1970
    cpu: float = 0.0
    memory: int = 0  # bytes that are resident
    files: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that is told. Times are seconds; None where there is nothing to tell yet."""

    version: str
    mode: str
    owned: bool
    process: Process
    lapi_requests: int = 0
    lapi_failures: int = 0
    lapi_answers: bool = False
    answer_age: float | None = None
    snapshot_age: float | None = None
    polls: Mapping[str, Latency] = field(default_factory=dict)  # by what was asked for: all, changes
    decisions: int = 0
    banned: Mapping[tuple[str, Family], int] = field(default_factory=dict)  # by origin
    doubted: int = 0
    provisional: bool = False
    rejects: Mapping[str, int] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)
    never_block: int = 0
    elements: int = 0
    drift: int = 0
    held_back: int = 0
    kernel_takes: bool = True
    repairs: int = 0
    sessions_cut: int = 0
    applies: Latency = field(default_factory=Latency)
    dropped: Totals = field(default_factory=dict)  # by origin
    processed: Mapping[Family, Traffic] = field(default_factory=dict)
    spared: Mapping[Family, Traffic] = field(default_factory=dict)
