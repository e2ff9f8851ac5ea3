"""A real Prometheus on the mail host: scrapes fwbouncer each second, and answers the dashboard's queries."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

from tests.lab.scrape import PORT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.net import Host

URL = "http://127.0.0.1:9090"
_CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{alerts}"]
scrape_configs:
  - job_name: fwbouncer
    static_configs: [{{targets: ["127.0.0.1:{port}"], labels: {{instance: mail.example.net}}}}]
"""


class Prometheus:
    """One that runs until it is closed."""

    def __init__(self, host: Host, program: Path, folder: Path, alerts: Path) -> None:
        config = folder / "prometheus.yml"
        config.write_text(_CONFIG.format(alerts=alerts, port=PORT))
        self._host = host
        self._log = folder / "prometheus.log"
        with self._log.open("wb") as log:
            self._process = host.start(
                str(program),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:9090",
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self._wait()

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)

    def instant(self, query: str) -> list[dict[str, Any]]:
        """Return a query's series at this moment."""
        found: list[dict[str, Any]] = self._ask("query", query=query)["result"]
        return found

    def over(self, query: str, since: float, until: float, step: float) -> list[dict[str, Any]]:
        """Return a query's series over a time."""
        asked = {"query": query, "start": f"{since:.3f}", "end": f"{until:.3f}", "step": f"{step:g}"}
        found: list[dict[str, Any]] = self._ask("query_range", **asked)["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule and how it fares."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def _ask(self, what: str, **params: str) -> dict[str, Any]:
        url = f"{URL}/api/v1/{what}?{urllib.parse.urlencode(params)}"
        try:
            with self._host.inside(), urllib.request.urlopen(url, timeout=30) as answer:
                data: dict[str, Any] = json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{params}: {error.read().decode()}") from error
        return data

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                with self._host.inside(), urllib.request.urlopen(f"{URL}/-/ready", timeout=5):
                    return
            except OSError:
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.1)
