"""Where the kernel and what is wanted differ, `explain` says so, believes the kernel, and has it put right."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from fwbouncer.config.schema import Mode
from fwbouncer.core.book import Book
from fwbouncer.core.model import Family, Kind, SetKey
from fwbouncer.core.policy import EVERYTHING, Action
from fwbouncer.daemon.explain import explain
from fwbouncer.daemon.keeper import Keeper
from fwbouncer.daemon.listing import Dates
from fwbouncer.errors import ControlError, KernelError
from fwbouncer.kernel.memory import Memory
from tests.unit.core_naive import HOUR, LABELS, page

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwbouncer.daemon.parts import Parts
    from fwbouncer.kernel.backend import Held

NOW = 100 * HOUR
HOST, OTHER = bytes([192, 0, 2, 7]), bytes([192, 0, 2, 8])
SET = SetKey(LABELS[0].group, Family.V4, Kind.HOSTS)


class Deaf(Memory):
    """A kernel that can't be asked for one address."""

    deaf = False

    def holders(self, address: bytes) -> list[Held]:
        """Refuse, or answer."""
        if self.deaf:
            raise KernelError("Operation not permitted")
        return super().holders(address)


def _explained(
    spoil: Callable[[Deaf, Keeper], None], text: str, mode: Mode = Mode.NFTABLES
) -> dict[str, Any]:
    """Ban one host, let somebody spoil it, and explain an address; nobody puts anything right meanwhile."""

    async def scene() -> dict[str, Any]:
        kernel = Deaf(lambda: NOW)
        keeper = Keeper(Book(), kernel, lambda: NOW)
        await keeper.step()
        keeper.book.take(page([(1, HOST, NOW + HOUR, LABELS[0])], startup=True), NOW)
        await keeper.step()
        spoil(kernel, keeper)
        config = SimpleNamespace(
            mode=mode,
            families=tuple(Family),
            nft={},
            policies=EVERYTHING,
            deny=SimpleNamespace(action=Action.DROP),
        )
        guardian = SimpleNamespace(sources=dict)
        parts = cast("Parts", SimpleNamespace(config=config, keeper=keeper, guardian=guardian))
        keeper._wake.clear()
        answer = await explain(parts, {"address": text}, Dates(NOW, NOW))
        answer["woken"] = keeper._wake.is_set()
        keeper.close()
        return answer

    return asyncio.run(scene())


def _nothing(kernel: Deaf, keeper: Keeper) -> None:
    del kernel, keeper


def test_in_step() -> None:
    """Where both agree, there is no difference to tell, and nothing to do."""
    answer = _explained(_nothing, "192.0.2.7")
    assert (answer["verdict"], answer["difference"], answer["woken"]) == ("blocked", None, False)
    assert _explained(_nothing, "192.0.2.8")["verdict"] == "not blocked"


def test_the_kernel_lacks_it() -> None:
    """A ban that somebody took out of the kernel is called not blocked, and is put back."""
    answer = _explained(lambda kernel, _: kernel.interfere(SET, HOST, 0), "192.0.2.7")
    assert answer["verdict"] == "not blocked"
    assert "lacks it" in answer["difference"]
    assert answer["woken"]
    assert [row["id"] for row in answer["decisions"]] == [1]


def test_the_kernel_has_too_much() -> None:
    """A ban that nobody decided is called blocked, and is taken out."""
    answer = _explained(lambda kernel, _: kernel.interfere(SET, OTHER, NOW + HOUR), "192.0.2.8")
    assert (answer["verdict"], answer["decisions"]) == ("blocked", [])
    assert "must not hold" in answer["difference"]
    assert answer["woken"]


def test_a_kernel_that_refuses_changes_is_named() -> None:
    """Where writing fails, that is the difference's reason."""

    def spoil(kernel: Deaf, keeper: Keeper) -> None:
        kernel.flush()
        keeper.last_error = "Invalid argument"

    assert "Invalid argument" in _explained(spoil, "192.0.2.7")["difference"]


def test_a_kernel_that_cannot_be_asked() -> None:
    """Then what is wanted is told, and that the kernel gave no word."""

    def spoil(kernel: Deaf, _: Keeper) -> None:
        kernel.deaf = True

    answer = _explained(spoil, "192.0.2.7")
    assert (answer["verdict"], answer["difference"]) == ("blocked", None)
    assert answer["kernel"]["error"] == "Operation not permitted"


def test_a_dry_run_blocks_nothing() -> None:
    """In mode dry-run the decisions are told, and that they block nobody."""
    answer = _explained(_nothing, "192.0.2.7", Mode.DRY_RUN)
    assert answer["verdict"] == "not blocked"
    assert answer["notes"] == ["mode dry-run: nothing is ever blocked"]


@pytest.mark.parametrize(
    "text", ["", "nonsense", "192.0.2.7/24", "192.0.2.0/33", "fe80::1%eth0", "x" * 10_000]
)
def test_nonsense_is_refused(text: str) -> None:
    """What is no address is said to be none, in few words."""
    with pytest.raises(ControlError) as caught:
        _explained(_nothing, text)
    assert len(str(caught.value)) < 300
