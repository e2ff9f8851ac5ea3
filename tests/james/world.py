"""Everything that the story needs: the hosts, and on the mail host James, CrowdSec, a proxy and fwbouncer."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.crowdsec.engine import COLLECTION, PORT, Engine
from tests.crowdsec.james import James
from tests.james import remote
from tests.james.log import JamesLog
from tests.james.proxy import HaProxy
from tests.james.remote import RemoteMailHost
from tests.james.served import ServedSession
from tests.lab.bouncer import Bouncer
from tests.lab.crowdsec import KEY
from tests.lab.net import Host, Network, network, one_more
from tests.lab.packets import Probe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLL = "0.1s"
# What starts fast matters more here than what runs fast for long.
JVM = ("-XX:-UsePerfData", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

_DNS = f"""<dnsservice><servers><server>{remote.ADDRESSES[4]}</server></servers>
<autodiscover>false</autodiscover><authoritative>false</authoritative></dnsservice>"""
# As James's own sample does it: mail for others leaves if its sender has said who he is.
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
      <mailet match="SMTPAuthSuccessful" class="RemoteDelivery">
        <outgoing>outgoing</outgoing><delayTime>2 seconds</delayTime><maxRetries>20</maxRetries>
        <deliveryThreads>1</deliveryThreads><sendpartial>true</sendpartial>
        <bounceProcessor>bounces</bounceProcessor>
      </mailet>
      <mailet match="All" class="Null"/>
    </processor>
    <processor state="bounces"><mailet match="All" class="Null"/></processor>
  </processors>
</mailetcontainer>"""


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the programs of others lie, unpacked and not installed."""

    jars: Path
    crowdsec: Path
    haproxy: Path


@dataclass(frozen=True, slots=True)
class World:
    """All of it, running, but for fwbouncer, which is started by the story."""

    net: Network
    remote_host: Host
    remote: RemoteMailHost
    james: James
    proxy: HaProxy
    engine: Engine
    log: JamesLog
    bouncer: Bouncer
    probe: Probe

    def served(self, pid: int, client_port: int) -> ServedSession:
        """Return the session by which a program on the mail host serves this client's port."""
        listing = self.net.mail.run("ss", "-Htne", "state", "established")
        found = re.search(rf":{client_port}\s.*\bino:(\d+)", listing)
        assert found, f"no connection from port {client_port}:\n{listing}"
        return ServedSession.of(pid, f"socket:[{found[1]}]")


@contextlib.contextmanager
def world(folder: Path, parts: Parts) -> Iterator[World]:
    """Build it; take it down whatever happens."""
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(network())
        elsewhere = stack.enter_context(one_more(net, "remo", remote.ADDRESSES, remote.GATEWAYS))
        far = stack.enter_context(contextlib.closing(RemoteMailHost(elsewhere)))
        home = folder / "james"
        logback = COLLECTION / "james" / "logback-3.8.xml"
        files = {"mailetcontainer.xml": _MAILETS, "dnsservice.xml": _DNS}
        james = James(net.mail, home, f"{parts.jars}/*", logback, files)
        engine = Engine(folder / "crowdsec", parts.crowdsec, net.mail)
        engine.allow(KEY)
        stack.enter_context(engine.service(home / "james.json"))
        stack.callback(james.kill)
        james.start(*JVM)
        proxy = stack.enter_context(contextlib.closing(HaProxy(net, folder, parts.haproxy)))
        probe = stack.enter_context(contextlib.closing(Probe(net)))
        (folder / "fwbouncer").mkdir()
        bouncer = Bouncer(
            net.mail, folder / "fwbouncer", api_url=f"http://127.0.0.1:{PORT}/", update_frequency=POLL
        )
        stack.callback(bouncer.close)
        log = JamesLog(home / "james.json")
        yield World(net, elsewhere, far, james, proxy, engine, log, bouncer, probe)
