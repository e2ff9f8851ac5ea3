"""The doctor's probes: what they read of a host, and how little it takes to upset them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.config.load import load
from fwbouncer.doctor.facts import Unseen
from fwbouncer.doctor.gather import gather
from fwbouncer.doctor.look import (
    certificate,
    engine,
    files,
    firewalld,
    james,
    keys,
    lapi,
    names,
    nft,
    processes,
    registry,
    system,
    units,
)
from fwbouncer.doctor.look.program import CantLookError, output
from fwbouncer.doctor.look.together import together
from tests.fake_lapi import FakeLapi, Tls
from tests.unit.doctor_help import CONFIG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHECKOUT = Path(__file__).parents[2]
COLLECTION = CHECKOUT / "packaging" / "crowdsec"


def write(root: Path, name: str, text: str) -> Path:
    """Make a file below a folder."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# --- programs and time -----------------------------------------------------------------------------------------------


def test_a_program_that_is_missing_fails_or_hangs() -> None:
    """Each way in which a program can fail is told in words, and none takes longer than its time."""
    with pytest.raises(CantLookError, match="not installed"):
        output("no-such-program-here")
    with pytest.raises(CantLookError, match="exit code 3"):
        output("sh", "-c", "exit 3")
    with pytest.raises(CantLookError, match="so it goes"):
        output("sh", "-c", "echo so it goes >&2; exit 1")
    with pytest.raises(CantLookError, match="doesn't end within"):
        output("sleep", "60", limit=0.1)
    assert output("sh", "-c", "echo yes; echo no >&2") == "yes\n"
    assert output("sh", "-c", "echo yes; echo no >&2", both=True) == "yes\nno\n"


def test_a_probe_that_hangs_costs_its_time_and_no_other() -> None:
    """A probe without end, one that fails and one that is mistaken leave the others' answers alone."""
    never = threading.Event()

    def fails() -> str:
        raise PermissionError(13, "Permission denied", "/x")

    def mistaken() -> str:
        raise IndexError("odd")

    probes: dict[str, Callable[[], str]] = {
        "hangs": lambda: str(never.wait(60)),
        "works": lambda: "fine",
        "fails": fails,
        "mistaken": mistaken,
    }
    began = time.monotonic()
    found = together(probes, 0.2)
    never.set()
    assert time.monotonic() - began < 30
    assert found["works"] == "fine"
    assert found["hangs"] == Unseen("no answer within 0.2 s")
    assert found["fails"] == Unseen("Permission denied: /x")
    assert "IndexError" in str(found["mistaken"])


# --- systemd, processes ----------------------------------------------------------------------------------------------


def test_units_as_systemctl_tells_them(tmp_path: Path) -> None:
    """Blocks of properties are told apart; values may hold an equals sign."""
    found = units.parse("Id=a.service\nEnvironment=FDSTORE=4 X=1\n\nId=b.service\nActiveState=active\n")
    assert found["a.service"]["Environment"] == "FDSTORE=4 X=1"
    assert found["b.service"]["ActiveState"] == "active"
    with pytest.raises(CantLookError, match="systemd"):
        units.look(tmp_path)


