"""What the daemon says about itself, and the page that `fwbouncer status` makes of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


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
class DecisionStatus:
    """What the ledger holds."""

    total: int = 0
    by_origin: dict[str, int] = field(default_factory=dict)
    by_family: dict[str, int] = field(default_factory=dict)  # "IPv4", "IPv6"
    hosts: int = 0
    ranges: int = 0


@dataclass(frozen=True, slots=True)
class KernelStatus:
    """What the kernel holds, and what it is still to get."""

    elements: int = 0
    pending: int = 0
    last_error: str | None = None
    repairs: int = 0
    last_write_ms: float | None = None


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
class Status:
    """The whole answer to the command status."""

    version: str
    pid: int
    mode: str
    owned: bool  # the table belongs to our socket, so nobody else can flush it
    since: float  # seconds that the daemon has been running
    lapi: LapiStatus
    decisions: DecisionStatus = DecisionStatus()
    kernel: KernelStatus = KernelStatus()
    rejects: dict[str, int] = field(default_factory=dict)  # reason -> decisions refused for it
    ignored: dict[str, int] = field(default_factory=dict)  # reason -> decisions that are not for us
    dropped: dict[str, Traffic] = field(default_factory=dict)  # by origin
    processed: Traffic = Traffic()
    never_block: NeverBlockStatus = NeverBlockStatus()
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as the control socket sends it."""
        return dataclasses.asdict(self)


class Line(NamedTuple):
    """A line of the page; a line without a label goes on with the one before."""

    label: str
    text: str
    bad: bool = False


def render(status: Mapping[str, Any], *, color: bool) -> str:
    """Write the page. It takes what an older or newer daemon sent, too: what is missing is left out."""
    lines = [
        line
        for part in (_daemon, _lapi, _bans, _never_block, _kernel, _packets, _complaints)
        for line in part(status)
    ]
    if color:
        return _colored(lines)
    width = max(len(line.label) for line in lines)
    return "".join(f"{line.label:{width}}  {line.text}".rstrip() + "\n" for line in lines)


def _daemon(status: Mapping[str, Any]) -> list[Line]:
    parts = [f"fwbouncer {_clean(status.get('version', '?'))}", f"mode {_clean(status.get('mode', '?'))}"]
    if "pid" in status:
        parts.append(f"pid {_count(status['pid'], grouped=False)}")
    if "since" in status:
        parts.append(f"up {span(status['since'])}")
    if "owned" in status:
        parts.append("table owned" if status["owned"] else "table not owned")
    return [Line("daemon", ", ".join(parts))]


def _lapi(status: Mapping[str, Any]) -> list[Line]:
    lapi = _block(status, "lapi")
    if not lapi:
        return []
    lines = [Line("LAPI", _clean(lapi.get("url", "?")))]
    answer = lapi.get("last_answer_ago")
    text = "never answered" if answer is None else f"answered {span(answer)} ago"
    if lapi.get("next_poll_in") is not None:
        text += f", asked again in {span(lapi['next_poll_in'])}"
    lines.append(Line("", text, bad=answer is None))
    if lapi.get("snapshot_age") is not None:
        lines.append(Line("", f"everything compared {span(lapi['snapshot_age'])} ago"))
    if lapi.get("failing_since") is not None:
        why = f": {_clean(lapi['error'])}" if lapi.get("error") else ""
        lines.append(Line("", f"failing for {span(lapi['failing_since'])}{why}", bad=True))
    return lines


def _bans(status: Mapping[str, Any]) -> list[Line]:
    bans = _block(status, "decisions")
    if not bans:
        return []
    lines = [Line("decisions", f"{_count(bans.get('total'))}{_list(_block(bans, 'by_family'), ' (', ')')}")]
    if "hosts" in bans or "ranges" in bans:
        lines.append(Line("", f"{_count(bans.get('hosts'))} hosts, {_count(bans.get('ranges'))} ranges"))
    return lines + [
        Line("", f"{_count(n)} from {_clean(who)}") for who, n in _ranked(_block(bans, "by_origin"))
    ]


def _never_block(status: Mapping[str, Any]) -> list[Line]:
    spared = _block(status, "never_block")
    if not spared.get("count"):
        return []
    sizes = {who: len(some) for who, some in _block(spared, "sources").items() if isinstance(some, list)}
    return [Line("spared", f"{_count(spared['count'])} never blocked{_list(sizes, ': ', '')}")]


