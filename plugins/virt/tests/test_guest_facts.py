"""What guest agents report becomes VDSM's facts; machines without one have VDSM's defaults."""

from __future__ import annotations

import pytest

from vdsm_core.errors import InvalidArgument, NotResponding
from vdsm_core.hypervisor import AgentAnswer, DomainGraphics, DomainLifecycle, DomainWatchdog, GraphicsAddress
from vdsm_virt.access.errors import MonitorCommandFailed
from vdsm_virt.access.keys import presses
from vdsm_virt.api.stats import GuestPciDevice
from vdsm_virt.guest.facts import GuestFacts, OvirtAgentFacts, QemuAgentFacts
from vdsm_virt.guest.qemu_answers import merged
from vdsm_virt.stats.moments import Chronicle

ID = "9b6f7d32-0c3f-4a0d-8c7e-0f2f6b1c7f55"


def test_windows():
    """The name of the system is what Windows calls itself; a user of a domain has it behind the name."""
    facts = {
        "os.id": "mswindows",
        "os.pretty-name": "Windows Server 2022",
        "os.version-id": "2022",
        "os.machine": "x86_64",
        "os.kernel-release": "20348",
        "user.count": 2,
        "user.0.name": "ann",
        "user.0.domain": "CORP",
        "user.1.name": "bob\x01",
    }
    known = merged(QemuAgentFacts(), AgentAnswer(facts=facts), {}, 5.0)
    assert (known.guest_os, known.guest_os_info.type, known.guest_os_info.version) == (
        "Windows Server 2022",
        "windows",
        "2022",
    )
    assert known.username == "ann@CORP, bob\ufffd"
    assert known.responsive


def test_devices_and_processors():
    """Commands that libvirt has no call for."""
    answers = {
        "guest-info": {
            "version": "8.1",
            "supported_commands": [
                {"name": "guest-ping", "enabled": True},
                {"name": "guest-exec", "enabled": False},
            ],
        },
        "guest-get-vcpus": [{"logical-id": 0, "online": True}, {"logical-id": 1, "online": False}],
        "guest-get-devices": [
            {
                "driver-name": "net",
                "driver-version": "1",
                "id": {"type": "pci", "vendor-id": 6900, "device-id": 4096},
            }
        ],
    }
    known = merged(QemuAgentFacts(), AgentAnswer(answers=answers), {}, 5.0)
    assert (known.version, known.commands, known.guest_cpu_count) == ("8.1", {"guest-ping"}, 1)
    assert known.pci_devices == [
        GuestPciDevice(device_id=4096, vendor_id=6900, driver_name="net", driver_version="1")
    ]


def test_silence_changes_nothing_that_is_known():
    """But the agent counts as silent until it answers again."""
    silent = AgentAnswer(failure=NotResponding(object=ID, operation="guest_agent", seconds=5.0))
    known = merged(QemuAgentFacts(guest_name="a", answered=1.0), silent, {}, 5.0)
    assert (known.guest_name, known.responsive) == ("a", False)
    assert merged(known, AgentAnswer(), {}, 6.0).responsive


def test_serial_numbers_of_disks():
    """The guest's own comes first; without one, libvirt's target leads to the machine's."""
    facts = {
        "disk.count": 3,
        "disk.0.name": "/dev/vda",
        "disk.0.alias": "vda",
        "disk.1.name": "/dev/sda",
        "disk.1.serial": "S1",
        "disk.1.alias": "sda",
        "disk.2.name": "/dev/vda1",
    }
    known = merged(QemuAgentFacts(), AgentAnswer(facts=facts), {"vda": "S0", "sda": "other"}, 5.0)
    assert {serial: disk.name for serial, disk in known.disk_mapping.items()} == {
        "S0": "/dev/vda",
        "S1": "/dev/sda",
    }


def test_both_agents_together():
    """Values of qemu-guest-agent come first; applications are a union without duplicates."""
    facts = GuestFacts()
    assert facts.members(ID)["guest_cpu_count"] == -1
    facts.change_ovirt(
        ID, lambda _: OvirtAgentFacts(guest_name="old", session="Active", apps_list=["a", "b"])
    )
    facts.change_qemu(ID, lambda _: QemuAgentFacts(guest_name="new", apps_list=["k", "a"]))
    shown = facts.members(ID)
    assert (shown["guest_name"], shown["session"], shown["apps_list"]) == ("new", "Active", ["k", "a", "b"])
    facts.forget(ID)
    assert facts.members(ID)["session"] == "Unknown"


def test_moments_belong_to_a_run():
    """A watchdog, a viewer: shown until the machine stops, in VDSM's words."""
    chronicle = Chronicle()
    local, remote = GraphicsAddress("ipv4", "192.0.2.1", "5900"), GraphicsAddress("ipv4", "192.0.2.7", "4000")
    chronicle.handle(DomainWatchdog(ID, "a", "poweroff"))
    for phase in ("connect", "initialize"):
        chronicle.handle(DomainGraphics(ID, "a", phase, local, remote, "vnc", ()))
    shown = chronicle.of(ID)
    assert (shown.watchdog.action, shown.viewers) == ("destroy", ("192.0.2.7",))
    chronicle.handle(DomainGraphics(ID, "a", "disconnect", local, remote, "vnc", ()))
    assert (chronicle.of(ID).viewers, chronicle.of(ID).viewed) == ((), True)
    chronicle.handle(DomainLifecycle(ID, "a", "stopped", "shutdown"))
    assert chronicle.of(ID).watchdog is None


def test_keys_by_name():
    """Chords, short names, and the names of Linux."""
    assert list(presses("ctrl+alt+F2 r KEY_ENTER 1")) == [[29, 56, 60], [19], [28], [2]]
    for sequence in ("", "hyper", "a+", " ".join("a" * 257), "+".join("abcdefghijklmnopq")):
        with pytest.raises(InvalidArgument):
            presses(sequence)


def test_a_driver_without_a_monitor(vms):
    """Is an error, not the end of the process."""
    vm_id = vms.create()
    with pytest.raises(MonitorCommandFailed, match="not QEMU"):
        vms.call("VM.monitorCommand", vmID=vm_id, command="info kvm")
