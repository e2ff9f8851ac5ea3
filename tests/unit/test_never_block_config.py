"""Entries of `never_block`: what they may be, and what is said of those that can't be."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.commands.times import seconds
from fwbouncer.config.load import draft
from fwbouncer.config.never_block import MOST_ENTRIES, SHORTEST, entry, gathered, listed, spared
from fwbouncer.config.schema import NeverBlock
from fwbouncer.core.addresses import read
from fwbouncer.core.model import family_of, is_range
from fwbouncer.errors import ConfigError
from tests.unit.core_naive import thorough

BASE = "mode: nftables\napi_url: http://127.0.0.1:8080/\napi_key: k\n"


class TestEntries:
    """One entry."""

    def test_kinds(self) -> None:
        """Addresses, networks, names, files and words are told apart and sorted."""
        texts = [
            "192.0.2.1",
            "2001:db8::/32",
            "Mail.Example.org.",
            "file:/etc/list",
            "SSH-peers",
            "lapi",
            "mx",
        ]
        assert gathered(map(entry, texts)) == NeverBlock(
            networks=(read("192.0.2.1"), read("2001:db8::/32")),
            names=("mail.example.org", "mx"),
            files=(Path("/etc/list"),),
            ssh_peers=True,
        )

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("0.0.0.0/0", "switch the bans off"),
            ("10.0.0.0/7", "/8 or longer"),
            ("::/0", "switch the bans off"),
            ("2000::/15", "/16 or longer"),
            ("::ffff:0:0/96", "switch the bans off"),
            ("192.0.2.1/24", "write 192.0.2.0/24 for all of it"),
            ("fe80::1%eth0", "leave that out"),
            ("1.2.3", "no address and no network"),
            ("192.0.2.256", "no address and no network"),
            ("gateway", "did you mean gateways?"),
            ("own-adresses", "did you mean own-addresses?"),
            ("file:list", "absolute path"),
            ("-mail.example.org", "no host name"),
            ("a b", "no host name"),
            ("a..b", "no host name"),
            (f"{'a' * 64}.org", "no host name"),
            ("*.example.org", "no host name"),
        ],
    )
    def test_refused(self, text: str, why: str) -> None:
        """What is wrong is said with what to do."""
        with pytest.raises(ValueError, match=r"^'") as caught:
            entry(text)
        assert why in str(caught.value)

    @thorough
    @given(st.text(max_size=40))
    def test_any_text(self, text: str) -> None:
        """No text is a crash, and nothing short of a real network spares much of the internet."""
        found: object = None
        with suppress(ValueError):
            found = entry(text)
        if isinstance(found, bytes) and is_range(found):
            assert found[-1] >= SHORTEST[family_of(found)]

    @thorough
    @given(st.ip_addresses(), st.integers(0, 128))
    def test_networks(self, address: object, prefix: int) -> None:
        """A network is taken as written or refused; it never becomes a wider one."""
        text = f"{address}/{prefix}"
        try:
            key = spared(text)
        except ValueError:
            return
        mapped = text.startswith("::ffff:")
        assert (key[-1] if is_range(key) else len(key) * 8) == prefix - (96 if mapped else 0)


class TestFile:
    """A file of entries."""

    def test_lines(self, tmp_path: Path) -> None:
        """Comments and empty lines are skipped; what is wrong is named by its line, and the rest holds."""
        path = tmp_path / "list"
        path.write_text(
            "# ours\n\n192.0.2.1 # one\n0.0.0.0/0\nmail.example.org\r\nfile:/etc/x\nssh-peers\n\xff\n"
        )
        found, problems = listed(path)
        assert (found.networks, found.names) == ((read("192.0.2.1"),), ("mail.example.org",))
        assert [problem.partition(": ")[0] for problem in problems] == [f"{path}:{n}" for n in (4, 6, 7, 8)]

    @thorough
    @given(st.binary(max_size=300))
    def test_any_bytes(self, tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
        """No content is a crash, and every complaint is one line."""
        path = tmp_path_factory.getbasetemp() / "any"
        path.write_bytes(data)
        assert all(problem.isprintable() for problem in listed(path)[1])

    def test_endless(self, tmp_path: Path) -> None:
        """A file that is no list but something huge gives a bounded number of entries."""
        path = tmp_path / "list"
        path.write_text("".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}\n" for n in range(MOST_ENTRIES + 5)))
        found, problems = listed(path)
        assert len(found.networks) == MOST_ENTRIES
        assert len(problems) == 1

    def test_a_pipe_is_not_waited_for(self) -> None:
        """A device that never ends is read no further than a list may be long."""
        assert listed(Path("/dev/zero"))[1]


class TestInTheConfiguration:
    """The key."""

    def write(self, tmp_path: Path, text: str) -> Path:
        """Write a configuration."""
        path = tmp_path / "c.yaml"
        path.write_text(BASE + text)
        path.chmod(0o600)
        return path

    def test_a_wrong_entry_is_named_by_its_line(self, tmp_path: Path) -> None:
        """Each mistake says where it stands."""
        path = self.write(tmp_path, "never_block:\n  - 192.0.2.1\n  - 0.0.0.0/0\n  - 1.2.3\n")
        problems = draft(path, {}).problems
        assert [problem.partition(" ")[0] for problem in problems] == [f"{path}:6:", f"{path}:7:"]

    def test_files_are_looked_into(self, tmp_path: Path) -> None:
        """check-config warns of a file that is missing and of lines that are wrong, and goes on."""
        (tmp_path / "bad").write_text("192.0.2.1\n::/0\n")
        path = self.write(tmp_path, f"never_block: ['file:{tmp_path}/bad', 'file:{tmp_path}/gone']\n")
        found = draft(path, {})
        assert found.config is not None
        assert any(f"{tmp_path}/bad:2: '::/0' would" in warning for warning in found.warnings)
        assert any(f"{tmp_path}/gone: can't be read" in warning for warning in found.warnings)


class TestTimes:
    """How long somebody is unblocked."""

    @pytest.mark.parametrize(
        ("text", "length"), [("2s", 2), ("1h30m", 5400), ("30d", 2_592_000), ("720h", 2_592_000)]
    )
    def test_good(self, text: str, length: int) -> None:
        """Go's durations and days are understood."""
        assert seconds(text, "--for", 30) == length

    @pytest.mark.parametrize("text", ["", "0s", "-1h", "31d", "721h", "1", "for ever", "1.5d"])
    def test_refused(self, text: str) -> None:
        """A time that is none, or longer than a rescue should last, is refused."""
        with pytest.raises(ConfigError, match="no time up to 30d"):
            seconds(text, "--for", 30)
