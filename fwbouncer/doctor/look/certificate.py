"""How long a certificate holds, read from its DER form: the standard library tells it of CAs and peers only."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fwbouncer.doctor.facts import Certificate
from fwbouncer.doctor.look.program import CantLookError

if TYPE_CHECKING:
    from pathlib import Path

_SEQUENCE, _VERSION = 0x30, 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_MOST = 1 << 20
_BEGIN = "-----BEGIN CERTIFICATE-----"


def from_file(role: str, path: Path) -> Certificate:
    """Read the first certificate in a PEM file; raises CantLookError."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST).decode("ascii", "replace")
    except OSError as error:
        raise CantLookError(f"{path}: {error.strerror}") from None
    start = text.find(_BEGIN)
    end = text.find("-----END CERTIFICATE-----", start)
    if start < 0 or end < 0:
        raise CantLookError(f"{path}: holds no certificate in PEM format")
    try:
        der = ssl.PEM_cert_to_DER_cert(text[start:end] + "-----END CERTIFICATE-----")
        return Certificate(f"{role}, {path}", *validity(der))
    except ValueError:
        raise CantLookError(f"{path}: its certificate can't be read") from None


def validity(der: bytes) -> tuple[float, float]:
    """Return when a certificate begins and ends to hold, in seconds since 1970; raises ValueError."""
    _, certificate, _ = _element(der)
    _, signed, _ = _element(certificate)
    tag, _, rest = _element(signed)
    for _ in range(
        3 if tag == _VERSION else 2
    ):  # serial number, algorithm and issuer; the version may be absent
        _, _, rest = _element(rest)
    tag, period, _ = _element(rest)
    if tag != _SEQUENCE:
        raise ValueError("no validity")
    first, begin, rest = _element(period)
    last, end, _ = _element(rest)
    return _moment(first, begin), _moment(last, end)


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Split data into the tag and contents of its first element, and what follows."""
    if len(data) < 2:
        raise ValueError("cut short")
    tag, length, at = data[0], data[1], 2
    if length >= 0x80:
        at += length & 0x7F
        if not 0 < length & 0x7F <= 4:
            raise ValueError("an odd length")
        length = int.from_bytes(data[2:at], "big")
    if at + length > len(data):
        raise ValueError("cut short")
    return tag, data[at : at + length], data[at + length :]


def _moment(tag: int, text: bytes) -> float:
    form = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}.get(tag)
    if form is None:
        raise ValueError("no time")
    moment = datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC)
    if tag == _UTC_TIME and moment.year >= 2050:  # RFC 5280: two digits mean 1950 to 2049
        moment = moment.replace(year=moment.year - 100)
    return moment.timestamp()
