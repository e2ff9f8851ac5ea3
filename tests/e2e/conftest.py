"""The program in mode iptables, under both kinds of iptables."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.lab.xtables import VARIANTS, Bench, bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.bouncer import Bouncer
    from tests.lab.net import Network


@pytest.fixture(params=VARIANTS)
def inside(net: Network, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Be on the mail host, with one kind of iptables after the other."""
    with bench(net, request.param) as made:
        yield made


class Launch(Protocol):
    """Starts the program in mode iptables."""

    def __call__(self, running: Bouncer | None = None, **settings: Any) -> Bouncer:
        """Start one, or the same one again, and wait until its bans are in force."""


@pytest.fixture
def launch(inside: Bench, bouncer: MakeBouncer, fake_lapi: FakeLapi, tmp_path: Path) -> Launch:
    """Return what starts it, with this kind of iptables under the plain names."""
    for program in ("iptables", "ip6tables"):
        for verb in ("", "-save", "-restore"):
            (tmp_path / f"{program}{verb}").symlink_to(f"/usr/sbin/{program}-{inside.variant}{verb}")
    path = f"{tmp_path}:{os.environ['PATH']}"

    def start(running: Bouncer | None = None, **settings: Any) -> Bouncer:
        usual: dict[str, Any] = {"api_url": fake_lapi.url, "mode": "iptables", "iptables_chains": ["INPUT"]}
        running = running or bouncer(None, **usual, **settings)
        running.start(PATH=path)
        return running

    return start
