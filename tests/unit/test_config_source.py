"""How the file is read: overlay, variables, texts that YAML would bend, files that are something else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fwbouncer.config.load import load
from fwbouncer.config.schema import Config
from fwbouncer.errors import ConfigError
from tests.effort import examples

BASE = "mode: nftables\napi_url: http://127.0.0.1:8080/\n"
KEYED = BASE + "api_key: k\n"
_NOBODY = 65534


def put(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    """Write a file that only its owner reads."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def make(tmp_path: Path, content: str | bytes, overlay: str | None = None, **environ: str) -> Config:
    """Load a configuration and its overlay."""
    if overlay is not None:
        put(tmp_path / "c.yaml.local", overlay)
    return load(put(tmp_path / "c.yaml", content), environ)


def complaint(tmp_path: Path, content: str | bytes, overlay: str | None = None, **environ: str) -> str:
    """Return the complaints about a configuration as one text, paths shortened to names."""
    with pytest.raises(ConfigError) as caught:
        make(tmp_path, content, overlay, **environ)
    return str(caught.value).replace(f"{tmp_path}/", "")


class TestOverlay:
    """The file's `.local` neighbour."""

    def test_blocks_merge_and_lists_are_replaced(self, tmp_path: Path) -> None:
        """The overlay's keys win, inside blocks too; a list of its own replaces the whole list."""
        base = KEYED + "origins: [a, b]\nnftables: {ipv4: {table: one, priority: 3}}\n"
        made = make(tmp_path, base, "origins: [c]\nnftables: {ipv4: {table: two}}\napi_key: other\n")
        nft = next(iter(made.nft.values()))
        assert (made.lapi.origins, nft.table, nft.priority, made.lapi.key) == (("c",), "two", 3, "other")

    def test_null_takes_values_away(self, tmp_path: Path) -> None:
        """A null in the overlay, for a key or for a whole block, is as if the file had never named it."""
        base = KEYED + "nftables: {ipv4: {table: one}}\nlog_level: debug\n"
        made = make(tmp_path, base, "nftables: ~\nlog_level:\n")
        assert (next(iter(made.nft.values())).table, made.log.level) == ("crowdsec", 20)

    def test_lines_point_into_the_overlay(self, tmp_path: Path) -> None:
        """A mistake in the overlay is reported with the overlay's name and line."""
        assert complaint(tmp_path, KEYED, "# a comment\n\ndeny_log: x\n").startswith(
            "c.yaml.local:3: deny_log:"
        )

    def test_empty_overlay(self, tmp_path: Path) -> None:
        """An overlay with nothing but comments changes nothing."""
        assert make(tmp_path, KEYED, "# nothing\n").lapi.key == "k"

    def test_unreadable_overlay_is_an_error(self, tmp_path: Path) -> None:
        """An overlay that is there and can't be read is not taken for one that isn't."""
        (tmp_path / "c.yaml.local").symlink_to(tmp_path / "gone")
        assert "c.yaml.local: unable to read config file" in complaint(tmp_path, KEYED)


class TestVariables:
    """What the environment puts in."""

    def test_both_forms(self, tmp_path: Path) -> None:
        """$NAME and ${NAME} are replaced in values of every type, also inside a longer text."""
        text = (
            "mode: ${M}\napi_url: http://$HOST:${PORT}/\napi_key: $KEY\nprometheus: {listen_port: ${PORT}}\n"
            "deny_log: $YES\norigins: [$M, b]\n"
        ).replace("{listen_port: ${PORT}}", "\n  listen_port: ${PORT}")
        made = make(tmp_path, text, M="dry-run", HOST="h", PORT="81", KEY=" 007 ", YES="on")
        assert (made.lapi.urls, made.lapi.key, made.prometheus.listen_port) == (("http://h:81/",), "007", 81)
        assert (made.deny.log, made.lapi.origins) == (True, ("dry-run", "b"))

    def test_unset_ones_stay(self, tmp_path: Path) -> None:
        """A variable that isn't set stays as it is written, with a warning; a dollar alone is a dollar."""
        made = make(tmp_path, BASE + "api_key: ${NOT_SET}\n")
        assert made.lapi.key == "${NOT_SET}"
        assert ["its variable is not set" in warning for warning in made.warnings] == [True]
        made = make(tmp_path, BASE + "api_key: a$b$$c$\n")
        assert (made.lapi.key, made.warnings) == ("a$b$$c$", ())

    @pytest.mark.parametrize(
        "evil",
        ["x: y", "k # no comment", "'\"", "{a: b}", "*a", "&a", "k\nmode: pf", "$SELF", "!!python/object:os"],
    )
    def test_no_injection(self, tmp_path: Path, evil: str) -> None:
        """A variable's text is a value, whatever YAML would make of it; it is not expanded again."""
        made = make(tmp_path, KEYED + "origins:\n  - a\n  - $EVIL\n", EVIL=evil.replace("\n", " "), SELF="no")
        assert ("a", evil.replace("\n", " ")) == made.lapi.origins
        if "\n" in evil:
            assert "control character" in complaint(tmp_path, KEYED + "origins: ['$EVIL']\n", EVIL=evil)

    def test_empty_variable_is_no_value(self, tmp_path: Path) -> None:
        """A variable set to nothing leaves the default, or the complaint that a value is missing."""
        assert make(tmp_path, KEYED + "log_level: ${LEVEL}\n", LEVEL="").log.level == 20
        assert "config does not contain 'mode'" in complaint(tmp_path, KEYED.replace("nftables", "$M"), M="")

    @pytest.mark.parametrize("value", ["a, b", "[a, b]", "['a', \"b\"]", "a,b,"])
    def test_list_from_one_variable(self, tmp_path: Path, value: str) -> None:
        """A list can come from one variable."""
        assert make(tmp_path, KEYED + "origins: ${ORIGINS}\n", ORIGINS=value).lapi.origins == ("a", "b")

    def test_names_and_comments_are_left_alone(self, tmp_path: Path) -> None:
        """Keys and comments are not expanded."""
        assert make(tmp_path, KEYED + "# $A\n", A="\nmode: pf").mode.value == "nftables"
        assert "$A: unknown key" in complaint(tmp_path, KEYED + "$A: 1\n", A="mode")


