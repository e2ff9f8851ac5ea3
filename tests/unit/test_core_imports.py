"""The folders are the architecture: who may know whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "fwbouncer"
FOUNDATION = {"core", "errors"}
# Room -> the rooms that it may import from, besides itself.
MAY_KNOW = {
    "errors": set[str](),
    "core": {"errors"},
    "config": FOUNDATION,
    "lapi": FOUNDATION | {"config"},
    "kernel": FOUNDATION | {"config"},
    "host": FOUNDATION | {"config", "kernel"},  # systemd keeps the kernel's socket for us
    "control": FOUNDATION | {"config"},
    "doctor": FOUNDATION | {"config", "lapi", "kernel", "host", "control"},
    "daemon": FOUNDATION | {"config", "lapi", "kernel", "host", "control"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def _room(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(module: Path) -> set[str]:
    found = set[str]()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where they lead"
            found.add(f"{node.module}")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_imports_point_one_way(module: Path) -> None:
    """Cli -> daemon -> lapi, kernel, host, control -> config -> core -> errors; lapi and kernel are strangers."""
    room = _room(module)
    if room in MAY_KNOW:
        rooms = {name.split(".")[1] for name in _imports(module) if name.startswith("fwbouncer.")}
        known = {name for name in rooms if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()}
        assert known <= MAY_KNOW[room] | {room}


@pytest.mark.parametrize("module", [m for m in MODULES if _room(m) == "core"], ids=lambda module: module.name)
def test_the_core_is_pure(module: Path) -> None:
    """No clock, no socket, no file, no log and no task: whoever calls the core can repeat what it did."""
    impure = {
        "time",
        "datetime",
        "socket",
        "os",
        "logging",
        "asyncio",
        "threading",
        "subprocess",
        "random",
        "pathlib",
    }
    assert not {name.split(".")[0] for name in _imports(module)} & impure
