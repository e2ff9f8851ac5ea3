"""The commands beside the running daemon."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.lab import witness

if TYPE_CHECKING:
    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.crowdsec import CrowdSec
    from tests.lab.manager import Manager
    from tests.lab.net import Network
    from tests.lab.packets import Probe


def test_checking_touches_nothing(bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe, net: Network) -> None:
    """-t and check-config leave a running bouncer's rules exactly as they are."""
    lapi.ban("198.18.1.1")
    running = bouncer()
    running.start()
    before = witness.generation(net.mail)
    running.ask("-t")
    running.ask("check-config")
    assert witness.generation(net.mail) == before
    assert not probe.passes("198.18.1.1")


def test_status_tells(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> None:
    """`status` shows a person the bans, and `status --json` a program."""
    fake_lapi.ban("198.18.1.1")
    running = bouncer(api_url=fake_lapi.url)
    running.start()
    told = json.loads(running.ask("status", "--json"))
    assert told["decisions"]["by_origin"] == {"cscli": 1}
    assert told["kernel"]["elements"] == 1
    assert told["owned"] is False
    assert "1 from cscli" in running.ask("status")


def test_status_without_a_daemon(bouncer: MakeBouncer) -> None:
    """With nobody running `status` says so, and fails."""
    code, printed = bouncer().attempt("status")
    assert code == 1
    assert printed.strip()
    assert "Traceback" not in printed


def test_teardown_removes_what_a_crash_left(
    bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe, net: Network
) -> None:
    """`teardown` takes out a dead bouncer's tables, and nothing of anybody else's."""
    net.mail.run("nft", "add table inet admins")
    lapi.ban("198.18.1.1")
    running = bouncer()
    running.start()
    running.kill()
    assert not probe.passes("198.18.1.1")
    running.ask("teardown")
    assert probe.passes("198.18.1.1")
    assert witness.tables(net.mail) == {("inet", "admins")}


def test_teardown_of_an_owned_table(
    bouncer: MakeBouncer, manager: Manager, lapi: CrowdSec, probe: Probe, net: Network
) -> None:
    """`teardown` of tables that a running daemon owns goes through that daemon."""
    lapi.ban("198.18.1.1")
    running = bouncer(manager)
    running.start()
    running.ask("teardown")
    assert witness.tables(net.mail) == set()
    assert probe.passes("198.18.1.1")
