"""A real Apache James, its mail kept in memory, on a lab's mail host.

Every protocol listens twice: at its usual port, and 2000 above it for clients that come through a proxy and
say so with the PROXY protocol. Two users exist, alice and bob, with the password `right`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.lab.net import Host

DOMAIN = "example.net"
USERS = ("alice", "bob")
PASSWORD = "right"
PORTS = {"smtp": 25, "pop3": 110, "imap": 143, "managesieve": 4190, "jmap": 80, "lmtp": 24}
PROXIED = 2000
_JSON = {"Content-Type": "application/json"}

_TLS = '<tls socketTLS="false" startTLS="false"/>'
_SMTP = """<smtpserver enabled="true">
  <jmxName>smtp{port}</jmxName><bind>0.0.0.0:{port}</bind>{tls}{proxy}
  <auth><announce>always</announce><requireSSL>false</requireSSL><plainAuthEnabled>true</plainAuthEnabled></auth>
  <authorizedAddresses>127.0.0.0/8</authorizedAddresses><verifyIdentity>false</verifyIdentity>
  <handlerchain>
    <handler class="org.apache.james.smtpserver.fastfail.ValidRcptHandler"/>
    <handler class="org.apache.james.smtpserver.CoreCmdHandlerLoader"/>
  </handlerchain>
</smtpserver>"""
_POP3 = """<pop3server enabled="true">
  <jmxName>pop3{port}</jmxName><bind>0.0.0.0:{port}</bind>{tls}{proxy}
  <handlerchain><handler class="org.apache.james.pop3server.core.CoreCmdHandlerLoader"/></handlerchain>
</pop3server>"""
_IMAP = """<imapserver enabled="true">
  <jmxName>imap{port}</jmxName><bind>0.0.0.0:{port}</bind>{tls}{proxy}
  <plainAuthDisallowed>false</plainAuthDisallowed><auth><plainAuthEnabled>true</plainAuthEnabled></auth>
</imapserver>"""
_SIEVE = """<managesieveserver enabled="true">
  <jmxName>sieve{port}</jmxName><bind>0.0.0.0:{port}</bind>{tls}{proxy}
  <handlerchain/>
</managesieveserver>"""

_LMTP = """<lmtpserver enabled="true">
  <jmxName>lmtpserver</jmxName><bind>0.0.0.0:{port}</bind>
  <handlerchain><handler class="org.apache.james.lmtpserver.CoreCmdHandlerLoader"/></handlerchain>
</lmtpserver>"""

_MAILETS = """<mailetcontainer enableJmx="false">
  <context><postmaster>postmaster@example.net</postmaster></context>
  <spooler><threads>2</threads><errorRepository>memory://var/mail/error/</errorRepository></spooler>
  <processors>
    <processor state="root">
      <mailet match="All" class="ToProcessor"><processor>transport</processor></mailet>
    </processor>
    <processor state="error"><mailet match="All" class="Null"/></processor>
    <processor state="transport">
      <mailet match="All" class="RemoveMimeHeader"><name>bcc</name></mailet>
      <mailet match="RecipientIsLocal" class="VacationMailet"/>
      <mailet match="RecipientIsLocal" class="org.apache.james.jmap.mailet.filter.JMAPFiltering"/>
      <mailet match="RecipientIsLocal" class="LocalDelivery"/>
      <mailet match="All" class="Null"/>
    </processor>
    <processor state="bounces"><mailet match="All" class="Null"/></processor>
  </processors>
