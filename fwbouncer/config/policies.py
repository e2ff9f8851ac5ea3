"""The part of the configuration that says what a ban closes: `protect`, `policies` and the verdicts."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwbouncer.config.keys import POLICY_KEYS
from fwbouncer.config.kinds import show
from fwbouncer.config.ports import gathered
from fwbouncer.config.schema import Mode
from fwbouncer.core.policy import MOST, Action, Match, Policies, Policy
from fwbouncer.core.ports import Ports

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwbouncer.config.ports import Wish
    from fwbouncer.config.settings import Settings
    from fwbouncer.config.source import Block

# Where James's folder is, as its packages, its archive and its image have it.
JAMES_CONF = tuple(map(Path, ("/etc/james", "/etc/james/conf", "/opt/james/conf", "/root/conf")))
# Any of these says that a folder is James's.
JAMES_FILES = (
    "smtpserver.xml", "imapserver.xml", "pop3server.xml", "lmtpserver.xml", "managesieveserver.xml",
    "jmap.properties", "webadmin.properties",
)  # fmt: skip
_PASS = "pass"  # noqa: S105 - no password
_VERDICTS = {"drop": Action.DROP, "reject": Action.REJECT, _PASS: None}
_NO_RULES = "the rules are yours in mode {}: which ports a ban closes is up to them"


def policies(settings: Settings, mode: Mode, *, sets_only: bool) -> Policies:
    """Build the policies, noting everything that is wrong with them."""
    listed, james = _ports(settings)
    default = Policy(listed=listed, james=james, reset=_together(settings["protect.reset_ports"]))
    named: list[Policy] = []
    for block in settings.blocks("policies"):
        policy = _policy(settings, block, default)
        if policy is None:
            continue
        if any(policy.name == other.name for other in named):
            settings.notes.error(
                block.place, "policies", f"a second policy called {policy.name}; give it another name"
            )
        named.append(policy)
    if len(named) > MOST:
        settings.error(
            "policies", f"are {len(named)}, and at most {MOST} are possible; join some, with lists of globs"
        )
    found = Policies(
        default, tuple(named), frozenset(word.lower() for word in settings["supported_decisions_types"])
    )
    if sets_only:
        _warn_powerless(settings, mode, found)
    return found


def james_folder(settings: Settings, wanted: Policies) -> Path | None:
    """Return the folder that the ports are read from; None where nobody asks for them."""
    given: Path | None = settings["protect.james_conf"]
    if not wanted.asks_james or (given is None and settings.given("protect.james_conf")):
        return given  # a path that is wrong in itself has been noted
    if given is not None:
        problem = _lacking(given)
        if problem:
            settings.error("protect.james_conf", problem)
        return given
    for folder in JAMES_CONF:
        if _lacking(folder) is None:
            return folder
    settings.error(
        "protect.ports",
        f"`james` finds no configuration of James in {', '.join(map(str, JAMES_CONF))}; "
        "name its folder in protect.james_conf, and let the group `fwbouncer` read it",
    )
    return None


def _lacking(folder: Path) -> str | None:
    """Say why a folder can't be James's."""
    try:
        present = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        return (
            f"{folder} can't be read: {error.strerror}; check the path, and let the group `fwbouncer` read the folder "
            "(the service sees neither /root nor /home)"
        )
    if not present.intersection(JAMES_FILES):
        return f"{folder} holds none of {', '.join(JAMES_FILES)}; name the folder that holds them"
    return None


def _ports(settings: Settings) -> tuple[Ports | None, bool]:
    try:
        return gathered(settings["protect.ports"])
    except ValueError as error:
        settings.error("protect.ports", str(error))
        return None, False


def _policy(settings: Settings, block: Block, default: Policy) -> Policy | None:
    values = {key.name: _values(settings, block, key.name) for key in POLICY_KEYS}
    if not values["name"]:
        if "name" not in block.entries:
            settings.notes.error(block.place, "policies", "a policy without a name; add `name:`")
        return None
    match = Match(values["scenario"], values["origin"], values["type"])
    name: str = values["name"][0]
    if match == Match():
        settings.notes.warn(
            block.place, f"policies: {name}", "matches every decision, so that none goes to those behind it; "
            "say `scenario:`, `origin:` or `type:`"
        )  # fmt: skip
    listed, james = default.listed, default.james
    if values["ports"]:
        listed, james = _wished(settings, block, values["ports"])
    verdict = _verdict(settings, block, values["verdict"])
    reset = _together(values["reset_ports"]) or default.reset
    return Policy(name, match, listed, james, _VERDICTS.get(verdict), verdict == _PASS, reset)


def _values(settings: Settings, block: Block, name: str) -> tuple[Any, ...]:
    """Read one key of a policy; what is wrong is noted, and left out."""
    key = next(key for key in POLICY_KEYS if key.name == name)
    entry = block.entries.get(name)
    values = []
    for text in settings.texts(entry, many=key.kind.many) if entry else ():
        if not text.text:
            settings.notes.error(text.place, f"policies: {name}", "an empty item; remove it")
            continue
        try:
            values.append(key.kind.parse(text.text))
        except ValueError as error:
            settings.notes.error(text.place, f"policies: {name}", str(error))
    return tuple(values)


def _wished(settings: Settings, block: Block, wishes: Iterable[Wish]) -> tuple[Ports | None, bool]:
    try:
        return gathered(wishes)
    except ValueError as error:
        settings.notes.error(block.entries["ports"].place, "policies: ports", str(error))
        return None, False


def _verdict(settings: Settings, block: Block, written: tuple[str, ...]) -> str:
    if not written:
        return ""
    word = written[0].casefold()
    if word not in _VERDICTS:
        near = get_close_matches(word, _VERDICTS, 1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(_VERDICTS)}"
        settings.notes.error(
            block.entries["verdict"].place, "policies: verdict", f"{show(written[0])} is not known; {hint}"
        )
    return word


def _warn_powerless(settings: Settings, mode: Mode, found: Policies) -> None:
    """Say what can't be enforced where we make no rules."""
    word = "set-only" if mode is Mode.NFTABLES else mode.value
    reason = _NO_RULES.format(word)
    if settings.given("protect.ports") and found.default.listed is not None:
        settings.warn("protect.ports", f"has no effect: {reason}")
    if found.default.reset:
        settings.warn("protect.reset_ports", f"has no effect: {reason}")
    if any(not policy.passes for policy in found.named):
        settings.warn("policies", f"only `verdict: pass` has an effect: {reason}")


def _together(several: Iterable[Ports]) -> Ports:
    return Ports.together(several)
