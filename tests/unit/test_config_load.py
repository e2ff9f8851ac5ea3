"""What a configuration file comes to: defaults, the incumbent's keys, every complaint with its line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fwbouncer.config.keys import BY_NAME, KEYS, rows
from fwbouncer.config.load import draft, load
from fwbouncer.config.schema import Config, Deny, Hook, Iptables, Lapi, Log, Mode, Prometheus, Replies
from fwbouncer.core.model import Family
from fwbouncer.core.policy import Action
from fwbouncer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = "mode: nftables\napi_url: http://127.0.0.1:8080/\napi_key: k\n"

# The key names of the file that crowdsec-firewall-bouncer's packages install, with values of the same types.
INCUMBENT = """\
mode: ${BACKEND}
update_frequency: 10s
log_mode: file
log_dir: /var/log/
log_level: info
log_compression: true
log_max_size: 100
log_max_backups: 4
log_max_age: 30
api_url: http://127.0.0.1:8080/
api_key: ${API_KEY}
insecure_skip_verify: false
disable_ipv6: false
deny_action: DROP
deny_log: false
supported_decisions_types:
  - ban
blacklists_ipv4: crowdsec-blacklists
blacklists_ipv6: crowdsec6-blacklists
ipset_type: nethash
iptables_chains:
  - INPUT
iptables_add_rule_comments: true
nftables:
  ipv4:
    enabled: true
    set-only: false
    table: crowdsec
    chain: crowdsec-chain
    priority: -10
  ipv6:
    enabled: true
    set-only: false
    table: crowdsec6
    chain: crowdsec6-chain
    priority: -10
nftables_hooks:
  - input
  - forward
pf:
  anchor_name: ""
prometheus:
  enabled: false
  listen_addr: 127.0.0.1
  listen_port: 60601
"""


def write(tmp_path: Path, text: str, overlay: str | None = None) -> Path:
    """Write a configuration, private as it should be."""
    path = tmp_path / "c.yaml"
    for file, content in ((path, text), (tmp_path / "c.yaml.local", overlay)):
        if content is not None:
            file.write_text(content)
            file.chmod(0o600)
    return path


def problems(tmp_path: Path, text: str, overlay: str | None = None, **environ: str) -> list[str]:
    """Return the complaints about a configuration, paths shortened to names."""
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text, overlay), environ)
    return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]


def config(tmp_path: Path, text: str, overlay: str | None = None, **environ: str) -> Config:
    """Load a configuration."""
    return load(write(tmp_path, text, overlay), environ)


def warnings(tmp_path: Path, text: str, overlay: str | None = None, **environ: str) -> list[str]:
    """Load a configuration and return its warnings, paths shortened to names."""
    found = load(write(tmp_path, text, overlay), environ).warnings
    return [warning.replace(f"{tmp_path}/", "") for warning in found]


class TestDefaults:
    """What holds when the file is silent."""

    def test_three_keys_are_enough(self, tmp_path: Path) -> None:
        """Mode, URL and key make a whole configuration, with the schema's own defaults and no warning."""
        made = config(tmp_path, BASE)
        assert (Lapi(("http://127.0.0.1:8080/",), key="k"), Mode.NFTABLES) == (made.lapi, made.mode)
        assert (Deny(), Iptables(), Log(), Prometheus()) == (
            made.deny,
            made.iptables,
            made.log,
            made.prometheus,
        )
        fresh = Config(made.path, made.mode, made.lapi, made.families, made.nft)
        assert fresh == made

    def test_names_are_the_incumbents(self, tmp_path: Path) -> None:
        """Tables, chains and sets have the names that scripts and dashboards know."""
        nft = config(tmp_path, BASE).nft
        names = {(n.table, n.chain, n.blacklists, n.priority) for n in nft.values()}
        assert {
            ("crowdsec", "crowdsec-chain", "crowdsec-blacklists", -10),
            ("crowdsec6", "crowdsec6-chain", "crowdsec6-blacklists", -10),
        } == names

    def test_every_default_parses(self) -> None:
        """A default in the table is written as one would write it in the file."""
        for key in KEYS:
            for word in key.default.split(", ") if key.kind.many else [key.default]:
                assert not word or key.kind.parse(word) is not None

    def test_rows_document_what_has_an_effect(self) -> None:
        """The rows for documentation hold each key that does something, with a sentence."""
        keys = [row.key for row in rows()]
        assert "protect.replies" in keys
        assert "pid_dir" not in keys
        assert all(row.description.endswith(".") and row.type for row in rows())
        assert len(BY_NAME) == len(KEYS)