</mailetcontainer>"""


def _twice(group: str, server: str, name: str, proxied: bool = True) -> str:
    plain = server.format(port=PORTS[name], tls=_TLS, proxy="")
    required = "<proxyRequired>true</proxyRequired>"
    other = server.format(port=PORTS[name] + PROXIED, tls=_TLS, proxy=required) if proxied else ""
    return f"<{group}>{plain}{other}</{group}>"


def configuration() -> dict[str, str]:
    """Return James's files by name."""
    return {
        "smtpserver.xml": _twice("smtpservers", _SMTP, "smtp"),
        "pop3server.xml": _twice("pop3servers", _POP3, "pop3"),
        "imapserver.xml": _twice("imapservers", _IMAP, "imap"),
        "managesieveserver.xml": _twice("managesieveservers", _SIEVE, "managesieve", proxied=False),
        "lmtpserver.xml": _twice("lmtpservers", _LMTP, "lmtp", proxied=False),
        "mailetcontainer.xml": _MAILETS,
        "domainlist.xml": "<domainlist><autodetect>false</autodetect><autodetectIP>false</autodetectIP>"
        f"<defaultDomain>{DOMAIN}</defaultDomain></domainlist>",
        "dnsservice.xml": "<dnsservice><servers><server>127.0.0.1</server></servers>"
        "<autodiscover>false</autodiscover><authoritative>false</authoritative></dnsservice>",
        "usersrepository.xml": '<usersrepository name="LocalUsers"><algorithm>PBKDF2-SHA512-10-32</algorithm>'
        "<enableVirtualHosting>true</enableVirtualHosting></usersrepository>",
        "recipientrewritetable.xml": "<recipientrewritetable/>",
        "mailrepositorystore.xml": "<mailrepositorystore><defaultProtocol>memory</defaultProtocol><mailrepositories>"
        '<mailrepository class="org.apache.james.mailrepository.memory.MemoryMailRepository"><protocols>'
        "<protocol>memory</protocol></protocols></mailrepository></mailrepositories></mailrepositorystore>",
        "jmap.properties": f"enabled=true\ntls.keystoreURL=file://conf/keystore\ntls.secret=secret\njmap.port={PORTS['jmap']}\n",
        "webadmin.properties": "enabled=true\nport=8000\nhost=127.0.0.1\n",
        "jmx.properties": "jmx.enabled=false\njmx.address=127.0.0.1\njmx.port=9999\n",
    }


class James:
    """One James, started and stopped by its own process."""

    def __init__(
        self, host: Host, folder: Path, jars: str, logback: Path, files: Mapping[str, str] | None = None
    ) -> None:
        self.host = host
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._jars = jars
        self._logback = logback
        conf = folder / "conf"
        conf.mkdir(parents=True)
        for name, text in (configuration() | dict(files or {})).items():
            (conf / name).write_text(text)
        key = ("-genkeypair", "-alias", "james", "-keyalg", "RSA", "-storetype", "PKCS12", "-dname", "CN=lab")
        store = ("-J-XX:-UsePerfData", "-keystore", str(conf / "keystore"), "-storepass", "secret")
        subprocess.run(("keytool", *key, *store), check=True, capture_output=True)

    def start(self, *options: str) -> None:
        """Start James and make its users."""
        command = (
            "java",
            "-Xmx512m",
            f"-Dworking.directory={self.folder}",
            f"-Dlogback.configurationFile={self._logback}",
            f"-Djames.log.dir={self.folder}",
            "-Djdk.tls.ephemeralDHKeySize=2048",
            *options,
            "-cp",
            self._jars,
            "org.apache.james.MemoryJamesServerMain",
        )
        with (self.folder / "console.log").open("ab") as log:
            self._process = self.host.start(
                *command, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + 120
        while not self._put(f"/domains/{DOMAIN}"):
            assert time.monotonic() < deadline, (self.folder / "console.log").read_text()[-4000:]
            assert self._process.poll() is None, (self.folder / "console.log").read_text()[-4000:]
            time.sleep(0.2)
        for user in USERS:
            assert self._put(f"/users/{user}@{DOMAIN}", {"password": PASSWORD})

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process, "not started"
        return self._process.pid

    def kill(self) -> None:
        """End James at once; what it kept in memory is gone anyway."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Stop James, and wait until it is gone."""
        if self._process:
            os.kill(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _put(self, path: str, body: object = None) -> bool:
        data = json.dumps(body).encode() if body else b""
        request = urllib.request.Request(
            f"http://127.0.0.1:8000{path}", data=data, method="PUT", headers=_JSON
        )
        try:
            with self.host.inside(), urllib.request.urlopen(request, timeout=20) as answer:
                return bool(answer.status < 300)
        except OSError:
            return False
