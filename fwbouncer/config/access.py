"""The part of the configuration that opens the LAPI: addresses, key, certificates, and their files."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from fwbouncer.config import kinds
from fwbouncer.config.schema import Lapi
from fwbouncer.config.source import Place

if TYPE_CHECKING:
    from pathlib import Path

    from fwbouncer.config.settings import Settings

_MOST_KEY_BYTES = 4096


def lapi(settings: Settings) -> Lapi:
    """Build the LAPI's part, noting everything that would keep it from working."""
    _certificates(settings)
    lists = ("scopes", "origins", "scenarios_containing", "scenarios_not_containing")
    chosen: dict[str, Any] = {name: settings[name] for name in lists}
    return Lapi(
        urls=_urls(settings),
        key=_key(settings),
        key_file=settings["api_key_file"],
        cert_path=settings["cert_path"],
        key_path=settings["key_path"],
        ca_cert_path=settings["ca_cert_path"],
        insecure_skip_verify=settings["insecure_skip_verify"],
        update_frequency=settings["update_frequency"],
        resync_interval=settings["resync_interval"],
        **chosen,
    )


def _urls(settings: Settings) -> tuple[str, ...]:
    one, several = settings["api_url"], settings["api_urls"]
    if settings.given("api_url") and settings.given("api_urls"):
        settings.error("api_urls", f"api_url stands in {settings.where('api_url')}; keep one of them")
    elif not settings.given("api_url") and not settings.given("api_urls"):
        settings.notes.error(
            settings.where("api_url"),
            "",
            "unable to configure bouncer: config does not contain LAPI url; add `api_url: http://127.0.0.1:8080/`",
        )
    if len(set(several)) < len(several):
        settings.error("api_urls", "the same address stands in the list twice; remove one")
    return several or ((one,) if one else ())


def _key(settings: Settings) -> str | None:
    """Return the API key, from where it stands; check that there is exactly one way to authenticate."""
    if settings.given("api_key") and settings.given("api_key_file"):
        settings.error("api_key_file", f"api_key stands in {settings.where('api_key')}; keep one of them")
    key: str | None = settings["api_key"]
    if settings.given("api_key_file"):
        key = _key_from_file(settings)
    if settings.literal("api_key"):
        place = settings.where("api_key")
        _warn_readable(settings, "api_key", place.file if isinstance(place, Place) else place)
    has_key = settings.given("api_key") or settings.given("api_key_file")
    has_certificate = settings.given("cert_path") or settings.given("key_path")
    if not has_key and not has_certificate:
        settings.notes.error(
            settings.where("api_key"),
            "",
            "unable to configure bouncer: config does not contain LAPI key or certificate; "
            "add `api_key:` with a key from `cscli bouncers add fwbouncer`",
        )
    elif has_key and has_certificate:
        settings.notes.error(
            settings.where("cert_path" if settings.given("cert_path") else "key_path"),
            "",
            "unable to configure bouncer: api client init: cannot use both API key and certificate auth; "
            "keep one of them",
        )
    return key


def _key_from_file(settings: Settings) -> str | None:
    path = settings["api_key_file"]
    if path is None:
        return None  # the path itself is wrong, and that has been noted
    try:
        text = _start_of(path).decode("ascii").strip()
    except OSError as error:
        settings.error("api_key_file", _unreadable(path, error))
        return None
    except UnicodeDecodeError:
        settings.error("api_key_file", "the file holds no key, but something binary; put the key alone in it")
        return None
    if not text:
        settings.error("api_key_file", "the file is empty; put the key in it")
        return None
    _warn_readable(settings, "api_key_file", path)
    try:
        key: str = kinds.API_KEY.parse(text)
    except ValueError as error:
        settings.error("api_key_file", str(error))
        return None
    return key


def _unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no {path}; put the key there that `cscli bouncers add fwbouncer` prints"
    return f"can't be read: {error.strerror}; check the path and who may read it"


def _start_of(path: Path) -> bytes:
    """Read a small file, and don't wait where it turns out to be a pipe."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        return file.read(_MOST_KEY_BYTES) or b""


def _certificates(settings: Settings) -> None:
    for name, other in (("cert_path", "key_path"), ("key_path", "cert_path")):
        if settings.given(name) and not settings.given(other):
            settings.error(name, f"needs {other} beside it; add that")
    for name in ("cert_path", "key_path", "ca_cert_path"):
        path = settings[name]
        if path is None:
            continue
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                settings.error(name, "is not a file; name a file in PEM format")
        except OSError as error:
            settings.error(name, f"can't be read: {error.strerror}; check the path and who may read it")
    if settings["key_path"] is not None:
        _warn_readable(settings, "key_path", settings["key_path"])


def _warn_readable(settings: Settings, name: str, path: Path) -> None:
    """Warn of a secret that everybody can read; its group may, because that is how the service does."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # reported by whoever reads it
    if mode & stat.S_IROTH:
        settings.warn(name, f"{path} holds a secret and can be read by others; chmod it to 0640")
