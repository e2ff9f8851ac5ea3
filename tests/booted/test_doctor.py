"""The doctor beside a real systemd: what is wrong with the service is found, and mended by what it says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.booted.machine import UNIT

if TYPE_CHECKING:
    from tests.booted.machine import Machine

DROP_INS = f"/etc/systemd/system/{UNIT}.d"


def look(machine: Machine) -> dict[str, Any]:
    """Return what the doctor finds wrong, by its id."""
    told = json.loads(machine.run("fwbouncer", "doctor", "--json", check=False))
    return {f["id"]: f for f in told["findings"] if f["severity"] in ("problem", "warning")}


def mend(machine: Machine, finding: dict[str, Any]) -> None:
    """Do what a finding says, in a root shell."""
    for command in finding["mend"]:
        machine.run("sh", "-ec", command)


def test_the_service_as_shipped(service: Machine) -> None:
    """A service as it is shipped has nothing wrong, and systemd's own word for it is heard."""
    assert look(service) == {}
    page = service.run("fwbouncer", "doctor")
    assert "the tables belong to a socket that systemd keeps" in page
    assert "could not look" not in page.replace("could not look at the rules in iptables", "")


def test_a_unit_that_keeps_no_socket(machine: Machine) -> None:
    """A unit without a descriptor store lets go of its tables at each restart; what the doctor says brings it back."""
    with machine.drop_in("[Service]\nFileDescriptorStoreMax=0\nEnvironment=FDSTORE=0\n"):
        machine.start()
        found = look(machine)
        assert set(found) == {"service.no-store"}
        mend(machine, found["service.no-store"])
        after, kept = look(machine), machine.show("NFileDescriptorStore")
        machine.run("rm", f"{DROP_INS}/store.conf")
        assert (after, kept) == ({}, "1")


def test_a_key_that_the_service_cant_read(machine: Machine) -> None:
    """Root reads everything and the service doesn't: the doctor knows the difference, and gives the key back to it."""
    machine.run("chmod", "0600", "/etc/fwbouncer/api.key")
    found = look(machine)
    assert set(found) == {"service.stopped", "files.unreadable"}
    mend(machine, found["files.unreadable"])
    mend(machine, found["service.stopped"])
    assert look(machine) == {}


def test_a_service_that_wont_start_at_boot(service: Machine) -> None:
    """A disabled service is enabled again, and a unit file that changed is read again."""
    service.systemctl("disable", UNIT)
    service.run("sh", "-c", f"sleep 1; touch /usr/lib/systemd/system/{UNIT}")
    found = look(service)
    assert set(found) == {"service.disabled", "service.changed"}
    for finding in found.values():
        mend(service, finding)
    assert look(service) == {}