def _process(root: Path, pid: int, *words: str, network: str = "net:[1]") -> None:
    folder = root / "proc" / str(pid)
    (folder / "ns").mkdir(parents=True)
    (folder / "ns/net").symlink_to(network)
    (folder / "cmdline").write_bytes(b"\0".join(word.encode() for word in (*words, "")))
    (folder / "status").write_text("Name:\tx\nCapEff:\t0000000000001000\n")
    (folder / "cgroup").write_text("0::/system.slice/fwbouncer.service\n")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("/usr/bin/python3", "-P", "-m", "fwbouncer", "run", "-c", "/etc/f"), "fwbouncer"),
        (("/usr/bin/python3", "-P", "-m", "fwbouncer", "-c", "/etc/f"), "fwbouncer"),
        (("/usr/bin/python3", "/usr/bin/fwbouncer", "run"), "fwbouncer"),
        (("/usr/bin/fwbouncer", "run", "-v"), "fwbouncer"),
        (("/usr/bin/crowdsec-firewall-bouncer", "-c", "x"), "crowdsec-firewall-bouncer"),
        (("/usr/bin/python3", "-m", "fwbouncer", "doctor"), None),
        (("/usr/bin/python3", "-m", "fwbouncer", "-c", "/etc/f", "status"), None),
        (("/usr/bin/fwbouncer", "-c", "/etc/f", "-t"), None),
        (("vim", "/etc/fwbouncer"), None),
        (("python3", "x.py", "fwbouncer"), None),
    ],
)
def test_processes_by_their_words(words: tuple[str, ...], name: str | None, tmp_path: Path) -> None:
    """A daemon is told from a command, and from who only handles a file of that name."""
    (tmp_path / "proc/self/ns").mkdir(parents=True)
    (tmp_path / "proc/self/ns/net").symlink_to("net:[1]")
    _process(tmp_path, 40, *words)
    _process(tmp_path, 41, *words, network="net:[2]")
    found = processes.look(tmp_path)
    assert [process.name for process in found] == ([name] if name else [])
    if found:
        assert (found[0].pid, found[0].capabilities, found[0].service) == (40, 1 << 12, "fwbouncer.service")


# --- the kernel ------------------------------------------------------------------------------------------------------


def test_the_kernels_options(tmp_path: Path) -> None:
    """What the build's options don't name is not there; without a list of them nothing is known."""
    release = os.uname().release
    assert system.look(tmp_path, {}).options == {}
    write(tmp_path, f"boot/config-{release}", "CONFIG_NF_TABLES=m\n# CONFIG_INET_DIAG_DESTROY is not set\n")
    write(tmp_path, "proc/sys/net/netfilter/nf_conntrack_count", "5\n")
    write(tmp_path, "proc/sys/net/netfilter/nf_conntrack_max", "100\n")
    found = system.look(tmp_path, {"SSH_CONNECTION": "203.0.113.9 5 192.0.2.1 22"})
    assert found.options["CONFIG_NF_TABLES"] == "m"
    assert found.options["CONFIG_INET_DIAG_DESTROY"] == "n"
    assert found.conntrack == (5, 100)
    assert found.ssh_client == "203.0.113.9"


def test_a_listing_of_nft() -> None:
    """Tables, chains, rules and sets are sorted; an owner comes from the kernel."""
    listing = [
        {"metainfo": {}},
        {"table": {"family": "ip", "name": "crowdsec", "handle": 1}},
        {"chain": {"family": "ip", "table": "crowdsec", "name": "in", "type": "filter", "hook": "input",
                   "prio": -10, "policy": "accept"}},
        {"set": {"family": "ip", "table": "crowdsec", "name": "s"}},
        {"rule": {"family": "ip", "table": "crowdsec", "chain": "in", "handle": 4, "expr": [{"drop": None}]}},
        {"flowtable": {"family": "inet", "table": "fw", "name": "ft"}},
    ]  # fmt: skip
    found = nft.parse(listing, {("ip", "crowdsec"): 99})
    assert found.tables[0].owner == 99
    assert (found.chains[0].hook, found.chains[0].priority) == ("input", -10)
    assert found.rules[0].statements == ({"drop": None},)
    assert found.sets == (("ip", "crowdsec", "s"),)
    assert found.flowtables == ("inet fw ft",)


# --- certificates ----------------------------------------------------------------------------------------------------


def make_certificate(folder: Path, days: int) -> Path:
    """Make one for 127.0.0.1 with openssl, which holds for so many days."""
    path = folder / "c.pem"
    subprocess.run(
        ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
         str(days), "-subj", "/CN=lapi", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(folder / "k.pem"), "-out", str(path)),
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return path


