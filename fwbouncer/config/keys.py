"""Every key of the configuration file: its kind, its default as one would write it, and what it does.

This table is the only place that knows the keys. The loader, --help, the manual page and the table in
the README are all made from it, so a new key is a new line here and its use in load.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from fwbouncer.config.kinds import (
    API_KEY,
    CHAINS,
    DURATION,
    FIXED_PORTS,
    FLAG,
    FOLDER,
    GLOBS,
    HOOKS,
    INTERVAL,
    IPSET_TYPE,
    LEVEL,
    LOG_PREFIX,
    NAME,
    NEVER_BLOCK,
    PATH,
    POLICIES,
    POLICY_NAME,
    PORT,
    PORTS,
    PRIORITY,
    PROXIES,
    REPLIES,
    SIZE,
    SOCKET,
    STATE_FILE,
    TEXT,
    TEXTS,
    URL,
    URLS,
    Kind,
    choice,
)


@dataclass(frozen=True, slots=True)
class Key:
    """One key; `name` has dots where the file has blocks."""

    name: str
    kind: Kind
    default: str  # read like a value from the file; empty: nothing
    text: str
    secret: bool = False  # never shown
    alias_of: str = ""  # another name for that key
    useless: str = ""  # accepted for the incumbent's sake; why it does nothing here


class Row(NamedTuple):
    """A key as documentation shows it."""

    key: str
    type: str
    default: str
    description: str


KEYS: tuple[Key, ...] = (
    Key("mode", TEXT, "", "What is programmed: nftables, iptables, ipset (only ipsets), set-only (only "
        "nftables sets) or dry-run (nothing)."),
    # where decisions come from
    Key("api_url", URL, "", "The LAPI's address, or the path of its Unix socket."),
    Key("api_urls", URLS, "", "Several LAPI addresses instead; the first that answers is used."),
    Key("api_key", API_KEY, "", "The key that `cscli bouncers add` printed.", secret=True),
    Key("api_key_file", PATH, "", "A file that holds the key, instead of api_key."),
    Key("cert_path", PATH, "", "The client certificate for TLS authentication, instead of a key."),
    Key("key_path", PATH, "", "The private key of the client certificate."),
    Key("ca_cert_path", PATH, "", "The CA certificate that the LAPI's own is checked with."),
    Key("insecure_skip_verify", FLAG, "false", "Accept any certificate from the LAPI."),
    Key("update_frequency", DURATION, "10s", "How often the LAPI is asked for new decisions."),
    Key("resync_interval", DURATION, "1h", "How often all decisions are fetched again and compared."),
    Key("retry_initial_connect", FLAG, "", "Ignored.",
        useless="the LAPI is always tried again until it answers"),
    # which decisions
    Key("scopes", TEXTS, "", "Only decisions of these scopes; all that the LAPI sends when empty."),
    Key("origins", TEXTS, "", "Only decisions of these origins; all when empty."),
    Key("scenarios_containing", TEXTS, "", "Only scenarios that contain one of these words."),
    Key("scenarios_not_containing", TEXTS, "", "No scenarios that contain one of these words."),
    Key("supported_decisions_types", TEXTS, "ban", "The types of decisions that lead to a block."),
    # what a banned peer meets
    Key("deny_action", TEXT, "DROP", "What happens to packets: DROP or REJECT; in iptables mode also "
        "TARPIT or LOG."),
    Key("deny_log", FLAG, "false", "Let the kernel log what it drops, at a limited rate."),
    Key("deny_log_prefix", LOG_PREFIX, "crowdsec drop: ", "How those log lines begin."),
    Key("protect.ports", PORTS, "all", "Which ports bans close, TCP and UDP: all (and whatever has no ports), james "
        "for those in James's configuration, or numbers, ranges and services like smtp or imaps."),
    Key("protect.reset_ports", FIXED_PORTS, "", "Where a banned peer's TCP is answered with a reset whatever "
        "deny_action says, so that real mail servers give up at once; 25, say."),
    Key("protect.james_conf", FOLDER, "", "James's configuration folder, for `ports: james`; /etc/james, "
        "/etc/james/conf, /opt/james/conf or /root/conf when absent."),
    Key("protect.proxies", PROXIES, "", "The proxies in front of this host, which are never blocked."),
    Key("protect.replies", REPLIES, "pass", "What happens to replies to this host's own connections."),
    Key("on_ban.close_sessions", FLAG, "true", "Cut the open TCP sessions of who is banned; in set-only and ipset, "
        "where the rules are yours, only if this is written."),
    Key("never_block", NEVER_BLOCK, "", "Who is never blocked: addresses, networks, host names, file:/path "
        "for a list of them, ssh-peers for who is logged in; own-addresses, gateways and lapi always are."),
    Key("policies", POLICIES, "", "Other ports and verdicts for some decisions; the first that matches counts."),
    # addresses and names
    Key("disable_ipv4", FLAG, "false", "Leave IPv4 alone."),
    Key("disable_ipv6", FLAG, "false", "Leave IPv6 alone."),
    Key("blacklists_ipv4", NAME, "crowdsec-blacklists", "How names of IPv4 sets begin."),
    Key("blacklists_ipv6", NAME, "crowdsec6-blacklists", "How names of IPv6 sets begin."),
    # nftables
    Key("nftables_hooks", HOOKS, "input, forward", "Where the chains stand: prerouting, "
        "input, forward, output, postrouting."),
    Key("nftables.ipv4.enabled", FLAG, "", "Handle IPv4; the opposite of disable_ipv4 when absent."),
    Key("nftables.ipv4.set-only", FLAG, "false", "Fill only the set, and leave table and rules to you."),
    Key("nftables.ipv4.table", NAME, "crowdsec", "The table for IPv4."),
    Key("nftables.ipv4.chain", NAME, "crowdsec-chain", "How names of its chains begin."),
    Key("nftables.ipv4.priority", PRIORITY, "-10", "The priority of its chains; lower comes earlier."),
    Key("nftables.ipv6.enabled", FLAG, "", "Handle IPv6; the opposite of disable_ipv6 when absent."),
    Key("nftables.ipv6.set-only", FLAG, "false", "Fill only the set, and leave table and rules to you."),
    Key("nftables.ipv6.table", NAME, "crowdsec6", "The table for IPv6."),
    Key("nftables.ipv6.chain", NAME, "crowdsec6-chain", "How names of its chains begin."),
    Key("nftables.ipv6.priority", PRIORITY, "-10", "The priority of its chains; lower comes earlier."),
    # iptables and ipset
    Key("iptables_chains", CHAINS, "", "The chains of iptables and ip6tables that get our rule."),
    Key("iptables_v4_chains", CHAINS, "", "More chains, of iptables alone."),
    Key("iptables_v6_chains", CHAINS, "", "More chains, of ip6tables alone."),
    Key("iptables_add_rule_comments", FLAG, "true", "Comment the iptables rules."),
    Key("ipset_type", IPSET_TYPE, "hash:net", "The ipsets' type: hash:net, or hash:ip for hosts alone."),
    Key("ipset_size", SIZE, "131072", "How many elements an ipset takes."),
    Key("ipset_disable_timeouts", FLAG, "false", "Make ipsets without timeouts, and remove what ends."),
    # the log
    Key("log_mode", choice(("stdout", "file")), "stdout", "Where the log goes: file, or stdout, "
        "which is standard error or the journal."),
    Key("log_dir", PATH, "/var/log/", "Where crowdsec-firewall-bouncer.log is, with log_mode: file."),
    Key("log_level", LEVEL, "info", "What is logged: trace, debug, info, warn, error, fatal."),
    Key("log_format", choice(("text", "json")), "text", "How log lines look: text, or json."),
    Key("log_max_size", SIZE, "500", "Megabytes after which a new log file is begun."),
    Key("log_max_files", SIZE, "3", "How many old log files are kept."),
    Key("log_max_backups", SIZE, "", "Another name for log_max_files.", alias_of="log_max_files"),
    Key("log_max_age", SIZE, "30", "Days after which old log files are removed."),
    Key("compress_logs", FLAG, "true", "Compress old log files."),
    Key("log_compression", FLAG, "", "Another name for compress_logs.", alias_of="compress_logs"),
    # what others see of us
    Key("prometheus.enabled", FLAG, "false", "Serve metrics for Prometheus on listen_addr and listen_port."),
    Key("prometheus.listen_addr", TEXT, "127.0.0.1", "The address that metrics are served on."),
    Key("prometheus.listen_port", PORT, "60601", "The port that metrics are served on."),
    Key("prometheus.listen_socket", SOCKET, "", "A Unix socket that metrics are served on, with or without the "
        "port."),
    Key("usage_metrics_interval", INTERVAL, "15m", "How often the LAPI is told what was dropped, for `cscli metrics` "
        "and the console; `none` tells nothing."),
    Key("control_socket", SOCKET, "/run/fwbouncer/control.sock", "Where the commands reach "
        "the daemon."),
    Key("state_file", STATE_FILE, "", "Where the bans are kept for the time between a boot and the LAPI's first "
        "answer; `none` keeps nothing. The service's own is /var/lib/fwbouncer/state; elsewhere nothing is kept "
        "when this is absent."),
    Key("on_stop", choice(("remove", "keep")), "remove", "What happens to the bans when fwbouncer is stopped; with "
        "keep they stay until their deadlines. A restart by systemd always keeps them."),
    # accepted, and without effect
    Key("pid_dir", TEXT, "", "Ignored.", useless="there is no file with the process's number"),
    Key("daemonize", FLAG, "", "Ignored.", useless="the service manager does that"),
    Key("pf.anchor_name", TEXT, "", "Ignored.", useless="pf is not on Linux"),
    Key("pf.batch_size", SIZE, "", "Ignored.", useless="pf is not on Linux"),
)  # fmt: skip

# The keys of one policy.
POLICY_KEYS: tuple[Key, ...] = (
    Key("name", POLICY_NAME, "", "What it is called, in the names of its sets, too."),
    Key("scenario", GLOBS, "", "Scenarios, with * and ?; the names of lists for decisions from lists."),
    Key("origin", GLOBS, "", "Origins: crowdsec, cscli, CAPI, lists."),
    Key("type", GLOBS, "", "Types of decisions, also some that supported_decisions_types doesn't name."),
    Key("ports", PORTS, "", "What is closed; as in protect.ports, which counts when absent."),
    Key("verdict", TEXT, "", "drop, reject, or pass for no ban at all; deny_action when absent."),
    Key("reset_ports", FIXED_PORTS, "", "As protect.reset_ports, which counts when absent."),
)

BY_NAME = {key.name: key for key in KEYS}
# The blocks that hold keys: "nftables", "nftables.ipv4", ...
BLOCKS = frozenset(name[:i] for name in BY_NAME for i, char in enumerate(name) if char == ".")


def rows() -> list[Row]:
    """List the keys as documentation shows them, those that do nothing left out."""
    plain = [Row(key.name, key.kind.name, key.default.rstrip(), key.text) for key in KEYS if not key.useless]
    at = next(number for number, row in enumerate(plain) if row.key == "policies") + 1
    inner = [Row(f"policies[].{key.name}", key.kind.name, key.default, key.text) for key in POLICY_KEYS]
    return plain[:at] + inner + plain[at:]
