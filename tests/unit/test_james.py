"""James's configuration files: every port that is reached from outside, from any file, at any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.ports import NO_PORTS, Ports
from fwbouncer.host.james import James, Reading
from fwbouncer.host.james_files import KINDS, Bind, Found, Unreadable

if TYPE_CHECKING:
    from pathlib import Path

# As the samples are built: comments of several lines, nested blocks, one server without TLS and two with it.
SMTP = """\
<?xml version="1.0"?>

<!--
  A licence <smtpserver><bind>0.0.0.0:9</bind></smtpserver> in a comment counts for nothing.
 -->

<smtpservers>
    <smtpserver enabled="true">
        <jmxName>smtpserver-global</jmxName>
        <bind>0.0.0.0:25</bind>
        <tls socketTLS="false" startTLS="false">
            <!-- To create a keystore: keytool -genkey -->
            <keystore>file://conf/keystore</keystore>
        </tls>
        <handlerchain><handler class="x"><bind>0.0.0.0:10</bind></handler></handlerchain>
    </smtpserver>
    <smtpserver enabled="true">
        <bind> 0.0.0.0:465 , 192.0.2.25:2465,127.0.0.1:1465 </bind>
    </smtpserver>
    <!--
    <smtpserver enabled="true"><bind>0.0.0.0:2525</bind></smtpserver>
    -->
    <smtpserver enabled="false"><bind>0.0.0.0:587</bind></smtpserver>
    <smtpserver><bind>[::]:1587</bind><bind>0.0.0.0:0</bind><proxyRequired>true</proxyRequired></smtpserver>
