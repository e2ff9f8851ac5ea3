"""The CrowdSec that reads logs on this host: its parsers and scenarios for James, and where it reads."""

from __future__ import annotations

import glob
import re
from typing import TYPE_CHECKING, Any

import yaml

from fwbouncer.doctor.facts import Acquisition, CrowdSecItem, Engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = re.compile(r"^name:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)
_MOST = 1 << 18  # bytes of a file


def here(root: Path) -> bool:
    """Tell whether a CrowdSec is installed."""
    return (root / "etc/crowdsec/config.yaml").is_file()


def look(root: Path) -> Engine | None:
    """Read what is installed; None where no CrowdSec is."""
    if not here(root):
        return None
    folder = root / "etc/crowdsec"
    return Engine(folder, tuple(_items(folder)), tuple(_acquisitions(root, folder)))


def _items(folder: Path) -> Iterator[CrowdSecItem]:
    for kind, pattern in (("parsers", "parsers/*/*.y*ml"), ("scenarios", "scenarios/*.y*ml")):
        for path in sorted(folder.glob(pattern)):
            text = _text(path)
            for name in _NAME.findall(text):
                yield CrowdSecItem(kind, name, path, text if "james" in name.lower() else "")


def _acquisitions(root: Path, folder: Path) -> Iterator[Acquisition]:
    for path in (folder / "acquis.yaml", *sorted((folder / "acquis.d").glob("*.y*ml"))):
        try:
            documents = [each for each in yaml.safe_load_all(_text(path)) if isinstance(each, dict)]
        except yaml.YAMLError:
            continue  # `crowdsec -t` tells of it, and CrowdSec doesn't start
        for each in documents:
            yield _acquisition(root, path, each)


def _acquisition(root: Path, path: Path, told: dict[str, Any]) -> Acquisition:
    labels = told.get("labels")
    names = told.get("filenames") or ([told["filename"]] if told.get("filename") else [])
    files = tuple(str(name) for name in names) if isinstance(names, list) else ()
    return Acquisition(
        path=path,
        kind=str(labels.get("type", "")) if isinstance(labels, dict) else "",
        source=str(told.get("source") or "file"),
        files=files,
        missing=tuple(name for name in files if not glob.glob(str(root / name.lstrip("/")))),  # noqa: PTH207
    )


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST).decode(errors="replace")
    except OSError:
        return ""
