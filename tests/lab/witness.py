"""What the kernel holds, as nft tells it: nothing here shares code with fwbouncer."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.lab.net import Host

NETLINK_NETFILTER = 12
NFT_MSG_GETGEN = 10 << 8 | 16
NEVER_BLOCK = "-never-block"  # how the name of the set ends that bans nobody
TABLES = {4: ("ip", "crowdsec"), 6: ("ip6", "crowdsec6")}


def ruleset(host: Host) -> list[dict[str, Any]]:
    """Return every object in the host's kernel but the description of the listing itself."""
    listing = json.loads(host.run("nft", "-j", "list", "ruleset"))["nftables"]
    return [entry for entry in listing if "metainfo" not in entry]


def tables(host: Host) -> set[tuple[str, str]]:
    """Return the family and name of every table."""
    listing = json.loads(host.run("nft", "-j", "list", "tables"))["nftables"]
    return {(entry["table"]["family"], entry["table"]["name"]) for entry in listing if "table" in entry}


def _text(value: Any) -> str:
    if isinstance(value, dict) and "prefix" in value:
        return f"{value['prefix']['addr']}/{value['prefix']['len']}"
    if isinstance(value, dict) and "range" in value:
        return "-".join(value["range"])
    return str(value)


def elements(host: Host, version: int) -> dict[str, int]:
    """Return every banned address, prefix and range in a family's table, with the seconds that it has left."""
    family, table = TABLES[version]
    if (family, table) not in tables(host):
        return {}
    found: dict[str, int] = {}
    for entry in json.loads(host.run("nft", "-j", "list", "table", family, table))["nftables"]:
        told = entry.get("set", {})
        for item in [] if told.get("name", "").endswith(NEVER_BLOCK) else told.get("elem", []):
            one = item["elem"] if isinstance(item, dict) and "elem" in item else {"val": item}
            found[_text(one["val"])] = one.get("expires", -1)
    return found


def banned(host: Host) -> set[str]:
    """Return everything that is in a set, of both families."""
    return {*elements(host, 4), *elements(host, 6)}


class Monitor:
    """Watches the host's ruleset and counts its generations: one for each transaction."""

    def __init__(self, host: Host) -> None:
        self._process = host.start("nft", "monitor", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        time.sleep(0.2)  # nft says nothing when it is ready

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.lines.append(line.decode().rstrip())

    def generations(self) -> int:
        """Count the transactions so far."""
        return sum(line.startswith("# new generation") for line in list(self.lines))

    def close(self) -> None:
        """Stop watching."""
        self._process.kill()
        self._thread.join()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()


def generation(host: Host) -> int:
    """Return the ruleset's generation: the kernel adds one for each transaction that it takes."""
    with host.inside():
        asker = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    with asker:
        header = struct.pack("=IHHII", 20, NFT_MSG_GETGEN, 1, 1, 0)  # length, type, request, sequence, port
        asker.send(header + b"\0\0\0\0")
        answer = asker.recv(4096)
    # Behind both headers: length, attribute 1 and, in network order, the generation.
    return int(struct.unpack_from("!I", answer, 24)[0])
