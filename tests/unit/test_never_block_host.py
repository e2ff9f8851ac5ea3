"""What the host says of who must pass: names, files, sessions, routes, and what is remembered of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.config.never_block import listed
from fwbouncer.core.addresses import read
from fwbouncer.daemon.guardian import lapi_hosts
from fwbouncer.daemon.name_watch import NameWatch
from fwbouncer.host import names, ssh
from fwbouncer.host.lists import Lists
from fwbouncer.host.names import MOST, STAYS, Names, peer
from fwbouncer.host.remembered import LONGEST, Remembered
from tests.unit.core_naive import thorough

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fwbouncer.core.model import AddressKey, Millis

NAME = "mail.example.org"
GOOD = "192.0.2.1"


def following(*answers: Iterable[str] | OSError, every: Millis = 300_000) -> list[AddressKey]:
    """Take answers one after the other; return what the name stands for then."""
    found = Names()
    found.follow([NAME])
    for number, answer in enumerate(answers):
        found.take(NAME, answer, number * every)
    return found.addresses()[NAME]


class TestNames:
    """Answers, good and bad."""

    @pytest.mark.parametrize(
        "answer",
        [
            OSError("timed out"),
            [],
            ["127.0.0.1"],
            ["0.0.0.0", "::"],
            ["224.0.0.1", "255.255.255.255", "240.0.0.1"],
            ["::1", "ff02::1", "fe80::1", "169.254.0.1", "::ffff:10.0.0.1"],
            ["0.0.0.0/0", "rubbish", "192.0.2.0/24"],
            [f"198.51.{n >> 8}.{n & 255}" for n in range(MOST + 1)],
        ],
    )
    def test_a_bad_answer_changes_nothing(self, answer: list[str] | OSError) -> None:
        """After a failure or a poisoned answer, the last good addresses stay, however often it comes."""
        assert following([GOOD], *[answer] * 20) == [read(GOOD)]
        assert following(answer) == []

    def test_what_is_good_in_an_answer_counts(self) -> None:
        """Private and public addresses are taken, and what no peer can have is left out."""
        assert following([GOOD, "127.0.0.1", "10.1.2.3", "2001:db8::1", "0.0.0.0"]) == sorted(
            map(read, [GOOD, "10.1.2.3", "2001:db8::1"])
        )

    def test_a_name_that_moves(self) -> None:
        """The old address stays for a while, as rotating names need it, and then goes."""
        assert following([GOOD], ["192.0.2.2"]) == [read(GOOD), read("192.0.2.2")]
        assert following([GOOD], ["192.0.2.2"], every=STAYS + 1) == [read("192.0.2.2")]

    @thorough
    @given(
        st.lists(
            st.one_of(st.just(OSError("no")), st.lists(st.ip_addresses().map(str), max_size=40)), max_size=12
        )
    )
    def test_never_many_and_never_none(self, answers: list[list[str] | OSError]) -> None:
        """Whatever comes, a name stands for single addresses, at most 32, and for some once it did for one."""
        found = Names()
        found.follow([NAME])
        known = False
        for number, answer in enumerate(answers):
            found.take(NAME, answer, number * 300_000)
            held = found.addresses()[NAME]
            assert len(held) <= MOST
            assert all(len(key) in {4, 16} for key in held)
            assert held or not known
            known = bool(held)

    @thorough
    @given(st.text(max_size=50))
    def test_any_text_for_an_address(self, text: str) -> None:
        """No answer is a crash."""
        key = peer(text)
        assert key is None or len(key) in {4, 16}

    def test_names_that_went_are_forgotten(self) -> None:
        """An answer that comes for a name that nobody lists any more is dropped."""
        found = Names()
        found.follow([NAME])
        found.follow([])
        found.take(NAME, [GOOD], 0)
        assert found.addresses() == {}


class TestNameWatch:
    """Looking up, with a resolver of ours."""

    def watch(self, folder: Path, resolve: names.Resolver) -> NameWatch:
        """Make one that remembers in a folder."""
        remembered = Remembered(folder, lambda: 0, lambda: 0)
        return NameWatch(resolve, remembered, lambda: 0, lambda: None)

    def test_a_resolver_that_hangs_holds_up_the_start_only_for_a_moment(self, tmp_path: Path) -> None:
        """Unknown names are waited for, but not longer than a little; others go in meanwhile."""

        def resolve(name: str) -> list[str]:
            if name == "slow":
                time.sleep(5)
            return [GOOD]

        async def work() -> None:
            watch = self.watch(tmp_path, resolve)
            await watch.begin(["slow", NAME])
            assert watch.addresses() == {"slow": [], NAME: [read(GOOD)]}

        began = time.monotonic()
        asyncio.run(work())
        assert time.monotonic() - began < 4

    def test_the_last_addresses_outlive_a_restart_without_dns(self, tmp_path: Path) -> None:
        """A name that was known in an earlier run is known at once, though nobody answers now."""

        def nobody(name: str) -> list[str]:
            raise socket.gaierror(-3, "Temporary failure in name resolution")

        def labels(name: str) -> list[str]:
            raise UnicodeError("label too long")

        async def work() -> None:
            await self.watch(tmp_path, lambda _: [GOOD]).begin([NAME])
            for broken in (nobody, labels):
                watch = self.watch(tmp_path, broken)
                await watch.begin([NAME])
                looking = asyncio.create_task(watch.run())
                await asyncio.sleep(0.1)
                looking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await looking
                assert watch.addresses() == {NAME: [read(GOOD)]}

        asyncio.run(work())


class TestLists:
    """Files that change under us."""

    def test_a_file_that_goes_leaves_its_entries(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What was read last stays while the file is missing, which is said once; a new file is read."""
        path, lists = tmp_path / "list", Lists()
        path.write_text(f"{GOOD}\n")
        lists.follow([path])
        path.unlink()
        assert lists.look()
        assert not lists.look()
        assert lists.contents[path].networks == (read(GOOD),)
        assert caplog.text.count("its last 1 entries stay") == 1
        path.write_text("192.0.2.2\n")
        assert lists.look()
        assert lists.contents[path].networks == (read("192.0.2.2"),)

    def test_what_was_told_is_not_told_again(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A complaint that reading the configuration made already isn't made twice."""
        path = tmp_path / "list"
        path.write_text("::/0\nrubbish!\n")
        lists = Lists()
        lists.follow(
            [path],
            [f"c.yaml:3: never_block: {problem}" for problem in listed(path)[1][1:]],
        )
        assert "rubbish" not in caplog.text
        assert f"{path}:1" in caplog.text


class TestRemembered:
    """The two files."""

    def test_an_hour_is_an_hour_across_a_boot(self, tmp_path: Path) -> None:
        """What is left is counted by the date; what is over is gone."""
        before = Remembered(tmp_path, lambda: 5_000, lambda: 1_000_000)
        assert before.keep_unblocked({read(GOOD): 5_000 + 3_600_000, read("2001:db8::/32"): 5_000 + 60_000})
        after = Remembered(tmp_path, lambda: 100, lambda: 1_000_000 + 600_000)
        assert after.unblocked() == {read(GOOD): 100 + 3_000_000}

    def test_a_date_that_was_set_back(self, tmp_path: Path) -> None:
        """However wrong the date is, nobody is unblocked for longer than by command."""
        Remembered(tmp_path, lambda: 0, lambda: 10**13).keep_unblocked({read(GOOD): 60_000})
        assert Remembered(tmp_path, lambda: 0, lambda: 0).unblocked() == {read(GOOD): LONGEST}

    @pytest.mark.parametrize(
        "text",
        ["", "{", "[]", "[1]", '{"entries": 1}', '{"entries": {"x": 9e99, "1.2.3.4": "y"}}', "[" * 100_000],
    )
    def test_rubbish(self, tmp_path: Path, text: str) -> None:
        """A file that makes no sense is as good as none."""
        (tmp_path / "unblocked.json").write_text(text)
        (tmp_path / "names.json").write_text(text)
        remembered = Remembered(tmp_path, lambda: 0, lambda: 0)
        assert (remembered.unblocked(), remembered.names()) == ({}, {})

    def test_nowhere_to_write(self, tmp_path: Path) -> None:
        """Without a folder, or with a file in its place, nothing is kept, and that is told."""
        (tmp_path / "file").touch()
        for folder in (None, tmp_path / "file"):
            assert not Remembered(folder, lambda: 0, lambda: 0).keep_unblocked({read(GOOD): 1})


class TestSsh:
    """Who is logged in."""

    admin, guesser = (read("192.0.2.10"), 50_000), (read("192.0.2.66"), 50_001)

    def test_a_connection_is_no_session(self) -> None:
        """Whoever merely tries passwords is not spared, until no sshd would still wait for the right one."""
        sessions = ssh.Sessions(lambda: [self.admin, self.guesser], lambda: [self.admin[0]])
        assert sessions.peers(0) == {self.admin[0]}
        assert sessions.peers(ssh.LOGIN_GRACE - 1) == {self.admin[0]}
        assert sessions.peers(ssh.LOGIN_GRACE) == {self.admin[0], self.guesser[0]}

    def test_one_who_tries_again_begins_again(self) -> None:
        """Many short connections are never a long one."""
        port = iter(range(1000, 2000))
        sessions = ssh.Sessions(lambda: [(self.guesser[0], next(port))], list)
        assert not any(sessions.peers(now) for now in range(0, 10 * ssh.LOGIN_GRACE, 60_000))

    def test_a_login_without_a_connection(self) -> None:
        """A stale record of somebody who is gone spares nobody."""
        assert ssh.Sessions(list, lambda: [self.admin[0]]).peers(0) == set()

    def test_records(self, tmp_path: Path) -> None:
        """Utmp and logind are both read, IPv4 and IPv6; what is broken in them harms nobody."""
        utmp, sessions = tmp_path / "utmp", tmp_path / "sessions"
        sessions.mkdir()
        addresses = [socket.inet_pton(socket.AF_INET6, "2001:db8::7"), b"\xc0\0\2\1".ljust(16, b"\0")]
        row = struct.Struct("=h2xi32s4s32s256s16x16s20x")
        utmp.write_bytes(
            b"".join(row.pack(kind, 1, b"", b"", b"root", b"", a) for kind in (7, 8) for a in addresses)
            + b"torn"
        )
        (sessions / "1").write_text("UID=0\nREMOTE=1\nREMOTE_HOST=192.0.2.9\nSERVICE=sshd\n")
        (sessions / "2").write_text("REMOTE_HOST=host.example\n")
        (sessions / "3").write_bytes(b"\xff\xfe")
        assert ssh.logins(utmp, sessions) == set(map(read, ["2001:db8::7", "192.0.2.1", "192.0.2.9"]))
        assert ssh.logins(tmp_path / "none", tmp_path / "none") == set()

    def test_ports(self, tmp_path: Path) -> None:
        """22, and what sshd's configuration says."""
        (tmp_path / "sshd_config.d").mkdir()
        (tmp_path / "sshd_config").write_text(
            "#Port 1\nPort 2222\nListenAddress [::]:2022\nMatch LocalPort 9\n"
        )
        (tmp_path / "sshd_config.d" / "x.conf").write_text("port 99999\n  Port 8022\n")
        assert ssh.ports(tmp_path) == {22, 2222, 2022, 8022}

    def test_connections(self) -> None:
        """The kernel names the peers of connections to a port, and no others."""
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
            client.connect(server.getsockname())
            port = server.getsockname()[1]
            assert ssh.connections([port]) == {(read("127.0.0.1"), client.getsockname()[1])}


def test_lapi_hosts() -> None:
    """The LAPI's addresses are taken from the URLs; only names are to be looked up."""
    urls = [
        "http://127.0.0.1:8080/",
        "https://[2001:db8::1]:8080/",
        "http://localhost/",
        "/run/s",
        "http://Lapi.example./",
    ]
    assert lapi_hosts(urls) == ([read("127.0.0.1"), read("2001:db8::1")], ["lapi.example"])
