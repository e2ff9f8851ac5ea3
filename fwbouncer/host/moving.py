"""Moving in where crowdsec-firewall-bouncer was: its settings and key into our files, our service into its place.

Both keep tables and sets of the same names, both may use one key, and it removes what it made when it is stopped. So
it is killed first, which leaves its bans in the kernel until they end by themselves; then fwbouncer starts, takes over
what it finds, and replaces it in one transaction. Never do both run: they would take each other's news from the LAPI.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fwbouncer.config import takeover
from fwbouncer.config.load import load
from fwbouncer.config.schema import Mode
from fwbouncer.config.source import overlay_of
from fwbouncer.errors import ConfigError, FwbouncerError
from fwbouncer.host import installed, units

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OURS = "fwbouncer.service"
DROP_IN = Path(f"/etc/systemd/system/{OURS}.d/iptables.conf")
_SHIPPED_DROP_IN = "fwbouncer-iptables.conf"


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be written where."""

    source: Path
    target: Path  # our file; where it is there already, the settings go to its overlay
    mode: Mode
    key: str | None
    key_file: Path
    text: str  # the settings
    copies: Mapping[Path, Path]  # certificates that the service can't read where they are
    told: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    @property
    def settings_file(self) -> Path:
        """Return the file that gets the settings."""
        return overlay_of(self.target) if self.target.exists() else self.target


def plan(source: Path, target: Path, environ: Mapping[str, str]) -> Plan:
    """Read their configuration and say what becomes of it; raises ConfigError if it can't be run."""
    found = takeover.read(source, environ)
    values = dict(found.values)
    notes = list(found.notes)
    copies = _copies(values, target.parent, notes)
    key_file = _key_file(target.parent, found.key)
    if found.key is not None:
        values["api_key_file"] = str(key_file)
    # What our own file says about the LAPI must not get mixed in.
    ours = takeover.named(target)
    values |= {name: None for name in takeover.ACCESS if name in ours and name not in values}
    heading = (f"Taken over from {source} by `fwbouncer migrate`.",)
    told = [(name, _shown(value)) for name, value in values.items() if value is not None]
    if found.key is not None:
        told.append(("api_key", f"(hidden, {len(found.key)} characters)"))
    text = takeover.text(values, heading)
    return Plan(source, target, found.mode, found.key, key_file, text, copies, tuple(told), tuple(notes))


def _shown(value: tuple[str, ...] | str) -> str:
    return value if isinstance(value, str) else ", ".join(value)


def _key_file(folder: Path, key: str | None) -> Path:
    """Return where the key goes: a key that is there already, and is another one, is not overwritten."""
    usual = folder / "api.key"
    try:
        free = usual.read_text(encoding="ascii", errors="replace").strip() in ("", key)
    except OSError:
        free = True
    return usual if free else folder / "migrated.key"


def _copies(values: takeover.Values, folder: Path, notes: list[str]) -> dict[Path, Path]:
    """Find the certificates that root can read and the service can't, and name their copies instead."""
    copies = {}
    for name in takeover.FILES:
        path = values.get(name)
        if not isinstance(path, str) or installed.readable(original := Path(path)):
            continue
        copy = folder / original.name
        copies[original] = copy
        values[name] = str(copy)
        notes.append(
            f"{name}: the service may not read {original}, so it gets a copy; renew that, too: {copy}"
        )
    return copies


def write(plan: Plan) -> Iterator[str]:
    """Write key, certificates and settings; yield what was done. On a mistake the settings are as before."""
    for original, copy in plan.copies.items():
        if installed.put(copy, original.read_text(encoding="ascii")):
            yield f"copied {original} to {copy}"
    if plan.key is not None and installed.put(plan.key_file, plan.key + "\n"):
        yield f"wrote the key to {plan.key_file}"
    path = plan.settings_file
    former = path.read_text(encoding="utf-8") if path.exists() else None
    if not installed.put(path, plan.text):
        return
    try:
        load(plan.target, os.environ)
    except ConfigError:
        if former is None:
            path.unlink()
        else:
            installed.put(path, former)
        raise
    if former is not None:
        kept = path.with_name(path.name + ".before-migrate")
        installed.put(kept, former)
        yield f"kept the former {path.name} as {kept}"
    yield f"wrote the settings to {path}"


def change_places(plan: Plan, theirs: str) -> Iterator[str]:
    """Put our service into the place of theirs; yield what was done."""
    if not units.systemd_runs() or not units.known(OURS):
        yield f"there is no {OURS} here: end crowdsec-firewall-bouncer with SIGKILL, then start fwbouncer"
        return
    yield from _rights(plan)
    was_active, was_enabled = units.active(theirs), units.enabled(theirs)
    if was_active:
        with units.killed_when_stopped(theirs):
            units.stop(theirs)
        yield f"ended {theirs}; its bans are still in force"
    try:
        units.start(OURS)
    except FwbouncerError as error:
        raise _undone(error, theirs if was_active else None) from None
    yield f"started {OURS}: it enforces what the LAPI decides"
    if plan.mode is Mode.IPTABLES:
        from fwbouncer.host import leftovers  # noqa: PLC0415 - costs time, and few need it

        yield from leftovers.clear(load(plan.target, os.environ))
    units.enable(OURS)
    if was_enabled:
        units.disable(theirs)
        yield f"disabled {theirs}: it will not start at the next boot"
    yield from _registration(plan)


def _rights(plan: Plan) -> Iterator[str]:
    """Give the service what the mode iptables needs on top."""
    shipped = installed.shipped(_SHIPPED_DROP_IN)
    if plan.mode is not Mode.IPTABLES or shipped is None:
        return
    text = "# Written by fwbouncer migrate.\n" + shipped.read_text(encoding="utf-8")
    if installed.put(DROP_IN, text, 0o644):
        units.reload_units()
        yield f"wrote {DROP_IN}: the mode iptables needs more rights"


def _registration(plan: Plan) -> Iterator[str]:
    """Take their name at the LAPI along: Debian's package would delete it in a purge, and the key with it."""
    theirs = plan.source.with_name(plan.source.name + ".id")
    if plan.key is None or not theirs.is_file():
        return
    installed.put(plan.key_file.with_name("api.key.name"), theirs.read_text(encoding="utf-8"))
    theirs.unlink()
    yield "took over the name that the LAPI knows: a purge of crowdsec-firewall-bouncer leaves it alone"


def _undone(error: FwbouncerError, theirs: str | None) -> FwbouncerError:
    """Go back to their service; return what to say about it."""
    words = [str(error), *(f"  {line}" for line in units.last_words(OURS))]
    if theirs is not None:
        units.stop(OURS)
        units.start(theirs)
        words.append(f"{theirs} runs again")
    return FwbouncerError("\n".join(words))