@pytest.mark.parametrize("days", [5, 365 * 40])  # before 2050 the time has two digits for the year
def test_when_a_certificate_ends(days: int, tmp_path: Path) -> None:
    """A certificate's times are those that openssl gave it."""
    found = certificate.from_file("client", make_certificate(tmp_path, days))
    now = datetime.now(UTC)
    assert abs(found.begins - now.timestamp()) < 600
    assert abs(found.ends - (now + timedelta(days=days)).timestamp()) < 600


def test_a_file_that_is_no_certificate(tmp_path: Path) -> None:
    """Whatever a file holds, it is told what is wrong with it."""
    for text in ("", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        path = write(tmp_path, "c.pem", text)
        with pytest.raises(CantLookError, match=r"c\.pem"):
            certificate.from_file("client", path)
    with pytest.raises(CantLookError, match="No such file"):
        certificate.from_file("client", tmp_path / "none.pem")


@given(st.binary(max_size=200))
def test_bytes_that_are_no_certificate(der: bytes) -> None:
    """Any bytes are a certificate or a ValueError."""
    with contextlib.suppress(ValueError):
        certificate.validity(der)


def test_every_cut_of_a_certificate(tmp_path: Path) -> None:
    """A certificate cut anywhere ahead of its times is a ValueError."""
    der = ssl.PEM_cert_to_DER_cert(make_certificate(tmp_path, 5).read_text())
    for length in range(60):
        with pytest.raises(ValueError, match=r"short|odd|validity|time"):
            certificate.validity(der[:length])


# --- the LAPI --------------------------------------------------------------------------------------------------------


@pytest.fixture
def fake() -> Iterator[FakeLapi]:
    """Run a LAPI that says what it is told to."""
    with FakeLapi() as fake:
        yield fake


def _config(tmp_path: Path, url: str) -> lapi.Lapi:
    path = write(tmp_path, "c.yaml", CONFIG.replace("http://127.0.0.1:8080/", url))
    return load(path, {}).lapi


def test_a_lapi_that_nobody_is(tmp_path: Path) -> None:
    """A port without a listener is an answer with the reason in it, and no exception."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        (answer,) = lapi.look(_config(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}/")).answers
    assert answer.status is None
    assert "refused" in answer.error.lower()
    assert answer.local


def test_asking_doesnt_move_the_cursor(tmp_path: Path, fake: FakeLapi) -> None:
    """Only heads are asked for with the key, and none of the stream, which moves the cursor of old LAPIs."""
    (answer,) = lapi.look(_config(tmp_path, fake.url)).answers
    assert answer.status == 200
    with_key = [each for each in fake.requests if "x-api-key" in each.headers]
    assert [(each.method, each.path.partition("?")[0]) for each in with_key] == [("HEAD", "/v1/decisions")]
    assert not [each for each in fake.requests if "stream" in each.path]


def test_a_lapi_with_tls(tmp_path: Path) -> None:
    """The certificate of a LAPI that is trusted tells when it ends; one that isn't is an error in words."""
    made = make_certificate(tmp_path, 3)
    with FakeLapi(tls=Tls(made, tmp_path / "k.pem")) as fake:
        trusted = replace(_config(tmp_path, fake.url), ca_cert_path=made)
        found = lapi.look(trusted)
        (stranger,) = lapi.look(_config(tmp_path, fake.url)).answers
    (answer,) = found.answers
    assert answer.status == 200
    assert answer.certificate is not None
    (ours,) = found.certificates
    assert answer.certificate.ends == ours.ends
    assert abs(ours.ends - time.time() - 3 * 86400) < 600
    assert stranger.status is None
    assert "certificate" in stranger.error


@pytest.mark.parametrize(("ahead", "skew"), [(0, 0.0), (-1, 0.0), (90, 90.0), (-90, -89.0)])
def test_a_clock_that_is_wrong(ahead: int, skew: float) -> None:
    """The LAPI's clock is compared in whole seconds, which is what its header has."""
    now = 1_800_000_000.0
    date = format_datetime(datetime.fromtimestamp(now + ahead, UTC), usegmt=True)
    assert lapi._skew(httpx.Response(200, headers={"Date": date}), now, now) == skew
    assert lapi._skew(httpx.Response(200, headers={"Date": "yesterday"}), now, now) is None
    assert lapi._skew(httpx.Response(200), now, now) is None


# --- cscli -----------------------------------------------------------------------------------------------------------


def test_the_lapis_list_of_bouncers() -> None:
    """Go's times and absent values are read; anything else than a list of objects is refused in words."""
    text = json.dumps([
        {"name": "fw", "type": "t", "version": "v", "ip_address": "::1", "last_pull": "2026-08-01T10:00:00.123456789Z"},
        {"name": "new", "type": None, "last_pull": None, "api_key": hashlib.sha512(b"k").hexdigest()},
        {"name": "zero", "last_pull": "0001-01-01T00:00:00Z"},
    ])  # fmt: skip
    first, new, zero = registry.parse(text, "k")
    assert first.last_pull == datetime(2026, 8, 1, 10, 0, 0, 123456, UTC).timestamp()
    assert (new.kind, new.last_pull, new.ours) == ("", None, True)
    assert zero.last_pull is None
    assert registry.parse("null", None) == ()
    for odd in ("", "[1]", "{", "7"):
        with pytest.raises(CantLookError):
            registry.parse(odd, "k")


# --- the key ---------------------------------------------------------------------------------------------------------


def test_who_else_has_the_key(tmp_path: Path) -> None:
    """The key is found in James's and other bouncers' files, as a word of its own, and not in our own ones."""
    key = "s3cr3tkey42"
    own = write(tmp_path, "etc/fwbouncer/fwbouncer.yaml", f"api_key: {key}\n")
    write(tmp_path, "etc/crowdsec/bouncers/nginx.conf", f"API_KEY={key}\n")
    write(tmp_path, "etc/crowdsec/bouncers/other.yaml", f"api_key: x{key}\n")
    write(tmp_path, "etc/crowdsec/bouncers/old.yaml.dpkg-old", f"api_key: {key}\n")
    conf = tmp_path / "james"
    write(conf, "crowdsec.properties", f"crowdsecUrl=http://127.0.0.1:8080/v1\napiKey={key}\n")
    found = keys.look(tmp_path, key, [own], [conf])
    assert [(use.path.name, use.james) for use in found] == [
        ("nginx.conf", False),
        ("crowdsec.properties", True),
    ]
    assert keys.look(tmp_path, "short", [own], [conf]) == ()
    assert keys.look(tmp_path, None, [own], [conf]) == ()
    assert key not in repr(found)


# --- James -----------------------------------------------------------------------------------------------------------


def test_our_logback_files_are_right(tmp_path: Path) -> None:
    """James's log as this project ships it is what CrowdSec needs."""
    for name in ("logback.xml", "logback-3.8.xml"):
        write(tmp_path, "logback.xml", (COLLECTION / "james" / name).read_text())
        found = james.look(tmp_path, tmp_path)
        assert found.encoder in ("JsonEncoder", "JsonLayout")
        assert found.formatted
        assert found.mdc
        assert not found.quiet
        assert not found.lossy


LOGBACK = """<configuration>
<appender name="FILE" class="ch.qos.logback.core.FileAppender"><encoder class="{encoder}">{inside}</encoder></appender>
<appender name="ASYNC" class="ch.qos.logback.classic.AsyncAppender"><appender-ref ref="FILE"/>{queue}</appender>
<root level="{root}"/><logger name="org.apache.james" level="{james}"/></configuration>"""


def test_logback_files_that_are_not(tmp_path: Path) -> None:
    """A plain pattern, no finished text, no address, a level too high and a lossy queue are each seen."""
    usual = {
        "encoder": "ch.qos.logback.classic.encoder.JsonEncoder",
        "inside": "<withFormattedMessage>true</withFormattedMessage>",
        "queue": "<discardingThreshold>0</discardingThreshold>",
        "root": "WARN",
        "james": "INFO",
    }

    def look(**changes: str) -> james.James:
        write(tmp_path, "logback.xml", LOGBACK.format(**{**usual, **changes}))
        return replace(james.look(tmp_path, tmp_path), reading=None)

    path = tmp_path / "logback.xml"
    assert look() == james.James(tmp_path, logback=path, encoder="JsonEncoder", formatted=True)
    assert look(encoder="ch.qos.logback.classic.encoder.PatternLayoutEncoder").encoder == "plain"
    assert not look(inside="").formatted
    assert not look(inside="<withMDC>false</withMDC>").mdc
    assert look(queue="").lossy == ("ASYNC",)
    assert look(james="ERROR").quiet == "ERROR"
    assert look(james="").quiet == "WARN"
    write(tmp_path, "logback.xml", "<configuration")
    assert james.look(tmp_path, tmp_path).logback is None


PROXIED = """<smtpservers><smtpserver enabled="true"><bind>0.0.0.0:25</bind><proxyRequired>true</proxyRequired>
</smtpserver></smtpservers>"""


def test_proxies_that_are_connected(tmp_path: Path) -> None:
    """Who is connected to a port that James takes from a proxy alone is a proxy, whatever the family."""
    write(tmp_path, "smtpserver.xml", PROXIED)
    v4, v6 = socket.inet_aton("192.0.2.7"), socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.8")

    def word(packed: bytes) -> str:
        return "".join(
            f"{int.from_bytes(packed[at : at + 4], sys.byteorder):08X}" for at in range(0, len(packed), 4)
        )

    head = "  sl  local_address rem_address   st\n"
    rows = f"   0: 00000000:0019 {word(v4)}:C350 01 0\n   1: 00000000:0016 {word(v4)}:C351 01 0\n"
    write(tmp_path, "proc/net/tcp", f"{head}{rows}   2: 00000000:0019 00000000:0000 0A 0\n")
    write(tmp_path, "proc/net/tcp6", f"{head}   0: {'0' * 32}:0019 {word(v6)}:C350 01 0\n")
    found = james.look(tmp_path, tmp_path)
    assert found.reading is not None
    assert str(found.reading.proxied_ports) == "25"
    assert found.proxies == ("192.0.2.7", "192.0.2.8")


def test_where_james_is(tmp_path: Path) -> None:
    """A usual folder, a named one, and that of a James which runs in a container are found, each once."""
    write(tmp_path, "etc/james/smtpserver.xml", "<x/>")
    write(tmp_path, "srv/conf/imapserver.xml", "<x/>")
    process = tmp_path / "proc/55"
    write(process, "root/opt/mail/conf/smtpserver.xml", "<x/>")
    (process / "cmdline").write_bytes(b"java\0-Dworking.directory=.\0-jar\0james-server.jar\0")
    (process / "cwd").symlink_to("/opt/mail")
    for folder, network in ((process, "net:[2]"), (tmp_path / "proc/self", "net:[1]")):
        (folder / "ns").mkdir(parents=True)
        (folder / "ns/net").symlink_to(network)
    (process / "cgroup").write_text("0::/system.slice/elsewhere.service\n")
    assert process / "root/opt/mail/conf" not in james.folders(tmp_path)
    (process / "cgroup").write_text("0::/system.slice/docker-0123.scope\n")
    named = tmp_path / "srv/conf"
    found = james.folders(tmp_path, [named, named, tmp_path / "none"])
    assert found == (named, tmp_path / "etc/james", process / "root/opt/mail/conf")


def test_the_engine_with_our_collection(tmp_path: Path) -> None:
    """Our collection, installed as its README says, is seen with its parsers, scenarios and source."""
    assert engine.look(tmp_path) is None
    write(tmp_path, "etc/crowdsec/config.yaml", "{}\n")
    for part in ("parsers", "scenarios"):
        subprocess.run(["cp", "-r", COLLECTION / part, tmp_path / "etc/crowdsec"], check=True, timeout=30)
    write(tmp_path, "etc/crowdsec/acquis.d/james.yaml", (COLLECTION / "acquis.d/james.yaml").read_text())
    write(
        tmp_path,
        "etc/crowdsec/acquis.yaml",
        "filenames: [/var/log/auth.log]\nlabels: {type: syslog}\n---\nodd\n",
    )
    found = engine.look(tmp_path)
    assert found is not None
    names_of = {kind: {i.name for i in found.items if i.kind == kind} for kind in ("parsers", "scenarios")}
    assert "fwbouncer/james-logs" in names_of["parsers"]
    assert "fwbouncer/james-smtp-bf" in names_of["scenarios"]
    syslog, ours = found.acquisitions
    assert (syslog.kind, ours.kind) == ("syslog", "james")
    assert ours.missing == ours.files == ("/var/log/james/james.json",)
    write(tmp_path, "var/log/james/james.json", "{}\n")
    found = engine.look(tmp_path)
    assert found is not None
    assert found.acquisitions[1].missing == ()


# --- files, names, firewalld -----------------------------------------------------------------------------------------


def test_files_and_their_modes(tmp_path: Path) -> None:
    """The configuration, its overlay and what it names are looked at; what is missing says why."""
    path = write(tmp_path, "c.yaml", CONFIG.replace("api_key: a-key-of-ours", f"api_key_file: {tmp_path}/k"))
    write(tmp_path, "k", "a-key-of-ours\n").chmod(0o600)
    write(tmp_path, "c.yaml.local", "")
    path.chmod(0o640)
    found = {each.role: each for each in files.look(path, load(path, {}))}
    assert found["config"].mode == 0o640
    assert found["key"].mode == 0o600
    assert found["overlay"].path.name == "c.yaml.local"
    assert found["state"].missing == "No such file or directory"


def test_names_that_are_looked_up(tmp_path: Path) -> None:
    """Names in never_block, and the LAPI's, are looked up; addresses are not."""
    path = write(tmp_path, "c.yaml", CONFIG + "never_block: [localhost, 192.0.2.1, no-such-name.invalid]\n")
    found = names.look(load(path, {}))
    assert "127.0.0.1" in found.answers["localhost"]
    assert found.answers["no-such-name.invalid"] == ()
    assert set(found.answers) == {"localhost", "no-such-name.invalid"}


def test_firewalld_conf(tmp_path: Path) -> None:
    """Its keys are read, its comments are not; where there is none, it is not installed."""
    assert firewalld.look(tmp_path) is None
    write(tmp_path, "etc/firewalld/firewalld.conf", "# FlushAllOnReload=yes\nFlushAllOnReload = no\n")
    assert firewalld.look(tmp_path) == {"FlushAllOnReload": "no"}


# --- all together ----------------------------------------------------------------------------------------------------


def test_gathering_with_nothing_there(tmp_path: Path) -> None:
    """Without a configuration, a daemon or a host that deserves the name, facts come together all the same."""
    facts = gather(tmp_path / "none.yaml", tmp_path / "none.sock", tmp_path, {})
    assert facts.config is None
    assert "none.yaml" in facts.settings.problems[0]
    assert facts.status == {}
    assert isinstance(facts.units, Unseen)


def test_probes_import_fast() -> None:
    """Nothing that is slow to import is needed to judge: only the LAPI's probe brings an HTTP library along."""
    code = (
        "import sys, fwbouncer.doctor.examine; sys.exit('httpx' in sys.modules or 'pyroute2' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=CHECKOUT, timeout=60)
