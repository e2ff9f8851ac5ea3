"""What a configuration of crowdsec-firewall-bouncer says, as settings of ours that its service can use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwbouncer.config.keys import KEYS
from fwbouncer.config.load import draft
from fwbouncer.config.settings import Settings
from fwbouncer.config.show import quoted
from fwbouncer.config.source import Notes, gather
from fwbouncer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from fwbouncer.config.schema import Mode

# Where the service may write: its LogsDirectory.
LOGS = "/var/log/fwbouncer"
# How the LAPI is reached and convinced: these go together, and none of another configuration may be mixed in.
ACCESS = ("api_url", "api_urls", "api_key", "api_key_file", "cert_path", "key_path", "ca_cert_path")
FILES = ("cert_path", "key_path", "ca_cert_path")  # the service must be able to read them

Values = dict[str, tuple[str, ...] | str | None]  # a key's name -> what is written for it; None takes it away


@dataclass(frozen=True, slots=True)
class Takeover:
    """Their settings where they differ from our defaults, without the key, which belongs into a file of its own."""

    mode: Mode
    key: str | None
    values: Values
    notes: tuple[str, ...]  # what is not as it was


def read(path: Path, environ: Mapping[str, str]) -> Takeover:
    """Read their file and its overlay with the variables of `environ`; raises ConfigError for what can't run."""
    found = draft(path, environ)
    if found.config is None:
        raise ConfigError(*found.problems)
    notes = Notes()
    settings = Settings(path, gather(path, notes), environ, notes)
    told = [warning.removesuffix("; remove it") for warning in found.warnings]
    values: Values = {}
    for key in KEYS:
        texts = settings.written(key.name)
        if key.useless or key.name in ("api_key", "api_key_file") or not texts:
            continue
        if key.name in ("mode", "api_url") or settings[key.name] != settings.default(key):
            values[key.name] = texts if key.kind.many else texts[0]
    if values.get("log_mode") == "file" and not _below(values.get("log_dir", ""), LOGS):
        values["log_dir"] = LOGS
        told.append(f"log_dir: the service may write to {LOGS}, so its log is there from now on")
    return Takeover(found.config.mode, found.config.lapi.key, values, tuple(told))


def named(path: Path) -> frozenset[str]:
    """Return the keys that a file, without its overlay, says something for; none where there is no file."""
    try:
        return frozenset(gather(path, Notes(), overlaid=False))
    except ConfigError:
        return frozenset()


def text(values: Values, heading: Iterable[str]) -> str:
    """Write settings as YAML, below comment lines."""
    lines = [f"# {line}" for line in heading]
    opened: set[str] = set()
    for name, value in sorted(values.items(), key=_block_last):
        *blocks, last = name.split(".")
        for depth in range(len(blocks)):
            block = ".".join(blocks[: depth + 1])
            if block not in opened:
                opened.add(block)
                lines.append("  " * depth + blocks[depth] + ":")
        lines.append(("  " * len(blocks) + f"{last}: {_written(value)}").rstrip())
    return "".join(line + "\n" for line in lines)


def _block_last(item: tuple[str, object]) -> tuple[str, int]:
    """Sort keys that stand in no block first, and those of one block together; each in the table's order."""
    name = item[0]
    return name.rpartition(".")[0], next(at for at, key in enumerate(KEYS) if key.name == name)


def _written(value: tuple[str, ...] | str | None) -> str:
    if value is None:
        return ""
    return quoted(value) if isinstance(value, str) else "[" + ", ".join(map(quoted, value)) + "]"


def _below(folder: object, base: str) -> bool:
    return isinstance(folder, str) and (folder.rstrip("/") + "/").startswith(base + "/")