</smtpservers>
"""


def read(folder: Path, **files: str | bytes) -> Reading:
    """Write files and read them."""
    put(folder, **files)
    return James(folder).read()


def put(folder: Path, **files: str | bytes) -> None:
    """Write files, `smtpserver` for smtpserver.xml and `jmap` for jmap.properties."""
    for name, text in files.items():
        path = folder / f"{name}.{'xml' if name.endswith('server') else 'properties'}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


class TestXml:
    """The files of the mail protocols."""

    def test_every_server_and_every_bind(self, tmp_path: Path) -> None:
        """Several servers, lists of addresses and IPv6 are read; what is disabled, local or port 0 needs no rule."""
        reading = read(tmp_path, smtpserver=SMTP)
        assert reading.ports == Ports.of(25, 465, 2465, 1587)
        assert reading.problems == ()
        assert [server.line for server in reading.servers] == [8, 17, 24]
        assert reading.servers[1].binds[2] == Bind("127.0.0.1", 1465)

    def test_who_stands_behind_a_proxy(self, tmp_path: Path) -> None:
        """The servers that take connections from a proxy alone are told, with their ports."""
        reading = read(tmp_path, smtpserver=SMTP)
        assert reading.proxied_ports == Ports.of(1587)
        (said,) = reading.warnings(asked=True, proxies=False)
        assert "bans must be enforced on the proxy; name it in protect.proxies" in said
        assert reading.warnings(asked=True, proxies=True)[0].endswith("enforced on the proxy")

    @pytest.mark.parametrize(
        ("name", "port"),
        [("smtp", 25), ("lmtp", 24), ("imap", 143), ("pop3", 110), ("managesieve", 4190)],
    )
    def test_defaults(self, tmp_path: Path, name: str, port: int) -> None:
        """A server that names no address listens on its protocol's port, everywhere."""
        text = f"<{name}servers><{name}server><jmxName>x</jmxName></{name}server></{name}servers>"
        assert read(tmp_path, **{f"{name}server": text}).ports == Ports.of(port)

    @pytest.mark.parametrize("bind", ["127.0.0.1:24", "127.9.9.9:24", "localhost:24", "[::1]:24", "::1:24"])
    def test_what_is_for_this_host_alone(self, tmp_path: Path, bind: str) -> None:
        """A server on loopback needs no rule."""
        text = f"<lmtpservers><lmtpserver><bind>{bind}</bind></lmtpserver></lmtpservers>"
        assert read(tmp_path, lmtpserver=text).ports == NO_PORTS

    @pytest.mark.parametrize(
        "bind", ["0.0.0.0", "0.0.0.0:x", "0.0.0.0:99999", "0.0.0.0:-1", ":²", "0.0.0.0:${env:P}"]
    )
    def test_what_cant_be_read_is_guarded(self, tmp_path: Path, bind: str) -> None:
        """A bind that says nothing certain stands for the protocol's port, and is told with its line."""
        text = f"<imapservers>\n<imapserver>\n<bind>{bind}</bind></imapserver></imapservers>"
        reading = read(tmp_path, imapserver=text)
        assert reading.ports == Ports.of(143)
        assert [(problem.file.name, problem.line) for problem in reading.problems] == [("imapserver.xml", 3)]

    def test_variables(self, tmp_path: Path) -> None:
        """A variable's default counts; where nobody knows whether a server is enabled, it is guarded."""
        text = (
            '<imapservers><imapserver enabled="${env:ON}"><bind>0.0.0.0:${env:P:-1143}</bind></imapserver>'
            '<imapserver enabled="${env:ON:-false}"/></imapservers>'
        )
        reading = read(tmp_path, imapserver=text)
        assert reading.ports == Ports.of(1143)
        assert "enabled is '${env:ON}', which can't be known here; taken as true" in str(reading.problems[0])

    def test_byte_order_marks_and_encodings(self, tmp_path: Path) -> None:
        """Files are read in the encodings that XML knows, with a mark in front or without."""
        plain = "<pop3servers><pop3server><bind>0.0.0.0:1110</bind></pop3server></pop3servers>"
        for text in (plain.encode("utf-8-sig"), plain.encode("utf-16")):
            assert read(tmp_path, pop3server=text).ports == Ports.of(1110)
        latin = b'<?xml version="1.0" encoding="ISO-8859-1"?><!-- \xe9 -->' + plain.encode()
        assert read(tmp_path, pop3server=latin).ports == Ports.of(1110)

    @pytest.mark.parametrize(
        "text",
        [
            '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><smtpservers>&a;</smtpservers>',
            '<!DOCTYPE x SYSTEM "http://192.0.2.1/x.dtd"><smtpservers/>',
            '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><smtpservers>&b;</smtpservers>',
            "<smtpservers><smtpserver>",
            "",
            "smtp",
            "<a>" * 100,
            '<?xml version="1.0" encoding="no-such"?><smtpservers/>',
            "<smtpservers/>" + " " * (1 << 20),
        ],
    )  # fmt: skip
    def test_dangerous_or_broken_files(self, tmp_path: Path, text: str) -> None:
        """Nothing is fetched, nothing grows; the usual ports are taken, and the file is told."""
        reading = read(tmp_path, smtpserver=text)
        assert reading.ports == Ports.of(25, 465, 587)
        assert len(reading.problems) == 1
        assert "its usual ports are taken" in str(reading.problems[0])

    @given(st.binary(max_size=200), st.sampled_from(sorted(KINDS)))
    def test_any_bytes_are_read_or_refused(self, data: bytes, name: str) -> None:
        """Whatever stands in a file, reading it ends in servers or in a refusal."""
        kind = KINDS[name]
        try:
            found = kind.read(kind_path(name), data, kind.protocol, kind.default)
        except Unreadable:
            return
        assert isinstance(found, Found)


def kind_path(name: str) -> Path:
    """Return a path for a file that isn't there."""
    from pathlib import Path  # noqa: PLC0415 - only here

    return Path("/nonexistent", name)


