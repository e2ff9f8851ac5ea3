"""Every test of the contract runs on every kernel there is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.contract.subjects import MemorySubject, NftSubject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.subjects import Subject
    from tests.lab.net import Network
    from tests.lab.packets import Probe


@pytest.fixture(params=["memory", "nftables", "owned nftables"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Be inside one kernel after the other."""
    if request.param == "memory":
        yield MemorySubject()
        return
    net: Network = request.getfixturevalue("net")
    probe: Probe = request.getfixturevalue("probe")
    with net.mail.inside(), contextlib.closing(_made(net, probe, owned=request.param != "nftables")) as made:
        yield made


def _made(net: Network, probe: Probe, *, owned: bool) -> NftSubject:
    return NftSubject(net=net, probe=probe, owned=owned)
