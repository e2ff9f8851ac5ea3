"""Reads metrics as Prometheus does: over HTTP, with a parser that is not the program's."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.net import Host

PORT = 60601


class Scrape(Mapping[str, float]):
    """One page: `page["name{label=value,...}"]`, labels in the order of the alphabet."""

    def __init__(self, text: str) -> None:
        self.types: dict[str, str] = {}
        self._values: dict[str, float] = {}
        for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]
            self.types[family.name] = family.type
            for sample in family.samples:
                labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
                name = f"{sample.name}{{{labels}}}" if labels else sample.name
                assert name not in self._values, f"{name} stands there twice"
                self._values[name] = sample.value

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __iter__(self):  # type: ignore[no-untyped-def] # noqa: ANN204 - as Mapping's
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def named(self, name: str) -> dict[str, float]:
        """Return the samples of a name, by their labels."""
        begin = f"{name}{{"
        return {key[len(begin) : -1]: value for key, value in self.items() if key.startswith(begin)}


def scrape(host: Host, port: int = PORT, address: str = "127.0.0.1") -> Scrape:
    """Fetch the page from a port."""
    with host.inside():
        connection = http.client.HTTPConnection(address, port, timeout=30)
        connection.connect()
    return _page(connection)


def scrape_socket(path: Path) -> Scrape:
    """Fetch the page from a Unix socket."""
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(30)
    connection.sock.connect(str(path))
    return _page(connection)


def _page(connection: http.client.HTTPConnection) -> Scrape:
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200, text
    return Scrape(text)