class TestIncumbent:
    """A file of crowdsec-firewall-bouncer is a file of ours."""

    def test_its_file_loads_unchanged(self, tmp_path: Path) -> None:
        """The file that its packages install loads without a warning, and dead keys mean what they say."""
        made = config(tmp_path, INCUMBENT, BACKEND="iptables", API_KEY="0123")
        assert (made.lapi.key, made.mode, made.iptables.v4_chains) == ("0123", Mode.IPTABLES, ("INPUT",))
        log = Path("/var/log/crowdsec-firewall-bouncer.log")
        assert Log(file=log, max_size_mb=100, max_files=4) == made.log
        assert made.warnings == ()

    def test_shipped_file_loads_unchanged(self, tmp_path: Path) -> None:
        """The configuration in packaging loads, once there is a key where it says, and changes no default."""
        shipped, key = tmp_path / "fwbouncer.yaml", tmp_path / "api.key"
        text = (Path(__file__).parents[2] / "packaging" / "fwbouncer.yaml").read_text()
        shipped.write_text(text.replace("/etc/fwbouncer/api.key", str(key)))
        key.write_text("0123")
        key.chmod(0o600)
        made = draft(shipped, {})
        assert made.problems == ()
        assert made.config is not None
        fresh = Config(shipped, made.config.mode, made.config.lapi, made.config.families, made.config.nft)
        assert (fresh.hooks, fresh.deny, fresh.log, fresh.replies, fresh.iptables) == (
            made.config.hooks, made.config.deny, made.config.log, made.config.replies, made.config.iptables,
        )  # fmt: skip

    def test_shipped_file_names_every_key(self) -> None:
        """The configuration in packaging mentions each key that does something."""
        text = (Path(__file__).parents[2] / "packaging" / "fwbouncer.yaml").read_text()
        missing = [row.key for row in rows() if f"{row.key.rpartition('.')[2]}:" not in text]
        assert [key for key in missing if key not in BY_NAME or not BY_NAME[key].alias_of] == []

    @pytest.mark.parametrize(
        "line", ["pid_dir: /run", "daemonize: true", "retry_initial_connect: on", "pf: {batch_size: 5}"]
    )
    def test_useless_keys_warn(self, tmp_path: Path, line: str) -> None:
        """A key that has nothing to do here is accepted, and said to have no effect."""
        assert any("c.yaml:4" in w and "has no effect" in w for w in warnings(tmp_path, BASE + line))

    def test_other_name_given_beside_the_key(self, tmp_path: Path) -> None:
        """Of two names for one key, the one that the incumbent obeys wins, and the other is named."""
        text = BASE + "log_max_files: 7\nlog_max_backups: 2\n"
        assert config(tmp_path, text).log.max_files == 7
        assert warnings(tmp_path, text) == [
            "c.yaml:5: log_max_backups: means log_max_files, which is there too and wins"
        ]

    def test_zero_means_default(self, tmp_path: Path) -> None:
        """Sizes of 0 are the defaults, as with the incumbent."""
        zero = "log_max_size: 0\nlog_max_age: 0\nlog_max_files: 0\nipset_size: 0\n"
        made = config(tmp_path, BASE + zero)
        assert (Log(), Iptables()) == (made.log, made.iptables)

    def test_set_only_mode(self, tmp_path: Path) -> None:
        """`mode: set-only` is nftables with only the sets, in both families."""
        made = config(tmp_path, BASE.replace("nftables", "set-only"))
        assert made.mode is Mode.NFTABLES
        assert all(nft.set_only for nft in made.nft.values())

    def test_chains_of_both_families(self, tmp_path: Path) -> None:
        """`iptables_chains` counts for both families, beside each family's own list."""
        made = config(
            tmp_path, BASE + "iptables_chains: [INPUT]\niptables_v6_chains: [DOCKER-USER]\n"
        ).iptables
        assert (made.v4_chains, made.v6_chains) == (("INPUT",), ("DOCKER-USER", "INPUT"))


