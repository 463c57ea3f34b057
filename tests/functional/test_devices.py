"""Devices of a real guest, plugged in and out and changed while it runs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.functional.daemon import CONFIG, Daemon, Refused
from tests.functional.lab import BRIDGE, BootFiles, GuestAgent, LabHost
from vdsm_bridge.testing.polling import until

pytestmark = [pytest.mark.functional, pytest.mark.slow]

NIC = "c0ffee00-0000-4000-8000-0000000000a1"
FIRST = "c0ffee00-0000-4000-8000-0000000000a0"
MODULE = "c0ffee00-0000-4000-8000-0000000000a2"
MAC = "52:54:00:de:7c:01"
OPTIONS = '[plugin.virt]\nkept_custom = ["kept_*"]\n'


class Site:
    """A daemon, and one guest with an agent that all tests share."""

    def __init__(self, host: LabHost, daemon: Daemon, vm_id: str) -> None:
        self.host = host
        self.daemon = daemon
        self.vm_id = vm_id
        self.agent = GuestAgent(host, vm_id)

    def call(self, verb: str, **params: Any) -> Any:
        """Call a verb of the machine by its name over XML-RPC, as VDSM's clients do."""
        reply = self.daemon.reply(verb, {"vmId": self.vm_id, **params})
        assert reply["status"]["code"] == 0, reply["status"]
        return reply.get("vmList")

    def code(self, verb: str, **params: Any) -> int:
        """Call a verb that fails; its code."""
        return int(self.daemon.reply(verb, {"vmId": self.vm_id, **params})["status"]["code"])

    def update(self, **params: Any) -> dict[str, Any]:
        """Change the plugged NIC; what the machine's list of devices has of it."""
        reply = self.daemon.reply(
            "vmUpdateDevice", self.vm_id, {"deviceType": "interface", "alias": f"ua-{NIC}", **params}
        )
        assert reply["status"]["code"] == 0, reply["status"]
        return self.device(NIC)

    def devices(self) -> list[dict[str, Any]]:
        """The machine's devices, over REST."""
        found: list[dict[str, Any]] = self.daemon.rest("GET", f"/api/vms/{self.vm_id}")["devices"]
        return found

    def device(self, device_id: str) -> dict[str, Any]:
        """The device with an id; empty if there is none."""
        return next((device for device in self.devices() if device.get("deviceId") == device_id), {})

    def domain(self) -> ET.Element:
        """libvirt's document of the running machine."""
        return ET.fromstring(self.host.virsh("dumpxml", self.vm_id))

    def stats(self) -> dict[str, Any]:
        """The machine's statistics."""
        (stats,) = self.daemon.rest("GET", f"/api/vms/{self.vm_id}/stats")
        return dict(stats)

    def interfaces(self) -> set[str]:
        """The MAC addresses that the guest itself has."""
        return {each.get("hardware-address", "") for each in self.agent.ask("guest-network-get-interfaces")}