def _kernel(status: Mapping[str, Any]) -> list[Line]:
    kernel = _block(status, "kernel")
    if not kernel:
        return []
    text = f"{_count(kernel.get('elements'))} elements, {_count(kernel.get('pending'))} to be written"
    if kernel.get("last_write_ms") is not None:
        text += f", last write took {_number(kernel['last_write_ms']):.1f} ms"
    lines = [Line("kernel", text)]
    if kernel.get("repairs"):
        lines.append(Line("", f"repaired {_count(kernel['repairs'])} times after changes by others"))
    if kernel.get("last_error"):
        lines.append(Line("", f"last error: {_clean(kernel['last_error'])}", bad=True))
    return lines


def _packets(status: Mapping[str, Any]) -> list[Line]:
    lines: list[Line] = []
    for who, traffic in sorted(_block(status, "dropped").items()):
        lines.append(Line("" if lines else "dropped", f"{_traffic(traffic)} from {_clean(who)}"))
    if _block(status, "processed"):
        lines.append(Line("processed", _traffic(status["processed"])))
    return lines


def _complaints(status: Mapping[str, Any]) -> list[Line]:
    lines = []
    for label, key in (("refused", "rejects"), ("ignored", "ignored")):
        for number, (reason, count) in enumerate(_ranked(_block(status, key))):
            lines.append(Line("" if number else label, f"{_count(count)}: {_clean(reason)}"))
    warnings = status.get("warnings")
    for number, text in enumerate(warnings if isinstance(warnings, list | tuple) else ()):
        lines.append(Line("" if number else "warnings", _clean(text), bad=True))
    return lines


def span(seconds: object) -> str:
    """Write a time as people say it: `0.4 s`, `3 min 20 s`, `2 d 4 h`."""
    amount = _number(seconds)
    if amount < 60:
        return f"{amount:.1f} s" if amount < 10 else f"{amount:.0f} s"
    for size, unit, smaller_size, smaller in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if amount >= size:
            rest = int(amount % size // smaller_size)
            return f"{int(amount // size)} {unit}" + (f" {rest} {smaller}" if rest else "")
    return "?"


def _traffic(traffic: object) -> str:
    known = traffic if isinstance(traffic, Mapping) else {}
    size = _number(known.get("bytes"))
    power = 0
    while size >= 1000 and power < 5:
        size, power = size / 1000, power + 1
    amount = f"{size:.1f}" if power else f"{size:.0f}"
    return f"{_count(known.get('packets'))} packets, {amount} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"


def _block(status: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    block = status.get(key)
    return block if isinstance(block, Mapping) else {}


def _ranked(counts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(counts.items(), key=lambda item: (-_number(item[1]), item[0]))


def _list(counts: Mapping[str, Any], before: str, after: str) -> str:
    text = ", ".join(f"{_count(count)} {_clean(name)}" for name, count in sorted(counts.items()))
    return before + text + after if text else ""


def _number(value: object) -> float:
    """Return a finite number whatever another version sent; json reads NaN and Infinity, and huge whole numbers."""
    try:
        number = float(value) if isinstance(value, int | float) else 0.0
    except OverflowError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _count(value: object, *, grouped: bool = True) -> str:
    return "?" if not isinstance(value, int) else f"{value:,}" if grouped else f"{value}"


def _clean(value: object) -> str:
    """Make a text safe for a terminal; origins and scenarios come from the network."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(value))[:500]


def _colored(lines: list[Line]) -> str:
    """Write the page with rich where that is installed, and plainly where it isn't."""
    try:
        from rich.console import Console  # noqa: PLC0415 - not installed everywhere, and slow to import
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415
    except ImportError:
        width = max(len(line.label) for line in lines)
        return "".join(f"{line.label:{width}}  {line.text}".rstrip() + "\n" for line in lines)
    table = Table.grid(padding=(0, 2))
    for line in lines:  # Text, so that nothing in it is taken for markup
        table.add_row(Text(line.label, style="bold"), Text(line.text, style="red" if line.bad else ""))
    console = Console(force_terminal=True, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()
