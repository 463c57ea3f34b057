"""A guest with an agent: what the daemon shows of it, limits of it, and lets its users do."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.daemon import CONFIG, Daemon
from tests.functional.lab import BRIDGE, BootFiles, GuestAgent, LabHost
from tests.functional.site import BOOT, Site
from vdsm_bridge.testing.polling import until

pytestmark = [pytest.mark.functional, pytest.mark.slow]

SERIAL = "lab-disk-0001"


class Inhabited(Site):
    """A daemon, and one machine for all tests: with an agent, a file system, a display and a balloon."""

    def __init__(self, host: LabHost, boot: BootFiles, daemon: Daemon) -> None:
        super().__init__(host, boot.with_agent(), daemon)
        self.disk = host.file_system("inhabited")
        self.vm_id = self.create(
            "inhabited",
            memGuaranteedSize=96,
            smp="1",
            maxVCpus="2",
            devices=[
                {
                    "type": "disk",
                    "device": "disk",
                    "iface": "virtio",
                    "format": "raw",
                    "path": str(self.disk),
                    "serial": SERIAL,
                },
                {"type": "interface", "device": "bridge", "network": BRIDGE, "nicModel": "pv"},
                {"type": "balloon", "device": "memballoon", "specParams": {"model": "virtio"}},
                {"type": "video", "device": "vga"},
            ],
        )
        self.agent = GuestAgent(host, self.vm_id)

    @property
    def shown(self) -> dict[str, Any]:
        """The machine's statistics, as VDSM's clients get them."""
        (stats,) = self.daemon.xmlrpc("getVmStats", self.vm_id)["statsList"]
        return dict(stats)

    def code(self, method: str, *arguments: Any) -> int:
        """The code of a call's reply."""
        return int(self.daemon.reply(method, self.vm_id, *arguments)["status"]["code"])


@pytest.fixture(scope="module")
def site(lab_host: LabHost, boot: BootFiles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inhabited]:
    """The machine, up, and its agent at work."""
    with Daemon(tmp_path_factory.mktemp("guests"), lab_host.uri, CONFIG) as daemon:
        site = Inhabited(lab_host, boot, daemon)
        try:
            site.wait_for(site.vm_id, "Up", "Powering up", within=BOOT)
            site.agent.wait(BOOT)
            yield site
        finally:
            site.clean()


def test_facts_of_the_agent(site: Inhabited) -> None:
    """The names, the system, the users, addresses, file systems and processors of the guest."""
    until(lambda: site.shown["disksUsage"], 30.0, every=0.2, detail=lambda: site.shown)
    shown = site.shown
    assert (shown["guestName"], shown["guestFQDN"]) == ("lab-guest.example", "lab-guest.example")
    assert shown["username"] == "tester"
    assert shown["guestTimezone"] == {"offset": 330, "zone": "IST"}
    info = shown["guestOsInfo"]
    assert (info["type"], info["arch"], info["distribution"]) == ("linux", "x86_64", "Lab Guest")
    assert (info["version"], info["codename"]) == ("1.0", "tiny")
    assert shown["guestOs"] == info["kernel"] == site.agent.run("/bin/uname", "-r").strip()
    assert shown["appsList"][0] == f"kernel-{info['kernel']}"
    assert shown["appsList"][1].startswith("qemu-guest-agent-")
    cards = {card["name"]: card for card in shown["netIfaces"]}
    assert cards["lo"]["inet"] == ["127.0.0.1"]
    assert cards["eth0"]["hw"] == next(iter(shown["network"].values()))["macAddr"]
    (mount,) = shown["disksUsage"]
    assert (mount["path"], mount["fs"]) == ("/mnt/vda", "ext4")
    assert 0 < int(mount["used"]) < int(mount["total"]) <= 16 * 2**20
    assert shown["diskMapping"] == {SERIAL: {"name": "/dev/vda"}}
    assert (shown["guestCPUCount"], shown["session"], shown["guestIPs"]) == (1, "Unknown", "")


def test_statistics(site: Inhabited) -> None:
    """Every figure has VDSM's unit and type; rates and latencies follow from two samples."""
    until(
        lambda: (
            float(site.shown["disks"]["vda"]["writeRate"]) > 0
            and float(site.shown["disks"]["vda"]["writeLatency"]) > 0
            and site.shown["cpuActual"]
        ),
        30.0,
        every=0.2,
        detail=lambda: site.shown,
    )
    shown = site.shown
    disk = shown["disks"]["vda"]
    assert int(disk["apparentsize"]) == site.disk.stat().st_size
    assert int(disk["truesize"]) == site.disk.stat().st_blocks * 512
    assert all(isinstance(value, str) for value in disk.values())
    (nic,) = shown["network"].values()
    assert (nic["speed"], nic["state"]) == ("1000", "unknown")
    assert int(nic["tx"]) > 0
    memory, balloon = shown["memoryStats"], shown["balloonInfo"]
    assert int(memory["mem_unused"]) <= int(memory["mem_free"]) <= int(memory["mem_total"]) <= 128 * 1024
    assert 0 < int(shown["memUsage"]) < 100
    assert balloon["balloon_max"] == str(128 * 1024)
    assert balloon["balloon_min"] == str(96 * 1024)
    assert balloon["ballooning_enabled"] is True
    (display,) = shown["displayInfo"]
    assert display["type"] == "vnc"
    assert int(display["port"]) == int(shown["displayPort"]) > 0
    assert (shown["vmJobs"], shown["vcpuCount"], shown["vmType"]) == ({}, "1", "qemu")
    assert int(shown["pid"]) >= 0
    assert int(shown["cpuUsage"]) > 0
    assert not {"cdrom", "ioTune", "vcpuQuota", "vcpuUserLimit", "watchdogEvent"} & shown.keys()