@pytest.fixture(scope="module")
def site(lab_host: LabHost, boot: BootFiles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The daemon and the guest."""
    files, vm_id = boot.with_agent(), str(uuid.uuid4())
    folder: Path = tmp_path_factory.mktemp("devices")
    with Daemon(folder, lab_host.uri, CONFIG + OPTIONS) as daemon:
        site = Site(lab_host, daemon, vm_id)
        created = daemon.reply(
            "create",
            {
                "vmId": vm_id,
                "vmName": f"devices-{vm_id[:8]}",
                "memSize": 160,
                "maxMemSize": 1024,
                "maxMemSlots": 4,
                "smp": "1",
                "maxVCpus": "2",
                "kvmEnable": "false",
                "emulatedMachine": "pc",
                "kernel": str(files.kernel),
                "initrd": str(files.initrd),
                "kernelArgs": files.cmdline,
                "devices": [
                    {
                        "type": "interface",
                        "network": "",
                        "macAddr": "52:54:00:de:7c:00",
                        "nicModel": "pv",
                        "deviceId": FIRST,
                        "filter": "vdsm-no-mac-spoofing",
                        "specParams": {"inbound": {}, "outbound": {}},
                    }
                ],
            },
        )
        assert created["status"]["code"] == 0, created
        try:
            until(lambda: site.stats()["status"] in ("Up", "Powering up"), 60, detail=daemon.log)
            site.agent.wait()
            yield site
        finally:
            if vm_id in lab_host.virsh("list", "--uuid"):
                lab_host.virsh("destroy", vm_id)
            if vm_id in lab_host.virsh("list", "--all", "--uuid"):
                lab_host.virsh("undefine", vm_id)


def test_a_nic_as_engines_send_it(site: Site) -> None:
    """Without a network: on VDSM's bridge, its link down; with VDSM's filter, which was defined for it."""
    (nic,) = site.domain().findall("devices/interface")
    assert nic.find("source").get("bridge") == ";vdsmdummy;"
    assert nic.find("link").get("state") == "down"
    assert nic.find("filterref").get("filter") == "vdsm-no-mac-spoofing"
    shown = site.device(FIRST)
    assert (shown["network"], shown["linkActive"], shown["alias"]) == ("", False, f"ua-{FIRST}")


def test_a_nic_comes_changes_and_goes(site: Site) -> None:
    """The guest finds it; each change is in libvirt's document; the guest releases it."""
    before = site.stats()["hash"]
    nic = {"network": BRIDGE, "macAddr": MAC, "nicModel": "pv", "deviceId": NIC, "custom": {"kept_a": "1"}}
    plugged = site.call("hotplugNic", nic=nic)
    assert f"ua-{NIC}" in {device.get("alias") for device in plugged["devices"]}
    assert site.device(NIC)["custom"] == {"kept_a": "1"}
    assert site.stats()["hash"] != before
    until(lambda: MAC in site.interfaces(), 30, every=0.2, detail=site.interfaces)

    def element() -> ET.Element:
        return _nic(site.domain(), MAC)

    assert site.update(linkActive=False)["linkActive"] is False
    assert element().find("link").get("state") == "down"
    unplugged = site.update(network="")
    assert (unplugged["network"], element().find("source").get("bridge")) == ("", ";vdsmdummy;")
    assert site.update(network=BRIDGE)["linkActive"] is True
    # No limit but that of none: the kernels of some labs have no queueing discipline for them.
    site.update(specParams={"inbound": {}}, filter="vdsm-no-mac-spoofing")
    assert element().find("bandwidth") is None
    assert element().find("filterref").get("filter") == "vdsm-no-mac-spoofing"
    reply = site.daemon.reply(
        "vmUpdateDevice",
        site.vm_id,
        {"deviceType": "interface", "alias": f"ua-{NIC}", "network": "no-such-bridge"},
    )
    assert reply["status"]["code"] == 56
    assert element().find("source").get("bridge") == BRIDGE
    site.call("hotunplugNic", nic={"macAddr": MAC})
    assert site.device(NIC) == {}
    until(lambda: MAC not in site.interfaces(), 10, every=0.2)
    assert site.stats()["hash"] == before


def _nic(domain: ET.Element, mac: str) -> ET.Element:
    return next(nic for nic in domain.findall("devices/interface") if nic.find("mac").get("address") == mac)


DOCUMENT = f"""<hotplug><devices><interface type='bridge'><alias name='ua-{NIC}'/><mac address='{MAC}'/>
  <source bridge='{BRIDGE}'/><model type='virtio'/></interface></devices>
  <metadata xmlns:ovirt-vm='http://ovirt.org/vm/1.0'><ovirt-vm:vm><ovirt-vm:device mac_address='{MAC}'>
  <ovirt-vm:custom><ovirt-vm:kept_b>2</ovirt-vm:kept_b></ovirt-vm:custom></ovirt-vm:device></ovirt-vm:vm>
  </metadata></hotplug>"""


@pytest.fixture(scope="module")
def restarted(site: Site) -> dict[str, Any]:
    """A NIC that was plugged in by document before the daemon was killed and started, as it was shown."""
    site.call("hotplugNic", xml=DOCUMENT)
    shown = site.device(NIC)
    site.daemon.kill()
    site.daemon.start()
    return shown


def test_a_nic_by_document(site: Site, restarted: dict[str, Any]) -> None:
    """In the form of VDSM 4.2; over a restart of the daemon, its id and properties stay."""
    assert restarted["custom"] == {"kept_b": "2"}
    until(lambda: site.device(NIC) == restarted, 20, detail=site.devices)
    until(lambda: MAC in site.interfaces(), 30, every=0.2)
    site.call("hotunplugNic", xml=DOCUMENT)
    assert site.device(NIC) == {}


def test_refusals(site: Site) -> None:
    """VDSM's codes: no such bridge 49, no such NIC 50, no room for memory 70, no such module 85, stuck 83."""
    assert site.code("hotplugNic", nic={"network": "no-such-bridge"}) == 49
    assert site.code("hotunplugNic", nic={"macAddr": MAC}) == 50
    assert site.code("hotplugMemory", memory={"size": 4096, "node": 0}) == 70
    reply = site.daemon.reply("hostdevHotplug", site.vm_id, ["pci_ffff_ff_1f_0"])
    assert reply["status"]["code"] == 83


def test_memory_comes_and_goes(site: Site) -> None:
    """The guest uses it; the definition shows it with its id; it is requested back."""
    total = int(site.domain().findtext("memory"))
    site.call("hotplugMemory", memory={"size": 128, "node": 0, "deviceId": MODULE}, memGuaranteedSize=64)
    module = site.device(MODULE)
    assert (module["size"], module["node"]) == (128, 0)
    assert int(site.domain().findtext("memory")) == total + 128 * 1024
    machine = site.daemon.rest("GET", f"/api/vms/{site.vm_id}")
    assert (machine["memSize"], machine["memGuaranteedSize"]) == (160 + 128, 64)
    site.daemon.rest(
        "POST", f"/api/vms/{site.vm_id}/hotunplug-memory", {"params": {"memory": {"size": 128, "node": 0}}}
    )


def test_what_virsh_changes_is_seen(site: Site) -> None:
    """No event reports the link of a NIC, nor the number of processors."""
    site.host.virsh("domif-setlink", site.vm_id, "52:54:00:de:7c:00", "up")
    until(lambda: site.device(FIRST)["linkActive"] is True, 30, every=0.2)
    site.host.virsh("domif-setlink", site.vm_id, "52:54:00:de:7c:00", "down")
    until(lambda: site.device(FIRST)["linkActive"] is False, 30, every=0.2)


def test_the_devices_of_the_host(site: Site) -> None:
    """libvirt's own list; without SR-IOV, an honest error."""
    reply = site.daemon.reply("hostdevListByCaps", ["system"])
    assert reply["status"]["code"] == 0
    assert set(reply["deviceList"]) == {"computer"}
    assert reply["deviceList"]["computer"]["params"]["is_assignable"] == "true"
    pci = site.daemon.reply("hostdevListByCaps", ["pci"])["deviceList"]
    for name in list(pci)[:1]:
        if "totalvfs" not in pci[name]["params"]:
            with pytest.raises(Refused):
                site.daemon.rest("POST", "/api/host/hostdev-change-numvfs", {"deviceName": name, "numvfs": 1})