class TestTexts:
    """YAML's types don't bend values."""

    @pytest.mark.parametrize(
        "key",
        [
            "12345678",
            "0x1f",
            "1e5",
            "007",
            "1_000",
            "1:30",
            "2001-01-01",
            "true",
            "on",
            ".5",
            "0o17",
            "-1",
            "NaN",
        ],
    )
    def test_a_key_is_what_was_written(self, tmp_path: Path, key: str) -> None:
        """An API key that YAML takes for a number, a date or a boolean stays the text it is."""
        assert make(tmp_path, BASE + f"api_key: {key}\n").lapi.key == key

    @pytest.mark.parametrize("word", ["true", "True", "TRUE", "yes", "Yes", "on", "ON", "y", "'true'"])
    def test_true(self, tmp_path: Path, word: str) -> None:
        """All words that YAML 1.1 takes for true are true."""
        assert make(tmp_path, KEYED + f"deny_log: {word}\n").deny.log is True

    @pytest.mark.parametrize("word", ["false", "no", "No", "off", "OFF", "n"])
    def test_false(self, tmp_path: Path, word: str) -> None:
        """All words that YAML 1.1 takes for false are false."""
        assert make(tmp_path, KEYED + f"compress_logs: {word}\n").log.compress is False

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("10s", 10), ("1m30s", 90), ("0.01s", 0.01), ("500ms", 0.5), ("1h", 3600), ("1.5h", 5400)],
    )
    def test_durations(self, tmp_path: Path, text: str, seconds: float) -> None:
        """Durations are written as Go writes them."""
        assert make(tmp_path, KEYED + f"update_frequency: {text}\n").lapi.update_frequency == seconds

    @pytest.mark.parametrize("port", ["60602", "'60602'", "60_602"])
    def test_port_as_number_or_text(self, tmp_path: Path, port: str) -> None:
        """A port may be a number or a text."""
        assert (
            make(tmp_path, KEYED + f"prometheus: {{listen_port: {port}}}\n").prometheus.listen_port == 60602
        )

    def test_url_gets_its_slash(self, tmp_path: Path) -> None:
        """An http URL ends in a slash, a socket's path doesn't; the list is kept in order."""
        urls = "api_urls: ['https://[::1]:8080/x', /run/crowdsec.sock]\napi_key: k\n"
        assert make(tmp_path, "mode: dry-run\n" + urls).lapi.urls == (
            "https://[::1]:8080/x/",
            "/run/crowdsec.sock",
        )

    def test_spaces_in_quotes_are_kept(self, tmp_path: Path) -> None:
        """The space at the end of a log prefix is meant."""
        assert make(tmp_path, KEYED + "deny_log_prefix: 'x: '\n").deny.log_prefix == "x: "


