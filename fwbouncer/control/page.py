"""The page that `fwbouncer status` makes of the daemon's answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fwbouncer.control.words import clean, count, number, span, traffic


class Line(NamedTuple):
    """A line of the page; a line without a label goes on with the one before."""

    label: str
    text: str
    bad: bool = False


def render(status: Mapping[str, Any], *, color: bool) -> str:
    """Write the page. It takes what an older or newer daemon sent, too: what is missing is left out."""
    lines = [
        line
        for part in (_daemon, _lapi, _bans, _protect, _never_block, _kernel, _sessions, _packets, _complaints)
        for line in part(status)
    ]
    if color:
        return _colored(lines)
    width = max(len(line.label) for line in lines)
    return "".join(f"{line.label:{width}}  {line.text}".rstrip() + "\n" for line in lines)


def _daemon(status: Mapping[str, Any]) -> list[Line]:
    parts = [f"fwbouncer {clean(status.get('version', '?'))}", f"mode {clean(status.get('mode', '?'))}"]
    if "pid" in status:
        parts.append(f"pid {count(status['pid'], grouped=False)}")
    if "since" in status:
        parts.append(f"up {span(status['since'])}")
    if "owned" in status:
        parts.append("table owned" if status["owned"] else "table not owned")
    return [Line("daemon", ", ".join(parts))]


def _lapi(status: Mapping[str, Any]) -> list[Line]:
    lapi = _block(status, "lapi")
    if not lapi:
        return []
    lines = [Line("LAPI", clean(lapi.get("url", "?")))]
    answer = lapi.get("last_answer_ago")
    text = "never answered" if answer is None else f"answered {span(answer)} ago"
    if lapi.get("next_poll_in") is not None:
        text += f", asked again in {span(lapi['next_poll_in'])}"
    lines.append(Line("", text, bad=answer is None))
    if lapi.get("snapshot_age") is not None:
        lines.append(Line("", f"everything compared {span(lapi['snapshot_age'])} ago"))
    if lapi.get("failing_since") is not None:
        why = f": {clean(lapi['error'])}" if lapi.get("error") else ""
        lines.append(Line("", f"failing for {span(lapi['failing_since'])}{why}", bad=True))
    return lines


def _bans(status: Mapping[str, Any]) -> list[Line]:
    bans = _block(status, "decisions")
    if not bans:
        return []
    lines = [Line("decisions", f"{count(bans.get('total'))}{_list(_block(bans, 'by_family'), ' (', ')')}")]
    if "hosts" in bans or "ranges" in bans:
        lines.append(Line("", f"{count(bans.get('hosts'))} hosts, {count(bans.get('ranges'))} ranges"))
    return lines + [
        Line("", f"{count(n)} from {clean(who)}") for who, n in _ranked(_block(bans, "by_origin"))
    ]


def _protect(status: Mapping[str, Any]) -> list[Line]:
    protect = _block(status, "protect")
    if not protect:
        return []
    policies = _block(protect, "policies")
    if len(policies) < 2:
        return [Line("ports", f"{clean(protect.get('ports', '?'))} closed to the banned")]
    told = (f"{clean(ports)} closed by {clean(name)}" for name, ports in policies.items())
    return [Line("" if number else "ports", text) for number, text in enumerate(told)]


def _never_block(status: Mapping[str, Any]) -> list[Line]:
    spared = _block(status, "never_block")
    if not spared.get("count"):
        return []
    sizes = {who: len(some) for who, some in _block(spared, "sources").items() if isinstance(some, list)}
    return [Line("spared", f"{count(spared['count'])} never blocked{_list(sizes, ': ', '')}")]


def _kernel(status: Mapping[str, Any]) -> list[Line]:
    kernel = _block(status, "kernel")
    if not kernel:
        return []
    text = f"{count(kernel.get('elements'))} elements, {count(kernel.get('pending'))} to be written"
    if kernel.get("last_write_ms") is not None:
        text += f", last write took {number(kernel['last_write_ms']):.1f} ms"
    lines = [Line("kernel", text)]
    if kernel.get("repairs"):
        lines.append(Line("", f"repaired {count(kernel['repairs'])} times after changes by others"))
    if kernel.get("last_error"):
        lines.append(Line("", f"last error: {clean(kernel['last_error'])}", bad=True))
    return lines


def _sessions(status: Mapping[str, Any]) -> list[Line]:
    sessions = _block(status, "sessions")
    lines = []
    if sessions.get("cut"):
        text = f"{count(sessions['cut'])} of banned peers cut"
        if sessions.get("last_cut_ago") is not None:
            text += f", the last {count(sessions.get('last_cut'))} {span(sessions['last_cut_ago'])} ago"
        lines.append(Line("sessions", text))
    lacks = sessions.get("unsupported")
    for text in lacks if isinstance(lacks, list | tuple) else ():
        lines.append(Line("" if lines else "sessions", clean(text), bad=True))
    return lines


def _packets(status: Mapping[str, Any]) -> list[Line]:
    lines: list[Line] = []
    for who, dropped in sorted(_block(status, "dropped").items()):
        lines.append(Line("" if lines else "dropped", f"{traffic(dropped)} from {clean(who)}"))
    if _block(status, "processed"):
        lines.append(Line("processed", traffic(status["processed"])))
    return lines


def _complaints(status: Mapping[str, Any]) -> list[Line]:
    lines = []
    for label, key in (("refused", "rejects"), ("ignored", "ignored")):
        for place, (reason, many) in enumerate(_ranked(_block(status, key))):
            lines.append(Line("" if place else label, f"{count(many)}: {clean(reason)}"))
    warnings = status.get("warnings")
    for place, text in enumerate(warnings if isinstance(warnings, list | tuple) else ()):
        lines.append(Line("" if place else "warnings", clean(text), bad=True))
    return lines


def _block(status: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    block = status.get(key)
    return block if isinstance(block, Mapping) else {}


def _ranked(counts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(counts.items(), key=lambda item: (-number(item[1]), item[0]))


def _list(counts: Mapping[str, Any], before: str, after: str) -> str:
    text = ", ".join(f"{count(many)} {clean(name)}" for name, many in sorted(counts.items()))
    return before + text + after if text else ""


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