class TestIncumbentsWords:
    """Its tests and its users' scripts look for these words."""

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("api_url: /s\napi_key: k", "unable to load configuration: config does not contain 'mode'"),
            (
                "mode: ''\napi_url: /s\napi_key: k",
                "unable to load configuration: config does not contain 'mode'",
            ),
            ("mode: whatever", "firewall 'whatever' is not supported"),
            ("mode: pf", "firewall 'pf' is not supported"),
            ("mode: dry-run", "unable to configure bouncer: config does not contain LAPI url"),
            ("mode: dry-run\napi_url: ''", "unable to configure bouncer: config does not contain LAPI url"),
            (
                "mode: dry-run\napi_url: /s",
                "unable to configure bouncer: config does not contain LAPI key or certificate",
            ),
            (
                "mode: iptables\ndeny_action: somethingelse",
                "invalid deny_action 'somethingelse', must be one of DROP, REJECT, TARPIT",
            ),
            (
                "mode: nftables\ndeny_action: tarpit",
                "invalid deny_action 'tarpit', must be one of DROP, REJECT; ",
            ),
            (
                "mode: dry-run\napi_url: /s\napi_key: k\ncert_path: /dev/null\nkey_path: /dev/null",
                "unable to configure bouncer: api client init: cannot use both API key and certificate auth",
            ),
            (
                "mode: ipset\ndisable_ipv4: yes\ndisable_ipv6: yes",
                "unable to load configuration: both IPv4 and IPv6 disabled, doing nothing",
            ),
        ],
    )
    def test_found(self, tmp_path: Path, text: str, words: str) -> None:
        """Each mistake that the incumbent names is named in its words, and the file stands before them."""
        found = [problem for problem in problems(tmp_path, text) if words in problem + "; "]
        assert found
        assert found[0].startswith("c.yaml")