class TestFiles:
    """Files that are no configuration."""

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("", "config does not contain 'mode'"),
            ("# only comments\n", "config does not contain 'mode'"),
            ("- a\n- b\n", "c.yaml:1: has no `key: value` lines"),
            ("just text\n", "c.yaml:1: has no `key: value` lines"),
            ("mode: nftables\n---\nmode: pf\n", "c.yaml:2: a second document begins here"),
            ("mode: nftables\n\tapi_key: k\n", "c.yaml:2: a tab where YAML wants spaces"),
            ("mode: 'nftables\n", "not valid YAML"),
            ("mode: [a\nx: y\n", "c.yaml:2: not valid YAML: expected ',' or ']', but got ':'; check"),
            (
                "mode: @x\n",
                "c.yaml:1: not valid YAML: found character '@' that cannot start any token; check",
            ),
            ("mode: \x07\n", "c.yaml:1: contains a control character"),
            (b"a: b\nmode: \xff\n", "c.yaml:2: is not UTF-8 text"),
            ("mode: x".encode("utf-16"), "c.yaml:1: is not UTF-8 text"),
            ("mode: *here\n", "c.yaml:1: YAML takes & and * for anchors"),
            ('mode: "\\UFFFFFFFF"\n', "not usable YAML"),
            ("[" * 5000, "not usable YAML"),
            ("a: " + "{a: " * 5000, "not usable YAML"),
            ("x" * 300_000, "it is larger than 256 KiB"),
        ],
    )
    def test_what_is_no_configuration(self, tmp_path: Path, content: str | bytes, words: str) -> None:
        """A file that holds something else gives one clear complaint, with the line where there is one."""
        assert words in complaint(tmp_path, content)

    def test_byte_order_mark(self, tmp_path: Path) -> None:
        """A UTF-8 byte order mark, which some editors write, is not part of the first key."""
        assert make(tmp_path, b"\xef\xbb\xbf" + KEYED.encode()).lapi.key == "k"

    def test_bomb(self, tmp_path: Path) -> None:
        """Aliases that would unfold to billions of items cost nothing."""
        levels = "".join(f"b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 9)}]\n" for i in range(1, 30))
        assert "b29: unknown key" in complaint(tmp_path, KEYED + "b0: &b0 [x]\n" + levels)
        assert "an item is not one value" in complaint(tmp_path, KEYED + "origins: &a [*a, *a]\n")

    def test_paths(self, tmp_path: Path) -> None:
        """A missing file, a directory, a pipe and a device are named for what they are, at once."""
        os.mkfifo(tmp_path / "pipe")
        for path, words in (
            (tmp_path / "gone.yaml", "No such file or directory"),
            (tmp_path, "Is a directory"),
            (tmp_path / "pipe", "it is not a regular file"),
            (Path("/dev/zero"), "it is not a regular file"),
            (Path("/dev/null"), "it is not a regular file"),
            (Path("nul\0byte"), "no file can have this name"),
        ):
            with pytest.raises(ConfigError, match=f"unable to read config file: {words}"):
                load(path, {})

    def test_unreadable(self, tmp_path: Path) -> None:
        """A file that may not be read says so."""
        path = put(tmp_path / "c.yaml", KEYED, mode=0)
        before = os.geteuid()
        os.seteuid(_NOBODY if before == 0 else before)  # root reads everything
        try:
            with pytest.raises(ConfigError, match="Permission denied"):
                load(path, {})
        finally:
            os.seteuid(before)


