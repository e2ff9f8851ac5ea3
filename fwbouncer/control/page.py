"""The page that `fwbouncer status` makes of the daemon's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fwbouncer.control.lines import Line, block, labelled, listed, page, ranked, several
from fwbouncer.control.words import clean, count, number, span, traffic

if TYPE_CHECKING:
    from collections.abc import Mapping


def render(status: Mapping[str, Any], *, color: bool) -> str:
    """Write the page. It takes what an older or newer daemon sent, too: what is missing is left out."""
    parts = (
        _daemon,
        _lapi,
        _loading,
        _bans,
        _protect,
        _never_block,
        _kernel,
        _sessions,
        _packets,
        _complaints,
    )
    return page((line for part in parts for line in part(status)), color=color)


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
    lapi = block(status, "lapi")
    if not lapi:
        return []
    lines = [Line("LAPI", clean(lapi.get("url", "?")))]
    answer = lapi.get("last_answer_ago")
    text = "never answered" if answer is None else f"answered {span(answer)} ago"
    if lapi.get("next_poll_in") is not None:
        text += f", asked again in {span(lapi['next_poll_in'])}"
    lines.append(Line("", text, "red" if answer is None else ""))
    if lapi.get("snapshot_age") is not None:
        lines.append(Line("", f"everything compared {span(lapi['snapshot_age'])} ago"))
    if lapi.get("failing_since") is not None:
        why = f": {clean(lapi['error'])}" if lapi.get("error") else ""
        lines.append(Line("", f"failing for {span(lapi['failing_since'])}{why}", "red"))
    return lines


def _loading(status: Mapping[str, Any]) -> list[Line]:
    loading = block(status, "loading")
    words = {
        "fetching": "{} decisions have come from the LAPI, in {}",
        "writing": "{} elements are being written to the kernel, for {}",
    }
    text = words.get(str(loading.get("phase")), "")
    if not text:
        return []
    return [Line("loading", text.format(count(loading.get("count")), span(loading.get("seconds"))), "yellow")]


def _bans(status: Mapping[str, Any]) -> list[Line]:
    bans = block(status, "decisions")
    if not bans:
        return []
    families, types = listed(block(bans, "by_family")), block(bans, "by_type")
    texts = [count(bans.get("total")) + (f" ({families})" if families else "")]
    if "hosts" in bans or "ranges" in bans:
        texts.append(f"{count(bans.get('hosts'))} hosts, {count(bans.get('ranges'))} ranges")
    texts += [f"{count(n)} from {clean(who)}" for who, n in ranked(block(bans, "by_origin"))]
    if len(types) > 1:
        texts.append(f"by type: {listed(types)}")
    return labelled("decisions", texts)


def _protect(status: Mapping[str, Any]) -> list[Line]:
    protect = block(status, "protect")
    if not protect:
        return []
    policies = block(protect, "policies")
    if len(policies) < 2:
        return [Line("ports", f"{clean(protect.get('ports', '?'))} closed to the banned")]
    told = (f"{clean(ports)} closed by {clean(name)}" for name, ports in policies.items())
    return labelled("ports", told)


def _never_block(status: Mapping[str, Any]) -> list[Line]:
    spared = block(status, "never_block")
    if not spared.get("count"):
        return []
    sources = listed(
        {who: len(some) for who, some in block(spared, "sources").items() if isinstance(some, list)}
    )
    passed = block(spared, "passed")
    texts = [f"{count(spared['count'])} never blocked" + (f": {sources}" if sources else "")]
    if passed.get("packets"):
        texts.append(f"{traffic(passed)} of theirs passed")
    return labelled("spared", texts)


def _kernel(status: Mapping[str, Any]) -> list[Line]:
    kernel = block(status, "kernel")
    if not kernel:
        return []
    text = f"{count(kernel.get('elements'))} elements, {count(kernel.get('pending'))} to be written"
    if kernel.get("last_write_ms") is not None:
        text += f", last write took {number(kernel['last_write_ms']):.1f} ms"
    lines = [Line("kernel", text)]
    if kernel.get("held_back"):
        text = f"{count(kernel['held_back'])} bans are held back: a set of fixed size is full"
        lines.append(Line("", text, "red"))
    if kernel.get("repairs"):
        lines.append(Line("", f"repaired {count(kernel['repairs'])} times after changes by others"))
    if kernel.get("last_error"):
        lines.append(Line("", f"last error: {clean(kernel['last_error'])}", "red"))
    return lines


def _sessions(status: Mapping[str, Any]) -> list[Line]:
    sessions = block(status, "sessions")
    lines = []
    if sessions.get("cut"):
        text = f"{count(sessions['cut'])} of banned peers cut"
        if sessions.get("last_cut_ago") is not None:
            text += f", the last {count(sessions.get('last_cut'))} {span(sessions['last_cut_ago'])} ago"
        lines.append(Line("sessions", text))
    lacks = labelled("" if lines else "sessions", map(clean, several(sessions, "unsupported")), "red")
    return lines + lacks


def _packets(status: Mapping[str, Any]) -> list[Line]:
    dropped = sorted(block(status, "dropped").items())
    lines = labelled("dropped", (f"{traffic(each)} from {clean(who)}" for who, each in dropped))
    if block(status, "processed"):
        lines.append(Line("processed", traffic(status["processed"])))
    return lines


def _complaints(status: Mapping[str, Any]) -> list[Line]:
    lines = []
    for label, key in (("refused", "rejects"), ("ignored", "ignored")):
        ordered = ranked(block(status, key))
        lines += labelled(label, (f"{count(many)}: {clean(reason)}" for reason, many in ordered))
    return lines + labelled("warnings", map(clean, several(status, "warnings")), "yellow")
