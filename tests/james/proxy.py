"""HAProxy on the mail host: it takes clients at an address of its own and tells James who they are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.crowdsec.james import PORTS, PROXIED
from tests.lab.crowdsec import libraries
from tests.lab.net import HONEST, MAIL
from tests.lab.packets import dial

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.net import Network

ADDRESSES = {4: "192.0.2.80", 6: "2001:db8:25::80"}
ABOVE = 1000  # James itself listens on every address, so the proxy's ports are this much higher
_CONFIG = """
global
    log stdout format raw local0
defaults
    mode tcp
    log global
    timeout connect 10s
    timeout client 5m
    timeout server 5m
"""
_LISTEN = """
listen {name}
    bind {four}:{port}
    bind [{six}]:{port}
    server james {mail}:{proxied} source {four} send-proxy-v2
"""


def _listen(name: str) -> str:
    port = PORTS[name]
    return _LISTEN.format(
        name=name,
        four=ADDRESSES[4],
        six=ADDRESSES[6],
        port=port + ABOVE,
        mail=MAIL[4],
        proxied=port + PROXIED,
    )


class HaProxy:
    """Runs until it is closed."""

    def __init__(self, net: Network, folder: Path, root: Path) -> None:
        net.mail.ip("address", "add", f"{ADDRESSES[4]}/32", "dev", "lo")
        net.mail.ip("address", "add", f"{ADDRESSES[6]}/128", "dev", "lo", "nodad")
        config = folder / "haproxy.cfg"
        config.write_text(_CONFIG + "".join(_listen(name) for name in ("smtp", "imap", "pop3")))
        program = root / "usr/sbin/haproxy"
        with (folder / "haproxy.log").open("ab") as log:
            self._process = net.mail.start(
                "env",
                f"LD_LIBRARY_PATH={libraries(root)}",
                str(program),
                "-db",
                "-f",
                str(config),
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 20
        while dial(net.honest, HONEST[4], ADDRESSES[4], PORTS["smtp"] + ABOVE) == "refused":
            assert time.monotonic() < deadline, (folder / "haproxy.log").read_text()
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
