"""HTTPS and client certificates, with authorities made for the occasion."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from fwbouncer.config import schema
from fwbouncer.errors import ConfigError, LapiRefused, LapiUnreachable
from fwbouncer.lapi.endpoint import describe
from tests.fake_lapi import FakeLapi, Tls
from tests.unit.lapi_help import client, run

if TYPE_CHECKING:
    from pathlib import Path


def openssl(*arguments: object) -> None:
    """Run openssl."""
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def issue(folder: Path, name: str, extension: str, days: int = 2) -> None:
    """Make a key and a certificate by the folder's authority."""
    files = {suffix: folder / f"{name}.{suffix}" for suffix in ("key", "csr", "crt", "ext")}
    files["ext"].write_text(extension)
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(
        "req", *curve, "-keyout", files["key"], "-out", files["csr"], "-subj", f"/OU=bouncer-ou/CN={name}"
    )
    ca = ("-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-CAcreateserial")
    openssl(
        "x509",
        "-req",
        "-in",
        files["csr"],
        *ca,
        "-days",
        days,
        "-extfile",
        files["ext"],
        "-out",
        files["crt"],
    )


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with an authority, a server's and a client's certificate, and another authority."""
    folder = tmp_path_factory.mktemp("certs")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    for name in ("ca", "other"):
        out = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt")
        openssl("req", "-x509", *curve, *out, "-subj", f"/CN={name}")
    issue(folder, "server", "subjectAltName=IP:127.0.0.1")
    issue(folder, "stranger", "subjectAltName=DNS:elsewhere.example")
    issue(folder, "bouncer", "extendedKeyUsage=clientAuth")
    return folder


def poll(lapi: FakeLapi, **settings: Any) -> list[int]:
    """Poll once and return the ids."""

    async def test() -> list[int]:
        async with client(lapi.url, **settings) as made:
            await made.poll(startup=True)
            return list((await made.poll(startup=True)).ids)

    return run(test())


def serve(certs: Path, name: str = "server") -> FakeLapi:
    """Start a LAPI on HTTPS with one ban."""
    lapi = FakeLapi(tls=Tls(certs / f"{name}.crt", certs / f"{name}.key", certs / "ca.crt"))
    lapi.ban("192.0.2.1")
    return lapi


def test_a_known_authority_is_trusted(certs: Path) -> None:
    """With ca_cert_path the LAPI's certificate is accepted, on one connection for all polls."""
    with serve(certs) as lapi:
        assert poll(lapi, ca_cert_path=certs / "ca.crt") == [1]
        assert len({request.connection for request in lapi.requests}) == 1


def test_an_unknown_authority_is_told_in_the_incumbents_words(certs: Path) -> None:
    """Two lines, which its users search their logs for; the key doesn't leave the host."""
    with serve(certs) as lapi:
        for settings in ({}, {"ca_cert_path": certs / "other.crt"}):
            with pytest.raises(LapiUnreachable) as caught:
                poll(lapi, **settings)
            first, second = str(caught.value).split("\n")
            assert "auth-api: auth with api key failed" in first
            assert (
                "tls: failed to verify certificate: x509: certificate signed by unknown authority" in second
            )
        assert not lapi.requests


def test_a_certificate_for_another_host_is_refused(certs: Path) -> None:
    """The authority alone doesn't make a LAPI ours."""
    with serve(certs, "stranger") as lapi:
        with pytest.raises(LapiUnreachable, match="not valid for this host name"):
            poll(lapi, ca_cert_path=certs / "ca.crt")
        assert not lapi.requests


def test_verification_can_be_switched_off(certs: Path) -> None:
    """insecure_skip_verify takes any certificate."""
    with serve(certs, "stranger") as lapi:
        assert poll(lapi, insecure_skip_verify=True) == [1]


def test_a_client_certificate_does_instead_of_a_key(certs: Path) -> None:
    """With cert_path and key_path no key is sent, and the LAPI knows us by our certificate."""
    with serve(certs) as lapi:
        mine = {"cert_path": certs / "bouncer.crt", "key_path": certs / "bouncer.key"}
        assert poll(lapi, key=None, ca_cert_path=certs / "ca.crt", **mine) == [1]
        assert "x-api-key" not in lapi.requests[0].headers


def test_without_key_and_certificate_the_lapi_refuses(certs: Path) -> None:
    """The refusal names what to look at when no key was used."""
    with serve(certs) as lapi, pytest.raises(LapiRefused, match=r"access forbidden.*bouncers_allowed_ou"):
        poll(lapi, key=None, ca_cert_path=certs / "ca.crt")


def test_a_plain_server_behind_https_is_an_outage() -> None:
    """Something that doesn't speak TLS is told as an unreachable LAPI."""

    async def test(url: str) -> None:
        async with client(url) as made:
            with pytest.raises(LapiUnreachable):
                await made.poll(startup=True)

    with FakeLapi() as lapi:
        run(test(lapi.url.replace("http:", "https:")))


def test_certificates_that_cannot_be_read_are_found_at_the_start(certs: Path, tmp_path: Path) -> None:
    """A missing or wrong file is a mistake of the configuration, named with its path."""
    (tmp_path / "empty").touch()
    mine = {"cert_path": certs / "bouncer.crt", "key_path": certs / "server.key"}
    for settings, words in (
        ({"ca_cert_path": tmp_path / "none"}, "unable to load CA certificate .*none"),
        ({"ca_cert_path": tmp_path / "empty"}, "unable to load CA certificate .*empty"),
        (mine, "unable to load certificate .*bouncer.crt' and key .*server.key"),
    ):
        with serve(certs) as lapi, pytest.raises(ConfigError, match=words):
            poll(lapi, **settings)


def test_renewed_certificates_are_read_again(certs: Path, tmp_path: Path) -> None:
    """After a failed poll the files are read anew, so a renewal needs no restart."""
    ca = tmp_path / "ca.crt"
    ca.write_bytes((certs / "other.crt").read_bytes())

    async def test(url: str) -> None:
        async with client(url, ca_cert_path=ca) as made:
            with pytest.raises(LapiUnreachable):
                await made.poll(startup=True)
            ca.write_bytes(b"nonsense")
            with pytest.raises(LapiUnreachable, match="unable to load CA certificate"):
                await made.poll(startup=True)
            ca.write_bytes((certs / "ca.crt").read_bytes())
            await made.poll(startup=True)

    with serve(certs) as lapi:
        run(test(lapi.url))


def test_how_we_authenticate_is_described_as_ever(certs: Path) -> None:
    """The incumbent's log lines appear, the key does not."""
    ca = certs / "ca.crt"
    by_key = schema.Lapi(urls=("https://x/",), key="secret", ca_cert_path=ca)
    assert describe(by_key) == [f"Using CA cert '{ca}'", "Using API key auth"]
    by_cert = schema.Lapi(urls=("https://x/",), cert_path=certs / "a", key_path=certs / "b")
    assert describe(by_cert) == [f"Using cert auth with cert '{certs / 'a'}' and key '{certs / 'b'}'"]