def test_limits_of_disks(site: Inhabited) -> None:
    """Limits act in QEMU, are shown, and a total replaces those of both ways; so does what virsh sets."""
    call, vm_id = site.daemon.xmlrpc, site.vm_id
    call(
        "setIoTune", vm_id, [{"name": "vda", "ioTune": {"read_iops_sec": 500, "write_bytes_sec": "1000000"}}]
    )
    (tune,) = call("getIoTune", vm_id)["ioTune"]
    assert (tune["name"], tune["path"]) == ("vda", str(site.disk))
    none = dict.fromkeys(tune["ioTune"], 0)
    assert tune["ioTune"] == {**none, "read_iops_sec": 500, "write_bytes_sec": 1_000_000}
    call("setIoTune", vm_id, [{"path": str(site.disk), "ioTune": {"total_iops_sec": 900}}])
    (tune,) = call("getIoTune", vm_id)["ioTune"]
    assert tune["ioTune"] == {**none, "total_iops_sec": 900, "write_bytes_sec": 1_000_000}
    assert "total_iops_sec : 900" in site.host.virsh("blkdeviotune", vm_id, "vda")
    (shown,) = site.shown["ioTune"]
    assert (shown["ioTune"]["total_iops_sec"], shown["ioTune"]["read_bytes_sec"]) == ("900", "0")

    site.host.virsh("blkdeviotune", vm_id, "vda", "--total-iops-sec", "0", "--write-bytes-sec", "0")
    until(lambda: "ioTune" not in site.shown, every=0.1, detail=lambda: site.shown["ioTune"])
    assert site.code("setIoTune", [{"name": "vdz", "ioTune": {"total_iops_sec": 9}}]) == 64
    bad = {"total_iops_sec": 9, "read_iops_sec": 9}
    assert site.code("setIoTune", [{"name": "vda", "ioTune": bad}]) == 64


def test_policy(site: Inhabited) -> None:
    """A policy is stored with the machine in VDSM's form, and outlives the daemon."""
    call, vm_id = site.daemon.xmlrpc, site.vm_id
    assert site.daemon.reply("updateVmPolicy", {"vmId": vm_id})["status"]["code"] == 11
    limits = {"name": "vda", "maximum": {"total_iops_sec": 400}, "guaranteed": {"total_iops_sec": 100}}
    call("updateVmPolicy", {"vmId": vm_id, "vcpuLimit": 60, "ioTune": [limits]})
    call("updateVmPolicy", {"vmId": vm_id, "vcpuLimit": "50"})
    assert site.shown["vcpuUserLimit"] == 50
    assert "<ovirt-tune:vcpuLimit>50</ovirt-tune:vcpuLimit>" in site.host.virsh("dumpxml", vm_id)
    (policy,) = call("getIoTunePolicy", vm_id)["ioTunePolicy"]
    assert (policy["name"], policy["path"]) == ("vda", str(site.disk))
    assert policy["maximum"]["total_iops_sec"] == 400
    assert policy["guaranteed"]["total_iops_sec"] == 100
    every = call("getAllVmIoTunePolicies")["io_tune_policies_dict"][vm_id]
    assert every["policy"] == [policy]
    assert [tune["name"] for tune in every["current_values"]] == ["vda"]
    wrong = {**limits, "name": "vdz"}
    assert site.daemon.reply("updateVmPolicy", {"vmId": vm_id, "ioTune": [wrong]})["status"]["code"] == 63


def test_balloon(site: Inhabited) -> None:
    """The guest gives memory back; what it does not have is refused by VDSM's code."""
    site.daemon.xmlrpc("setBalloonTarget", site.vm_id, 100 * 1024)
    assert site.shown["balloonInfo"]["balloon_target"] == str(100 * 1024)
    until(
        lambda: site.shown["balloonInfo"]["balloon_cur"] == str(100 * 1024),
        30.0,
        every=0.2,
        detail=lambda: site.shown["balloonInfo"],
    )
    assert site.code("setBalloonTarget", 10**9) == 53
    assert site.code("setBalloonTarget", 0) == 53
    site.daemon.xmlrpc("setBalloonTarget", site.vm_id, 128 * 1024)


def test_processors(site: Inhabited) -> None:
    """A processor that is plugged in is used by the guest, and shown; so is one that virsh plugs in."""
    site.daemon.xmlrpc("setNumberOfCpus", site.vm_id, 2)
    until(lambda: site.agent.shell("cat /sys/devices/system/cpu/online") == "0-1\n", 30.0, every=0.2)
    until(lambda: site.shown["vcpuCount"] == "2", every=0.1)
    assert site.code("setNumberOfCpus", 3) != 0


