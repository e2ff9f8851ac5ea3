"""From a path to a Config, or to all complaints about it at once.

`load` is for those who want a configuration or an error. `draft` is for the start of the daemon, which says
what it begins to do, in the log that the configuration asks for, before it says what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fwbouncer.config import access
from fwbouncer.config.kinds import show
from fwbouncer.config.never_block import gathered, listed
from fwbouncer.config.on_ban import close_sessions
from fwbouncer.config.place import SET_ONLY, given, hooks_of, refuse_at_the_end, replies_of, table_of
from fwbouncer.config.policies import james_folder
from fwbouncer.config.policies import policies as closing
from fwbouncer.config.schema import (
    Config,
    Deny,
    Hook,
    Iptables,
    Log,
    Mode,
    NeverBlock,
    Prometheus,
)
from fwbouncer.config.settings import Settings
from fwbouncer.config.source import Notes, gather
from fwbouncer.core.model import Family
from fwbouncer.core.policy import Action
from fwbouncer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_FILE = "crowdsec-firewall-bouncer.log"
_LOG = Log()
_MODES = (*(mode.value for mode in Mode), SET_ONLY)


@dataclass(frozen=True, slots=True)
class Draft:
    """What the files say, right or wrong. `config` is there when nothing is wrong."""

    mode: Mode | None  # None: missing or unknown
    action: Action | None  # likewise
    log: Log
    control_socket: Path
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    config: Config | None = None


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read the configuration; raise ConfigError with all that is wrong."""
    found = draft(path, environ)
    if found.config is None:
        raise ConfigError(*found.problems)
    return found.config


def draft(path: Path, environ: Mapping[str, str]) -> Draft:
    """Read the configuration, right or wrong; raise ConfigError when it can't be read at all."""
    notes = Notes()
    settings = Settings(path, gather(path, notes), environ, notes)
    mode = _mode(settings)
    # It is built from wrong settings too: that is how all mistakes are found.
    config = _config(settings, mode or Mode.DRY_RUN)
    problems = notes.problems()
    return Draft(
        mode=mode,
        action=_action(settings),
        log=config.log,
        control_socket=config.control_socket,
        problems=problems,
        warnings=notes.warnings(),
        config=None if problems else config,
    )


def _config(settings: Settings, mode: Mode) -> Config:
    families = _families(settings, mode)
    nft = {family: table_of(settings, family) for family in families}
    hooks = hooks_of(settings)
    deny = _deny(settings, mode, hooks)
    in_nft = mode in (Mode.NFTABLES, Mode.DRY_RUN)
    sets_only = mode is Mode.IPSET or (
        mode is Mode.NFTABLES and any(place.set_only for place in nft.values())
    )
    policies = closing(settings, mode, sets_only=sets_only)
    if in_nft:
        refuse_at_the_end(settings, hooks, policies)
    replies = replies_of(settings, hooks, nft, policies) if in_nft else settings["protect.replies"]
    return Config(
        path=settings.path,
        mode=mode,
        lapi=access.lapi(settings),
        families=families,
        nft=nft,
        hooks=hooks,
        deny=deny,
        policies=policies,
        given_place=given(settings, mode, policies),
        james_conf=james_folder(settings, policies),
        replies=replies,
        close_sessions=close_sessions(settings, mode, nft, hooks, policies),
        iptables=_iptables(settings),
        blacklists=_blacklists(settings, mode),
        log=_log(settings),
        never_block=_never_block(settings),
        proxies=settings["protect.proxies"],
        prometheus=_prometheus(settings),
        usage_interval=settings["usage_metrics_interval"],
        control_socket=settings["control_socket"],
        state_file=_state_file(settings),
        keep_on_stop=settings["on_stop"] == "keep",
        warnings=settings.notes.warnings(),
    )


def _mode(settings: Settings) -> Mode | None:
    text = settings["mode"]
    if text is None:
        problem = "unable to load configuration: config does not contain 'mode'; add `mode: nftables`"
        settings.notes.error(settings.where("mode"), "", problem)
        return None
    if text not in _MODES:
        settings.error("mode", f"firewall {show(text)} is not supported; use one of {', '.join(_MODES)}")
        return None
    return Mode.NFTABLES if text == SET_ONLY else Mode(text)


def _families(settings: Settings, mode: Mode) -> tuple[Family, ...]:
    families = []
    for family in Family:
        off = f"disable_ipv{family.value}"
        on = f"nftables.ipv{family.value}.enabled"
        enabled = not settings[off]
        # The incumbent lets the nftables block decide in its own mode, and so do we.
        if mode in (Mode.NFTABLES, Mode.DRY_RUN) and settings[on] is not None:
            if settings[on] and settings[off]:
                settings.warn(off, f"has no effect, as {settings.where(on)} enables it again; remove one")
            enabled = settings[on]
        if enabled:
            families.append(family)
    if not families:
        settings.notes.error(
            settings.path,
            "",
            "unable to load configuration: both IPv4 and IPv6 disabled, doing nothing; "
            "enable one of them (disable_ipv4, disable_ipv6, nftables.ipv4.enabled, nftables.ipv6.enabled)",
        )
    return tuple(families)


