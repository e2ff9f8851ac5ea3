"""A short run of the fault runner in each setting, and that its model is no fool; `make faults` runs longer ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.run import run
from tests.faults.settings import SETTINGS
from tests.lab.net import network

if TYPE_CHECKING:
    from pathlib import Path

STEPS = {"unowned": 450, "owned": 450, "kept": 100}


@pytest.mark.parametrize("name", STEPS)
def test_no_fault_breaks_a_promise(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever fails, no packet passes that must not, none is dropped that may not, and nothing is left behind."""
    with network() as net:
        figures = run(net, tmp_path, SETTINGS[name], steps=STEPS[name], seed=1)
    with capsys.disabled():
        print(f"\n{figures}")