def test_console(site: Inhabited) -> None:
    """The screen is an image, keys arrive in the guest, and the monitor answers to an administrator."""
    found = site.daemon.rest("GET", f"/api/vms/{site.vm_id}/screenshot")
    assert (found["encoding"], found["mime_type"]) == ("base64", "image/png")
    assert base64.b64decode(found["data"]).startswith(b"\x89PNG")

    pressed = site.agent.start(
        "/bin/sh",
        "-c",
        'dd if=/dev/input/event0 bs=24 count=36 2>/dev/null | /bin/hexdump -v -e \'12/2 "%d " "\\n"\'',
    )

    # Type, code and value follow the time in each record of an input event (linux/input.h).
    def typed() -> list[int]:
        site.daemon.xmlrpc("sendkeys", site.vm_id, "a leftshift+b")
        if (text := pressed()) is None:
            return []
        events = [[int(word) for word in line.split()][8:11] for line in text.splitlines()]
        return [code for kind, code, value in events if (kind, value) == (1, 1)]

    # The reader may begin in the midst of the keys of one call.
    codes = until(typed, 30.0, every=0.3)
    assert [30, 42, 48] in [codes[at : at + 3] for at in range(3)]
    assert site.code("sendkeys", "nosuchkey") != 0

    answer = site.daemon.xmlrpc("monitorCommand", site.vm_id, '{"execute": "query-status"}')["output"]
    assert '"running":true' in answer
    assert "KVM" in site.daemon.xmlrpc("monitorCommand", site.vm_id, "info kvm")["output"].upper()
    assert site.code("monitorCommand", '{"execute": "nosuchcommand"}') != 0


def test_a_silent_agent(site: Inhabited, lab_host: LabHost, boot: BootFiles) -> None:
    """An agent that hangs holds up nothing: its machine's own verbs, other machines, statistics."""
    other = site.create("neighbour", launchPaused="true")
    site.agent.fall_silent(6)
    for _ in range(3):
        site.daemon.xmlrpc("setBalloonTarget", site.vm_id, 128 * 1024)
        assert float(site.shown["statsAge"]) < 5
        assert int(site.shown["monitorResponse"]) == 0
        site.daemon.xmlrpc("cont", other)
        site.daemon.xmlrpc("pause", other)
    # What was known stays.
    assert site.shown["guestName"] == "lab-guest.example"
    site.agent.wait()
    site.daemon.xmlrpc("destroy", other)


#: oVirt's agent, as far as this test needs it: it greets, says what a user does, and keeps what it is sent.
DESKTOP = r"""
name=$(grep -l com.redhat.rhevm.vdsm /sys/class/virtio-ports/*/name)
exec 3<>/dev/$(basename $(dirname $name))
say() { echo "$1" >&3; }
say '{"__name__": "heartbeat", "free-ram": "64", "apiVersion": 0}'
say '{"__name__": "active-user", "name": "ann"}'
say '{"__name__": "session-logon"}'
say '{"__name__": "heartbeat", "free-ram": "64", "apiVersion": 3}'
while read -r line <&3; do
  echo "$line" >>/tmp/received
  case "$line" in
  *lock-screen*) say '{"__name__": "session-lock"}' ;;
  *log-off*) say '{"__name__": "session-logoff"}' ;;
  esac
done
"""


def test_ovirt_agent(site: Inhabited) -> None:
    """What oVirt's agent says is shown; the desktop is locked, logged in and off by the old names.

    While none is there, each is refused with VDSM's code.
    """
    assert site.code("desktopLock") == 19
    site.agent.ask("guest-exec", path="/bin/busybox", arg=["sh", "-c", f"export PATH=/bin\n{DESKTOP}"])
    until(lambda: site.shown["session"] == "UserLoggedOn", 40.0, every=0.2, detail=site.daemon.log)
    assert float(site.shown["lastLogin"]) > 0

    def received() -> str:
        return site.agent.shell("cat /tmp/received 2>/dev/null || true")

    until(lambda: '"apiVersion":3' in received(), 20.0, every=0.2, detail=received)
    site.daemon.xmlrpc("desktopLock", site.vm_id)
    until(lambda: site.shown["session"] == "Locked", 20.0, every=0.2, detail=received)
    site.daemon.xmlrpc("desktopLogin", site.vm_id, "corp", "ann", "pass word")
    site.daemon.xmlrpc("sendHcCmdToDesktop", site.vm_id, "echo")
    site.daemon.xmlrpc("desktopLogoff", site.vm_id, "false")
    until(lambda: site.shown["session"] == "LoggedOff", 20.0, every=0.2, detail=received)
    lines = [json.loads(line) for line in received().splitlines()]
    login = {"__name__": "login", "username": "ann@corp", "password": "pass word"}
    assert [line for line in lines if line["__name__"] in ("login", "echo")] == [login, {"__name__": "echo"}]
    assert "pass word" not in site.daemon.log()