def _action(settings: Settings) -> Action | None:
    return Action.__members__.get(settings["deny_action"].upper())


def _deny(settings: Settings, mode: Mode, hooks: tuple[Hook, ...]) -> Deny:
    written: str = settings["deny_action"]
    allowed = list(Action) if mode is not Mode.NFTABLES else [Action.DROP, Action.REJECT]
    action = _action(settings)
    if action not in allowed:
        names = ", ".join(choice.value for choice in allowed)
        settings.error("deny_action", f"invalid deny_action {show(written)}, must be one of {names}")
    if action is Action.REJECT and Hook.POSTROUTING in hooks and mode in (Mode.NFTABLES, Mode.DRY_RUN):
        settings.error("deny_action", "the kernel can't REJECT at postrouting; use DROP, or another hook")
    prefix: str = settings["deny_log_prefix"]
    if mode is Mode.IPTABLES and settings["deny_log"] and len(prefix.encode()) > 29:
        settings.error("deny_log_prefix", "is longer than 29 bytes, the limit of iptables; shorten it")
    return Deny(action or Action.DROP, settings["deny_log"], prefix)


def _iptables(settings: Settings) -> Iptables:
    both = settings["iptables_chains"]
    return Iptables(
        v4_chains=tuple(dict.fromkeys(settings["iptables_v4_chains"] + both)),
        v6_chains=tuple(dict.fromkeys(settings["iptables_v6_chains"] + both)),
        rule_comments=settings["iptables_add_rule_comments"],
        ipset_type=settings["ipset_type"],
        ipset_size=settings["ipset_size"] or Iptables().ipset_size,
        ipset_timeouts=not settings["ipset_disable_timeouts"],
    )


def _never_block(settings: Settings) -> NeverBlock:
    found = gathered(settings["never_block"])
    for path in found.files:
        try:
            problems = listed(path)[1]
        except OSError as error:
            problems = [f"{path}: can't be read: {error.strerror}"]
        for problem in problems:  # the daemon goes on without them: who is spared must not hang on a typo
            settings.warn("never_block", problem)
    return found


def _blacklists(settings: Settings, mode: Mode) -> dict[Family, str]:
    names: dict[Family, str] = {family: settings[f"blacklists_ipv{family.value}"] for family in Family}
    # ipset's names have 31 bytes; in iptables mode a number of up to three digits is put behind
    # nftables' have 255; an origin of up to 100 is put behind, a policy, and "-ranges"
    limit = {Mode.IPSET: 31, Mode.IPTABLES: 27}.get(mode, 128)
    for family, name in names.items():
        if len(name) > limit:
            key = f"blacklists_ipv{family.value}"
            who = "ipset" if mode in (Mode.IPSET, Mode.IPTABLES) else "nftables"
            settings.error(key, f"is longer than {limit} bytes, {who}'s limit; shorten it")
    if names[Family.V4] == names[Family.V6] and mode in (Mode.IPSET, Mode.IPTABLES):
        settings.error(
            "blacklists_ipv6", "is also blacklists_ipv4, but an ipset takes one family; change one"
        )
    return names


def _state_file(settings: Settings) -> Path | None:
    """Return where the bans are kept: where it is said, or where systemd says that its services' state belongs."""
    if settings.emptied("state_file"):
        return None
    folder = settings.variable("STATE_DIRECTORY").partition(":")[0]
    if folder and not settings.given("state_file"):
        return Path(folder, "state")
    path: Path | None = settings["state_file"]
    return path


def _prometheus(settings: Settings) -> Prometheus:
    where: Path | None = settings["prometheus.listen_socket"]
    if where is not None and where == settings["control_socket"]:
        settings.error("prometheus.listen_socket", "is also control_socket; change one")
    return Prometheus(
        enabled=settings["prometheus.enabled"],
        listen_addr=settings["prometheus.listen_addr"],
        listen_port=settings["prometheus.listen_port"],
        listen_socket=where,
    )


def _log(settings: Settings) -> Log:
    to_file = settings["log_mode"] == "file"
    return Log(
        file=settings["log_dir"] / LOG_FILE if to_file else None,
        level=settings["log_level"],
        json=settings["log_format"] == "json",
        # 0 means the default, as it does for the incumbent
        max_size_mb=settings["log_max_size"] or _LOG.max_size_mb,
        max_files=settings["log_max_files"] or _LOG.max_files,
        max_age_days=settings["log_max_age"] or _LOG.max_age_days,
        compress=settings["compress_logs"],
    )
