"""Every test of the contract runs on every kernel there is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.contract.kernels import KERNELS
from tests.contract.subjects import RealSubject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.subjects import Subject
    from tests.lab.net import Network


@pytest.fixture(params=list(KERNELS))
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Be inside one kernel after the other."""
    kind, how = KERNELS[request.param]
    if not issubclass(kind, RealSubject):
        yield kind()
        return
    net: Network = request.getfixturevalue("net")
    probe = request.getfixturevalue("probe")
    with net.mail.inside(), contextlib.closing(kind(net=net, probe=probe, **how)) as made:
        yield made
