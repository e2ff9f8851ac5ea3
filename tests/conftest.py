"""The lab, for every test that asks for a part of it: namespaces, the real LAPI, packets, and the program."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests import effort
from tests.fake_lapi import FakeLapi
from tests.lab import crowdsec
from tests.lab.bouncer import Bouncer
from tests.lab.crowdsec import CrowdSec
from tests.lab.manager import Manager
from tests.lab.net import Network, network
from tests.lab.packets import Greeter, Probe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


effort.use()


@pytest.fixture(scope="session")
def _built_net() -> Iterator[Network]:
    if os.geteuid() != 0:
        pytest.fail("needs root, for network namespaces: run ./packaging/test")
    with network() as net:
        yield net


@pytest.fixture
def net(_built_net: Network) -> Iterator[Network]:
    """Three connected hosts whose kernels hold no rules, before and after the test."""
    yield _built_net
    for host in _built_net.hosts:
        host.run("nft", "flush", "ruleset")


@pytest.fixture(scope="session")
def _built_probe(_built_net: Network) -> Iterator[Probe]:
    with contextlib.closing(Probe(_built_net)) as probe:
        yield probe


@pytest.fixture
def probe(net: Network, _built_probe: Probe) -> Probe:
    """Sender of single packets and of streams to the mail host."""
    return _built_probe


@pytest.fixture
def greeter(net: Network) -> Iterator[Greeter]:
    """Something that listens on the mail host's port 25."""
    with contextlib.closing(Greeter(net.mail)) as greeter:
        yield greeter


@pytest.fixture(scope="session")
def _built_lapi(_built_net: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrowdSec]:
    root = crowdsec.unpacked()
    if root is None:
        pytest.fail("needs CrowdSec's package: ./packaging/test unpacks it")
    lapi = CrowdSec(_built_net.mail, tmp_path_factory.mktemp("crowdsec"), root)
    lapi.start()
    yield lapi
    lapi.stop()


@pytest.fixture
def lapi(net: Network, _built_lapi: CrowdSec) -> Iterator[CrowdSec]:
    """Run the real LAPI on the mail host, without a decision and with the bouncer's key."""
    yield _built_lapi
    if not _built_lapi.healthy():
        _built_lapi.start()
    _built_lapi.unban_all()
    with contextlib.suppress(AssertionError):
        _built_lapi.allow()


@pytest.fixture
def fake_lapi(net: Network) -> Iterator[FakeLapi]:
    """Run a LAPI on the mail host that says whatever a test tells it to say."""
    with net.mail.inside():
        fake = FakeLapi()
    with fake:
        yield fake


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Be what systemd would be to the program."""
    with contextlib.closing(Manager(tmp_path)) as manager:
        yield manager


class MakeBouncer(Protocol):
    """Makes a bouncer on the mail host; what is not set is as in the incumbent's own file."""

    def __call__(self, manager: Manager | None = None, **settings: Any) -> Bouncer:
        """Return it configured, but not started."""


@pytest.fixture
def bouncer(net: Network, tmp_path: Path) -> Iterator[MakeBouncer]:
    """Make bouncers that end with the test."""
    made: list[Bouncer] = []

    def make(manager: Manager | None = None, **settings: Any) -> Bouncer:
        folder = tmp_path / f"bouncer{len(made)}"
        folder.mkdir()
        made.append(Bouncer(net.mail, folder, manager, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()