class TestSecrets:
    """Keys, where they stand, and who can see them."""

    def test_key_file(self, tmp_path: Path) -> None:
        """The key may stand alone in a file, with space around it."""
        key = put(tmp_path / "key", " 00ff \n")
        made = make(tmp_path, BASE + f"api_key_file: {key}\n")
        assert (made.lapi.key, made.warnings) == ("00ff", ())

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, "key; put the key there that `cscli bouncers add fwbouncer` prints"),
            (b"", "the file is empty"),
            (b" \n", "the file is empty"),
            (b"\xff\x00", "something binary"),
            (b"two\nlines", "an HTTP header can't carry"),
        ],
    )
    def test_wrong_key_files(self, tmp_path: Path, content: bytes | None, words: str) -> None:
        """A useless key file is named with its line in the configuration, and the key is not shown."""
        if content is not None:
            put(tmp_path / "key", content)
        text = complaint(tmp_path, BASE + f"api_key_file: {tmp_path}/key\n")
        assert text.startswith("c.yaml:3: api_key_file: ")
        assert words in text
        assert "lines" not in text

    def test_only_one_key(self, tmp_path: Path) -> None:
        """A key and a key file contradict each other."""
        put(tmp_path / "key", "x")
        text = complaint(tmp_path, KEYED + f"api_key_file: {tmp_path}/key\n")
        assert text == "c.yaml:4: api_key_file: api_key stands in c.yaml:3; keep one of them"

    def test_certificate_needs_its_key(self, tmp_path: Path) -> None:
        """A certificate without its private key, and the reverse, is a mistake."""
        put(tmp_path / "pem", "x")
        assert "c.yaml:3: cert_path: needs key_path" in complaint(
            tmp_path, BASE + f"cert_path: {tmp_path}/pem\n"
        )
        assert "c.yaml:3: key_path: needs cert_path" in complaint(
            tmp_path, BASE + f"key_path: {tmp_path}/pem\n"
        )

    def test_certificate_instead_of_key(self, tmp_path: Path) -> None:
        """A certificate with its private key needs no API key."""
        pem = put(tmp_path / "pem", "x")
        made = make(tmp_path, BASE + f"cert_path: {pem}\nkey_path: {pem}\n")
        assert (pem, pem, None) == (made.lapi.cert_path, made.lapi.key_path, made.lapi.key)

    def test_readable_secrets_warn(self, tmp_path: Path) -> None:
        """A secret that others can read is warned about; a key from a variable is none."""
        put(tmp_path / "c.yaml", KEYED, mode=0o644)
        (warning,) = load(tmp_path / "c.yaml", {}).warnings
        assert "c.yaml:3: api_key: " in warning
        assert "chmod it to 0640" in warning
        put(tmp_path / "c.yaml", BASE + "api_key: $K\n", mode=0o644)
        assert load(tmp_path / "c.yaml", {"K": "k"}).warnings == ()
        key = put(tmp_path / "key", "k", mode=0o640)
        assert make(tmp_path, BASE + f"api_key_file: {key}\n").warnings == ()  # so the service reads it
        pem = put(tmp_path / "pem", "x", mode=0o604)
        lines = f"cert_path: {key}\nkey_path: {pem}\n"
        assert "can be read by others" in make(tmp_path, BASE + lines).warnings[0]

    @pytest.mark.parametrize(
        "lines",
        [
            "api_key: *SECRET99\n", "api_key: &SECRET99\n  x\n", "api_key: !SECRET99!x y\n",
            "api_key: {SECRET99: 1}\n",
            "api_key: [SECRET99]\n", "api_key: 'SECRET99\n", "api_key: 'SECRET99 x'\n",
            "api_key: SECRET99: x\n",
            'api_key: "SECRET99\\q"\n', "api_key: %SECRET99\n", "api_key: k\napi_url: http://a:SECRET99@h/\n",
            "api_key: k\napi_url: http://a:SECRET99@[h/\n", "api_key: k\napi_key: SECRET99\n",
        ],
    )  # fmt: skip
    def test_never_in_a_complaint(self, tmp_path: Path, lines: str) -> None:
        """No complaint, about YAML or about values, repeats what may be a secret."""
        assert "SECRET99" not in complaint(tmp_path, "mode: nftables\n" + lines)


KEY_NAMES = st.sampled_from(
    ["mode", "api_url", "api_key", "api_urls", "nftables", "ipv4", "table", "priority", "log_dir", "origins",
     "pf", "update_frequency", "nftables_hooks", "control_socket", "deny_log_prefix", "log_level",
     "ca_cert_path", "x"]
)  # fmt: skip
SCALARS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["nftables", "10s", "on", "~", "http://h/", "$A", "${A}", "0x1f", "-5", "*a", "&a b"]),
)
LINES = st.builds(
    lambda indent, key, value: f"{'  ' * indent}{key}: {value}", st.integers(0, 2), KEY_NAMES, SCALARS
)


class TestFuzz:
    """Anything at all."""

    @settings(max_examples=examples(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.one_of(
            st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass"))
        )
    )
    @example(b"%YAML 9.9\n---\na: b")
    @example(b"? ? ? ?")
    @example(b'mode: "\\uD800"')
    @example(b'log_dir: "\\0"\nmode: x')
    def test_any_bytes(self, tmp_path: Path, content: bytes) -> None:
        """Whatever the file holds, the answer is a Config or a ConfigError with something to say."""
        self.check(tmp_path, content)

    @settings(max_examples=examples(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(LINES, max_size=8), st.text(max_size=8))
    def test_nearly_right(self, tmp_path: Path, lines: list[str], variable: str) -> None:
        """The same holds for known keys with strange values, and strange variables."""
        self.check(tmp_path, "\n".join(lines).encode("utf-8", "surrogatepass"), variable)

    def check(self, tmp_path: Path, content: bytes, variable: str = "") -> None:
        """Load it; complaints have text, and each is one line."""
        path = put(tmp_path / "c.yaml", content)
        problems: tuple[str, ...] | None = None
        try:
            made = load(path, {"A": variable})
        except ConfigError as error:
            problems = error.problems
        if problems is None:
            assert isinstance(made, Config)
        else:
            assert problems
            assert all(problem.startswith(str(tmp_path)) and problem.isprintable() for problem in problems)