class TestProperties:
    """JMAP and the administration over HTTP."""

    @pytest.mark.parametrize(
        ("text", "ports"),
        [
            ("", Ports.of(80)),
            ("enabled=true\n", Ports.of(80)),
            ("enabled=true\njmap.port=8080", Ports.of(8080)),
            ("# enabled=false\n! no\njmap.port : 8080\r\n", Ports.of(8080)),
            ("jmap.port\\\n = 80\\\n  80\n", Ports.of(8080)),
            ("enabled=false\njmap.port=8080", NO_PORTS),
            ("enabled = FALSE", NO_PORTS),
            ("jmap.port=0", NO_PORTS),
            ("\ufeffjmap.port=81", Ports.of(81)),
            ("jmap.port=x", Ports.of(80)),
            ("jmap.port=1\njmap.port=2", Ports.of(2)),
        ],
    )
    def test_jmap(self, tmp_path: Path, text: str, ports: Ports) -> None:
        """JMAP listens on 80 unless told, wherever the file is there and doesn't turn it off."""
        assert read(tmp_path, jmap=text).ports == ports

    @pytest.mark.parametrize(
        ("text", "ports"),
        [
            ("", NO_PORTS),
            ("enabled=true", NO_PORTS),
            ("enabled=true\nhost=0.0.0.0", Ports.of(8000)),
            ("enabled=true\nhost=0.0.0.0\nport=8443", Ports.of(8443)),
            ("enabled=true\nhost=localhost\nport=8443", NO_PORTS),
            ("enabled=true\nhost=${env:HOST}", Ports.of(8000)),
            ("host=0.0.0.0", NO_PORTS),
        ],
    )
    def test_webadmin(self, tmp_path: Path, text: str, ports: Ports) -> None:
        """The administration is for this host alone unless its host says otherwise, and off unless turned on."""
        assert read(tmp_path, webadmin=text).ports == ports


class TestFollowing:
    """Files change, break, vanish and come back."""

    def test_absent_files_are_no_servers(self, tmp_path: Path) -> None:
        """James runs no server of a protocol whose file isn't there."""
        reading = read(tmp_path, smtpserver=SMTP)
        assert {server.protocol for server in reading.servers} == {"smtp"}
        assert "names no port" in James(tmp_path / "none").read().warnings(asked=True, proxies=False)[0]

    def test_a_change_is_read_once_it_has_come_to_rest(self, tmp_path: Path) -> None:
        """A file that was changed is read when two looks find the same."""
        put(tmp_path, smtpserver=SMTP)
        james = James(tmp_path)
        james.read()
        assert not james.look()
        put(tmp_path, smtpserver=SMTP.replace(":25<", ":26<<"[:-1]))
        assert not james.look()
        assert james.look()
        assert 26 in james.reading().ports
        assert 25 not in james.reading().ports

    def test_a_broken_change_leaves_what_was_read(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """While half of a file is written, what it said before counts; it is told once, and forgotten when mended."""
        put(tmp_path, smtpserver=SMTP)
        james = James(tmp_path)
        before = james.read()
        put(tmp_path, smtpserver=SMTP[:-30])
        for _ in range(4):
            james.look()
            james.tell()
        assert james.reading().ports == before.ports
        assert len(caplog.records) == 1
        assert "smtpserver.xml:24: is not well-formed XML" in caplog.text
        put(tmp_path, smtpserver=SMTP)
        james.look()
        james.look()
        assert james.reading() == before

    def test_a_file_that_goes(self, tmp_path: Path) -> None:
        """A file that is away for seconds keeps its ports, one that stays away takes them along; a folder doesn't."""
        folder = tmp_path / "conf"
        folder.mkdir()
        put(folder, smtpserver=SMTP, imapserver="<imapservers><imapserver/></imapservers>")
        james = James(folder)
        james.read()
        (folder / "imapserver.xml").unlink()
        for _ in range(5):
            james.look()
        assert 143 in james.reading().ports
        for _ in range(6):
            james.look()
        assert 143 not in james.reading().ports
        folder.rename(tmp_path / "away")
        for _ in range(20):
            james.look()
        assert 25 in james.reading().ports
        assert "is gone with its folder" in str(james.reading().problems[0])

    def test_odd_files_are_not_waited_for(self, tmp_path: Path) -> None:
        """A folder or a pipe in the place of a file is told, and never waited for."""
        import os  # noqa: PLC0415 - only here

        (tmp_path / "imapserver.xml").mkdir()
        os.mkfifo(tmp_path / "smtpserver.xml")
        reading = James(tmp_path).read()
        assert reading.ports == Ports.of(25, 465, 587, 143, 993)
        assert len(reading.problems) == 2

    def test_a_file_that_we_may_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that is closed to the service is told, with what would help."""
        import os  # noqa: PLC0415 - only here

        put(tmp_path, smtpserver=SMTP)

        def refuse(*_: object, **__: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
        reading = James(tmp_path).read()
        assert all("chgrp fwbouncer and chmod g+r" in str(problem) for problem in reading.problems)
        assert {25, 465, 587, 143, 993} <= set(reading.ports)
