"""The page that `fwbouncer explain` makes of the daemon's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fwbouncer.control.lines import Line, block, labelled, page, ranked, several
from fwbouncer.control.paint import paint
from fwbouncer.control.words import clean, count, number, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_STYLES = {"blocked": "red", "not blocked": "green"}


def render(answer: Mapping[str, Any], *, color: bool) -> str:
    """Write the page. It takes what an older or newer daemon sent, too: what is missing is left out."""
    parts = (_addresses, _decisions, _sparing, _kernel, _sessions, _notes)
    text = page((line for part in parts for line in part(answer)), color=color)
    return _head(answer, color=color) + text


def _head(answer: Mapping[str, Any], *, color: bool) -> str:
    verdict = clean(answer.get("verdict", "?"))
    style = _STYLES.get(verdict, "yellow") if color else ""
    blocked = block(answer, "by_origin") and verdict != "not blocked"
    where = f", on ports {clean(answer['ports'])}" if blocked and answer.get("ports", "all") != "all" else ""
    return f"{clean(answer.get('address', '?'))} is {paint(verdict, style)}{where}\n"


def _addresses(answer: Mapping[str, Any]) -> list[Line]:
    addresses = block(answer, "addresses")
    if number(addresses.get("total")) <= 1:
        return []
    many = f"{count(addresses.get('banned'))} of {count(addresses.get('total'))} are blocked"
    origins = [f"{count(n)} decisions from {clean(who)}" for who, n in ranked(block(answer, "by_origin"))]
    return labelled("addresses", [many, *origins])


def _decisions(answer: Mapping[str, Any]) -> list[Line]:
    rows = [row for row in several(answer, "decisions") if isinstance(row, dict)]
    lines = labelled("decisions", (text for row in rows for text in _decision(row)))
    more = number(answer.get("decisions_total")) - len(rows)
    if more > 0:
        lines.append(Line("", f"and {count(int(more))} more; `fwbouncer list --range` shows them all"))
    return lines or [Line("decisions", "none")]


def _decision(row: Mapping[str, Any]) -> Iterator[str]:
    name = "found in the kernel" if row.get("id") is None else clean(row["id"])
    by = f"{clean(row.get('origin', '?'))}: {clean(row.get('scenario', '?'))}"
    yield f"{name} on {clean(row.get('value', '?'))} by {by} ({clean(row.get('type', '?'))})"
    yield f"  until {clean(row.get('until', '?'))}, for {span(row.get('left'))} still"
    if row.get("policy", "default") != "default" or row.get("ports", "all") != "all":
        policy, ports, action = (clean(row.get(key, "?")) for key in ("policy", "ports", "action"))
        yield f"  policy {policy}: ports {ports}, {action}"


def _sparing(answer: Mapping[str, Any]) -> list[Line]:
    texts = []
    for each in several(answer, "never_block"):
        if isinstance(each, dict):
            left = "" if each.get("left") is None else f", for {span(each['left'])} still"
            texts.append(
                f"{clean(each.get('value', '?'))} is never blocked: {clean(each.get('source', '?'))}{left}"
            )
    return labelled("spared", texts, "green")


def _kernel(answer: Mapping[str, Any]) -> list[Line]:
    kernel, texts = block(answer, "kernel"), []
    if kernel.get("error"):
        return [Line("kernel", f"can't be asked: {clean(kernel['error'])}", "red")]
    for each in several(kernel, "sets"):
        if isinstance(each, dict):
            left = "" if each.get("left") is None else f", for {span(each['left'])} still"
            texts.append(f"{clean(each.get('set', '?'))} holds it{left}")
            texts += [f"  used by {clean(rule)}" for rule in several(each, "rules")]
    if "sets" in kernel and not texts:
        texts.append("no set of ours holds it")
    if "holding" in kernel and kernel.get("asked"):
        texts.append(
            f"asked about {count(kernel['asked'])} addresses: right about {count(kernel['holding'])}"
        )
    lines = labelled("kernel", texts)
    if answer.get("difference"):
        lines.append(Line("" if texts else "kernel", clean(answer["difference"]), "red"))
    return lines


def _sessions(answer: Mapping[str, Any]) -> list[Line]:
    if answer.get("sessions") is None:
        return []
    return [Line("sessions", f"{count(answer['sessions'])} open")]


def _notes(answer: Mapping[str, Any]) -> list[Line]:
    return labelled("note", map(clean, several(answer, "notes")), "yellow")