class TestComplaints:
    """Mistakes are named so that they can be mended."""

    @pytest.mark.parametrize(
        ("lines", "complaint"),
        [
            ("update_freqency: 5s",
             "4: update_freqency: unknown key; the nearest known key is update_frequency"),
            ("nftables: {ipv4: {tabel: x}}",
             "4: nftables.ipv4.tabel: unknown key; the nearest known key is nftables.ipv4.table"),
            ("listen_port: 1",
             "4: listen_port: unknown key; did you mean prometheus.listen_port? It belongs in another "
             "block"),
            ("zzzzqqq: 1", "4: zzzzqqq: unknown key; remove it"),
            ("api_key: again", "4: api_key: stands in line 3 already; remove one"),
            ("<<: {mode: x}", "4: <<: merging of blocks is not supported; write the keys out"),
            ("? [a]\n: b", "4: a key that is not a word; write `key: value`"),
            ("nftables: 5", "4: nftables: is a block; write its keys below it, indented"),
            ("deny_log: [true]",
             "4: deny_log: takes one value, and this is a list; see the example configuration"),
            ("origins: {a: b}",
             "4: origins: takes a list, and this is a block; see the example configuration"),
            ("origins: [[a]]",
             "4: origins: a list in which an item is not one value; write one value an item"),
            ("origins:\n  - a\n  -", "6: origins: an empty item; remove it"),
            ("deny_log: maybe", "4: deny_log: 'maybe' is neither true nor false; write one of the two"),
            ("ipset_size: big",
             "4: ipset_size: 'big' is not a whole number; write digits, without a leading zero"),
            ("ipset_size: 010",
             "4: ipset_size: '010' is not a whole number; write digits, without a leading zero"),
            ("ipset_size: -1", "4: ipset_size: -1 is out of range; write a number from 0 to 2147483647"),
            ("prometheus: {listen_port: 0}",
             "4: prometheus.listen_port: 0 is out of range; write a number from 1 to 65535"),
            ("update_frequency: 10", "4: update_frequency: '10' has no unit; write 10s for seconds"),
            ("update_frequency: 0s",
             "4: update_frequency: '0s' is not a positive duration; write one like 10s, 1m30s or 500ms"),
            ("update_frequency: -1s",
             "4: update_frequency: '-1s' is not a positive duration; write one like 10s, 1m30s or "
             "500ms"),
            ("resync_interval: 1d",
             "4: resync_interval: '1d' is not a positive duration; write one like 10s, 1m30s or 500ms"),
            ("log_level: loud",
             "4: log_level: 'loud' is not known; use one of trace, debug, info, warn, warning, error, "
             "fatal, panic"),
            ("log_mode: syslog", "4: log_mode: 'syslog' is not known; use one of stdout, file"),
            ("log_format: xml", "4: log_format: 'xml' is not known; use one of text, json"),
            ("protect: {replies: maybe}",
             "4: protect.replies: 'maybe' is not known; use one of pass, drop"),
            ("nftables_hooks: [egress]",
             "4: nftables_hooks: 'egress' is not a hook; use some of prerouting, input, forward, "
             "output, postrouting"),
            ("nftables_hooks: [input, INPUT]",
             "4: nftables_hooks: input stands in the list twice; remove one"),
            ("nftables: {ipv4: {priority: 2147483648}}",
             "4: nftables.ipv4.priority: 2147483648 is out of range; write a number from -2147483648 "
             "to 2147483647"),
            ('deny_log_prefix: "a\\nb"',
             "4: deny_log_prefix: contains a line break or another control character; remove it"),
            ("control_socket: run/x",
             "4: control_socket: 'run/x' can't be a socket's path; write an absolute one of at most "
             "107 bytes"),
            ("api_urls: [http://a/]", "4: api_urls: api_url stands in c.yaml:2; keep one of them"),
            ("ca_cert_path: /nowhere/ca",
             "4: ca_cert_path: can't be read: No such file or directory; check the path and who may "
             "read it"),
            ("ca_cert_path: /etc", "4: ca_cert_path: is not a file; name a file in PEM format"),
            ("deny_action: REJECT\nnftables_hooks: [postrouting]",
             "4: deny_action: the kernel can't REJECT at postrouting; use DROP, or another hook"),
        ],
    )  # fmt: skip
    def test_word_for_word(self, tmp_path: Path, lines: str, complaint: str) -> None:
        """A mistake names file, line and key, says what is wrong, and what to do."""
        assert [f"c.yaml:{complaint}"] == problems(tmp_path, BASE + lines + "\n")

    def test_ingress_is_explained(self, tmp_path: Path) -> None:
        """The hook ingress is refused with its reason and the next best thing."""
        (problem,) = problems(tmp_path, BASE + "nftables_hooks: [ingress]")
        assert "belongs to one network device" in problem
        assert "prerouting with priority -300" in problem

    @pytest.mark.parametrize("name", ["9lives", "a b", "a;b", "ä", 'a\\"', "x" * 201, "{", "-x"])
    def test_names_for_the_kernel(self, tmp_path: Path, name: str) -> None:
        """A table, chain or set name that nft would read as something else is refused."""
        for key in ("nftables: {ipv4: {table: %s}}", "nftables: {ipv6: {chain: %s}}", "blacklists_ipv4: %s"):
            (problem,) = problems(tmp_path, BASE + key % f'"{name}"')
            assert "can't name something in the kernel" in problem

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://h/",
            "h:8080",
            "http://",
            "http://h:99999/",
            "http://h:0/",
            "http://[::1/",
            "http://a b/",
            "x",
        ],
    )
    def test_urls(self, tmp_path: Path, url: str) -> None:
        """What is no address of a LAPI is refused, without an echo of it."""
        text = BASE.replace("http://127.0.0.1:8080/", f'"{url}"')
        assert problems(tmp_path, text) == [
            "c.yaml:2: api_url: is not a LAPI's address; write http(s)://host:port/ or a socket's path"
        ]

    def test_all_at_once_in_order(self, tmp_path: Path) -> None:
        """All mistakes are told in one go, by line, those of the overlay last."""
        text = "mode: x\nupdate_frequency: 1\nfoo_bar_baz: 2\ndeny_log: 7\n"
        places = [p.split(" ")[0] for p in problems(tmp_path, text, overlay="\ndeny_action: 5\n")]
        assert places == [
            "c.yaml:1:",
            "c.yaml:2:",
            "c.yaml:3:",
            "c.yaml:4:",
            "c.yaml:",
            "c.yaml:",
            "c.yaml.local:2:",
        ]

    def test_ipset_names_are_short(self, tmp_path: Path) -> None:
        """The limit of ipset for names is checked where ipsets are made."""
        text = BASE.replace("nftables", "ipset") + f"blacklists_ipv4: {'x' * 32}\nblacklists_ipv6: a"
        assert problems(tmp_path, text) == [
            "c.yaml:4: blacklists_ipv4: is longer than 31 bytes, ipset's limit; shorten it"
        ]
        text = BASE.replace("nftables", "ipset") + "blacklists_ipv4: a\nblacklists_ipv6: a"
        assert "an ipset takes one family" in problems(tmp_path, text)[0]

    def test_iptables_limits(self, tmp_path: Path) -> None:
        """The limits of iptables for log prefixes and chain names are checked in its mode."""
        text = BASE.replace("nftables", "iptables") + f"deny_log: on\ndeny_log_prefix: {'x' * 30}\n"
        assert "limit of iptables" in problems(tmp_path, text)[0]
        assert "can't be an iptables chain" in problems(tmp_path, BASE + "iptables_chains: ['-j']")[0]

    def test_log_prefix_is_bounded(self, tmp_path: Path) -> None:
        """A log prefix has at most 127 bytes, and bytes are counted."""
        assert config(tmp_path, BASE + f"deny_log_prefix: {'x' * 127}").deny.log_prefix == "x" * 127
        assert "127 bytes" in problems(tmp_path, BASE + f"deny_log_prefix: {'ä' * 64}")[0]


