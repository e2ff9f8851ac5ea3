"""The command `unblock`: lets an address pass for a while, lists who is let pass, ends it early."""
# ruff: noqa: T201 - a command prints

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from fwbouncer.config.never_block import spared
from fwbouncer.control.status import span
from fwbouncer.core.addresses import shown
from fwbouncer.core.duration import nanoseconds
from fwbouncer.errors import ConfigError
from fwbouncer.exits import FINE, clean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Ask = Callable[..., dict[str, Any]]

LONGEST = 30 * 86400  # seconds; whoever needs longer writes it into never_block


def run(options: argparse.Namespace, ask: Ask) -> int:
    """Ask the daemon, and print what it says."""
    if options.list:
        answer = ask()
        lines = [f"{address}  {span(left)} left" for address, left in answer.get("unblocked", {}).items()]
    elif options.cancel is not None:
        answer = ask(cancel=_address(options.cancel))
        lines = [f"{answer.get('cancelled')} is no longer unblocked"]
    else:
        answer = ask(address=_address(options.address), seconds=seconds(options.span))
        lines = _told(answer)
    if options.json:
        del answer["protocol"]
        print(json.dumps(answer, indent=2))
    else:
        print("".join(clean(line) + "\n" for line in lines), end="")
    return FINE


def seconds(text: str) -> float:
    """Read a time like 90s, 1h30m or 7d; raises ConfigError for none, or one that is too long."""
    days = re.fullmatch(r"([0-9]{1,3})d", text, re.ASCII)
    length = int(days[1]) * 86400 * 10**9 if days else nanoseconds(text)
    if length is None or not 0 < length <= LONGEST * 10**9:
        raise ConfigError(f"--for: '{clean(text[:60])}' is no time up to 30d; write one like 30m, 1h or 7d")
    return length / 10**9


def _address(text: str) -> str:
    try:
        return shown(spared(text))
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _told(answer: dict[str, Any]) -> list[str]:
    banned = answer.get("banned_by")
    bans = f"; it is banned by {', '.join(map(str, banned))}" if banned else "; nothing bans it now"
    lines = [f"{answer.get('address')} passes for {span(answer.get('seconds'))}{bans}"]
    if not answer.get("survives_restart"):
        lines.append("it could not be written down, so it ends with this daemon")
    return lines
