"""Tables that belong to our socket and that no configuration names any more: left by one with other names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.core.model import Family
from fwbouncer.kernel import nft, wire
from fwbouncer.kernel.nft import Verb, request
from fwbouncer.kernel.wire import NLM_F_DUMP

if TYPE_CHECKING:
    from collections.abc import Collection

    from fwbouncer.kernel.socket import NetlinkSocket

_Table = tuple[Family, str]


def belonging(sock: NetlinkSocket) -> list[_Table]:
    """List the tables that this socket owns."""
    found = []
    for family in Family:
        for reply in sock.dump(request(Verb.GET_TABLE, family, flags=NLM_F_DUMP, about="list tables")):
            fields = wire.table(reply.payload[4:])
            if wire.number(fields.get(7, b"")) == sock.port:
                found.append((family, wire.string(fields[1])))
    return found


def clear(sock: NetlinkSocket, named: Collection[_Table]) -> list[_Table]:
    """Delete the tables that the socket owns, but for those that are named; return those that went."""
    gone = [table for table in belonging(sock) if table not in named]
    if gone:
        sock.send_all(
            *nft.transaction(
                [
                    request(Verb.DEL_TABLE, family, wire.text(1, name), about=f"delete table {name}")
                    for family, name in gone
                ]
            )
        )
    return gone