class TestHooksAndPriorities:
    """Where chains may stand, and what they can know there."""

    @pytest.mark.parametrize("hook", ["output", "postrouting"])
    def test_hooks_that_see_no_bans_warn(self, tmp_path: Path, hook: str) -> None:
        """The hooks output and postrouting are accepted, with a word about what they see."""
        text = BASE + f"nftables_hooks: [{hook}]"
        assert (Hook[hook.upper()],) == config(tmp_path, text).hooks
        assert hook in warnings(tmp_path, text)[0]

    def test_replies_can_not_pass_before_conntrack(self, tmp_path: Path) -> None:
        """`replies: pass` and a chain before connection tracking contradict each other."""
        text = BASE + "nftables_hooks: [prerouting]\nnftables: {ipv4: {priority: -300}}\n"
        assert (
            "c.yaml:6: protect.replies: replies can't pass"
            in problems(tmp_path, text + "protect: {replies: pass}")[0]
        )
        assert config(tmp_path, text).replies is Replies.DROP
        assert "will be dropped" in warnings(tmp_path, text)[0]
        assert warnings(tmp_path, text + "protect: {replies: drop}") == []

    @pytest.mark.parametrize(
        "lines", ["", "nftables_hooks: [prerouting]", "nftables: {ipv4: {priority: -300}}"]
    )
    def test_replies_pass_elsewhere(self, tmp_path: Path, lines: str) -> None:
        """Chains after connection tracking let replies pass, and so do later hooks at any priority."""
        assert config(tmp_path, BASE + lines).replies is Replies.PASS
        assert warnings(tmp_path, BASE + lines) == []

    def test_actions(self, tmp_path: Path) -> None:
        """The action may be written in upper or lower case."""
        assert config(tmp_path, BASE + "deny_action: reject").deny.action is Action.REJECT
        tarpit = BASE.replace("nftables", "iptables") + "deny_action: Tarpit"
        assert config(tmp_path, tarpit).deny.action is Action.TARPIT

    def test_families(self, tmp_path: Path) -> None:
        """A family can be left out by either key; the nftables block has the last word, with a warning."""
        off = "disable_ipv6: true\n"
        assert config(tmp_path, BASE + off).families == (Family.V4,)
        assert config(tmp_path, BASE + "nftables: {ipv4: {enabled: no}}").families == (Family.V6,)
        both = BASE + off + "nftables: {ipv6: {enabled: yes}}"
        assert tuple(Family) == config(tmp_path, both).families
        assert "c.yaml:4: disable_ipv6: has no effect" in warnings(tmp_path, both)[0]
        assert config(tmp_path, both.replace("nftables\n", "iptables\n", 1)).families == (Family.V4,)


class TestDraft:
    """A wrong configuration still says something."""

    def test_wrong_configuration_keeps_what_is_right(self, tmp_path: Path) -> None:
        """A configuration without a LAPI still tells its mode, action and log, and is no configuration."""
        made = draft(write(tmp_path, "mode: dry-run\nlog_level: trace\ndeny_action: reject\n"), {})
        assert (
            made.mode,
            made.log.level,
            made.action,
            made.config,
        ) == (Mode.DRY_RUN, 5, Action.REJECT, None)

    def test_secrets_have_no_repr(self, tmp_path: Path) -> None:
        """A Config can be printed without its key."""
        assert "secret77" not in repr(config(tmp_path, BASE.replace("api_key: k", "api_key: secret77")))


def test_import_is_light(run_python: Callable[[str], str]) -> None:
    """Loading a configuration imports neither asyncio nor httpx nor pyroute2 nor rich."""
    heavy = "sorted({'asyncio', 'httpx', 'pyroute2', 'rich', 'ssl', 'logging'} & set(sys.modules))"
    assert run_python(f"import sys, fwbouncer.config.load, fwbouncer.config.show; print({heavy})") == "[]\n"


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Run a line in a fresh interpreter and return what it prints."""
    import subprocess  # noqa: PLC0415 - this test alone starts a process
    import sys  # noqa: PLC0415

    def run(line: str) -> str:
        root = Path(__file__).parents[2]
        return subprocess.run(
            [sys.executable, "-c", line], cwd=root, capture_output=True, text=True, check=True
        ).stdout

    return run
