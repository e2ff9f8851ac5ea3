"""Follows what bans close: the policies of the configuration, and the ports of James where they are asked for."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from fwbouncer.core.ports import NO_PORTS, words
from fwbouncer.core.sorting import Sorting
from fwbouncer.host import outgoing
from fwbouncer.host.james import James
from fwbouncer.host.logs import fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fwbouncer.config.schema import Config
    from fwbouncer.core.book import Book
    from fwbouncer.core.policy import Policies
    from fwbouncer.host.james import Reading

_log = logging.getLogger("fwbouncer.scope")

_LOOK = 1.0  # seconds between two looks at James's files


class Scope:
    """The one who knows which ports are meant. `sorting` says where each decision goes."""

    def __init__(self, config: Config) -> None:
        self.sorting = Sorting(config.policies)
        self._config = config
        self._james = James(config.james_conf) if config.james_conf else None
        self._told = ""

    @property
    def reading(self) -> Reading | None:
        """Return what James's files say; None where nobody told where they are."""
        return self._james.reading() if self._james else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what the administrator should know now."""
        reading = self.reading
        if reading is None:
            return ()
        return reading.warnings(asked=self._config.policies.asks_james, proxies=bool(self._config.proxies))

    def resolve(self, config: Config) -> Config:
        """Return the configuration with the ports that James's files name, read now."""
        if config.james_conf is None:
            self._james = None
        elif self._james is None or self._james.folder != config.james_conf:
            self._james = James(config.james_conf)
        self._config = config
        if self._james is not None:
            self._james.read()
            self._james.tell()
        policies = self._with_ports(config.policies)
        self._say(policies)
        return replace(config, policies=policies)

    def take_over(self, policies: Policies, book: Book) -> None:
        """Sort by other policies from now on: what is known moves, and the next snapshot brings what isn't."""
        if self.sorting.change_to(policies):
            book.sort_anew(self.sorting)

    async def changes(self) -> AsyncIterator[None]:
        """Yield whenever James's files say something else; what then holds, `resolve` tells."""
        while True:
            await asyncio.sleep(_LOOK)
            james = self._james
            if james is not None and await asyncio.to_thread(james.look):
                james.tell()
                yield

    def again(self, config: Config) -> Config:
        """Return the configuration with what is known of James now, without reading anything."""
        policies = self._with_ports(config.policies)
        self._say(policies)
        return replace(config, policies=policies)

    def _with_ports(self, policies: Policies) -> Policies:
        reading = self.reading
        known = policies.with_james(reading.ports if reading else NO_PORTS)
        return replace(known, outgoing=outgoing.ports())

    def _say(self, policies: Policies) -> None:
        """Log which ports are meant, where that isn't all and always."""
        closed = [
            f"{policy.name or 'default'}: {words(policy.ports)}" for policy in policies if not policy.passes
        ]
        text = "; ".join(closed)
        if text not in (self._told, "default: all"):
            _log.info("ports that bans close: %s", text, extra=fields("ports"))
        self._told = text
