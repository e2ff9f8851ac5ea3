"""The kernels that the contract is tried on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.memory_subject import MemorySubject
from tests.contract.nft_subject import NftSubject
from tests.contract.xtables_subject import IpsetSubject, IptablesSubject

if TYPE_CHECKING:
    from tests.contract.subjects import Subject

KERNELS: dict[str, tuple[type[Subject], dict[str, Any]]] = {
    "memory": (MemorySubject, {}),
    "nftables": (NftSubject, {"owned": False}),
    "owned nftables": (NftSubject, {"owned": True}),
    "iptables-nft": (IptablesSubject, {"variant": "nft"}),
    "iptables-legacy": (IptablesSubject, {"variant": "legacy"}),
    "ipset": (IpsetSubject, {"variant": "nft"}),
}


def where(ability: str) -> pytest.MarkDecorator:
    """Try a test on those kernels that can do what it is about; `Subject` says why others can't."""
    able = [name for name, (kind, _) in KERNELS.items() if getattr(kind, ability)]
    return pytest.mark.parametrize("subject", able, indirect=True)
