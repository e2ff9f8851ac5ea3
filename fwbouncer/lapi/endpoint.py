"""Where a LAPI listens and how to prove who we are: from a configured URL to an HTTP transport."""

from __future__ import annotations

import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import httpx

from fwbouncer import __version__
from fwbouncer.core.names import escaped, shown
from fwbouncer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwbouncer.config.schema import Lapi

# The LAPI wants a type, exactly one slash and a version; its operators know us by the incumbent's type.
USER_AGENT = f"crowdsec-firewall-bouncer/fwbouncer-{__version__}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One configured LAPI."""

    name: str  # for messages: no user, no password, nothing that upsets a terminal
    base: str  # what paths are appended to
    socket: str | None = None  # the Unix socket to use instead of the base's host
    login: str | None = field(default=None, repr=False)  # user:password of a proxy in front of the LAPI

    @property
    def encrypted(self) -> bool:
        """Tell whether TLS is spoken."""
        return self.base.startswith("https:")

    def headers(self) -> dict[str, str]:
        """Return what requests to this one carry besides our key."""
        if self.login is None:
            return {}
        return {"Authorization": f"Basic {b64encode(self.login.encode()).decode()}"}


def endpoint(url: str) -> Endpoint:
    """Understand a configured URL: http, https, `unix:///path`, or the path of a Unix socket.

    Raises ConfigError.
    """
    path = url.removeprefix("unix://") if url.startswith("unix:") else url
    if path.startswith("/"):
        # The LAPI counts a Unix socket's client as 127.0.0.1 and cares for no host name.
        socket = path.rstrip("/")
        return Endpoint(name=escaped(socket), base="http://unix/", socket=socket)
    try:
        parts = urlsplit(url)
        port = "" if parts.port is None else f":{parts.port}"
        usable = parts.scheme in ("http", "https") and parts.hostname and httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        usable = None
    if not usable:
        raise ConfigError(
            f"api_url {shown(url)} is neither a http or https URL nor the path of a Unix socket"
        )
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    base = f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}/"
    login = None if parts.username is None else unquote(f"{parts.username}:{parts.password or ''}")
    return Endpoint(name=escaped(base), base=base, login=login)


def tls_context(config: Lapi) -> ssl.SSLContext:
    """Load the certificates; raises ConfigError. As with the incumbent, ca_cert_path adds to the system's."""
    context = ssl.create_default_context()
    # Python 3.13 refuses what Go and older Pythons take: CAs without key identifiers, such as home-made ones.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if config.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.ca_cert_path is not None:
        try:
            context.load_verify_locations(config.ca_cert_path)
        except OSError as error:
            raise ConfigError(f"unable to load CA certificate '{config.ca_cert_path}': {error}") from error
    if config.cert_path is not None:
        cert, key = config.cert_path, config.key_path
        try:
            context.load_cert_chain(cert, key, password="")  # rather fail than ask the terminal
        except OSError as error:
            raise ConfigError(f"unable to load certificate '{cert}' and key '{key}': {error}") from error
    return context


def open_transport(at: Endpoint, config: Lapi) -> httpx.AsyncBaseTransport:
    """Make ready to talk to one LAPI; nothing is connected yet.

    A bare transport: unlike a client, it follows no redirect, asks no proxy and no netrc, keeps no cookie.
    """
    context = tls_context(config) if at.encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Polls are further apart than httpx's five seconds, and one connection shall serve them all.
    limits = httpx.Limits(max_connections=2, max_keepalive_connections=1, keepalive_expiry=None)
    return httpx.AsyncHTTPTransport(verify=context, limits=limits, trust_env=False, uds=at.socket)


def auth_headers(config: Lapi) -> dict[str, str]:
    """Return what every request carries; raises ConfigError for a key that no header can hold."""
    headers = {"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "identity"}
    if config.key is not None:
        if not (config.key.isascii() and config.key.isprintable()):
            # Said here, in other words: the HTTP library's own complaint would print the key.
            raise ConfigError("api_key has characters in it that no key of CrowdSec's has")
        headers["X-Api-Key"] = config.key
    return headers


def query(config: Lapi, *, startup: bool) -> dict[str, str]:
    """Return the parameters of the decision stream."""
    # Without dedup=false the LAPI hides a decision behind a longer one on the same value, even behind one
    # that the origins filter leaves out, and says nothing when the longer one goes.
    asked = {"startup": "true" if startup else "false", "dedup": "false"}
    lists: Iterable[tuple[str, tuple[str, ...]]] = (
        ("scopes", config.scopes or ("ip", "range")),
        ("origins", config.origins),
        ("scenarios_containing", config.scenarios_containing),
        ("scenarios_not_containing", config.scenarios_not_containing),
    )
    return asked | {name: ",".join(values) for name, values in lists if values}


def describe(config: Lapi) -> list[str]:
    """Say how we authenticate, in the incumbent's words, which its users search logs for."""
    lines = []
    if config.ca_cert_path is not None:
        lines.append(f"Using CA cert '{config.ca_cert_path}'")
    if config.key is not None:
        lines.append("Using API key auth")
    if config.cert_path is not None:
        lines.append(f"Using cert auth with cert '{config.cert_path}' and key '{config.key_path}'")
    return lines
