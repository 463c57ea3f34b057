"""NICs, memory and devices of the host, plugged into running machines and out of them, and changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from msgspec import UNSET

from vdsm_bridge.call.context import Identity
from vdsm_core.errors import InvalidArgument, MissingArgument, OperationFailed, VdsmError
from vdsm_core.hooks import hookimpl
from vdsm_virt.errors import (
    DeviceNotUpdatable,
    HostDeviceDetachFailed,
    HotplugMemoryFailed,
    HotplugNicFailed,
    HotunplugMemoryFailed,
    HotunplugNicFailed,
    MigrationInProgress,
    NeedsAdmin,
    UpdateDeviceFailed,
    VMIsDown,
)

from .plugging import PluggingDriver

ID = "c0ffee00-0000-4000-8000-0000000000aa"
MAC = "52:54:00:aa:bb:01"
NIC = {
    "network": "br0",
    "macAddr": MAC,
    "nicModel": "pv",
    "deviceId": ID,
    "custom": {"kept_x": "1", "y": "2"},
}
OVIRT = "xmlns:ovirt-vm='http://ovirt.org/vm/1.0'"
DOCUMENT = f"""<?xml version='1.0'?>
<hotplug>
  <devices>
    <interface type='bridge'>
      <alias name='ua-{ID}'/><mac address='{MAC}'/><source bridge='br0'/><model type='virtio'/>
    </interface>
  </devices>
  <metadata {OVIRT}>
    <ovirt-vm:vm>
      <ovirt-vm:device mac_address='{MAC}'>
        <ovirt-vm:custom><ovirt-vm:kept_x>1</ovirt-vm:kept_x></ovirt-vm:custom>
      </ovirt-vm:device>
    </ovirt-vm:vm>
  </metadata>
</hotplug>"""
OPERATOR = Identity("o", "operator")
PCI = "pci_0000_05_00_0"
CONFIG = {"plugin": {"virt": {"kept_custom": ["kept_*"], "operator_custom": ["kept_*"]}}}


@pytest.fixture
def driver() -> Iterator[PluggingDriver]:
    """The driver."""
    with PluggingDriver() as driver:
        yield driver


@pytest.fixture
def vms(make_machines, driver) -> Any:
    """The machines of a host on it."""
    return make_machines(connect=driver.connect, config=CONFIG)


@pytest.fixture
def vm_id(vms) -> str:
    """A running machine."""
    return str(vms.create(maxMemSize=1024))


class Recorder:
    """A plugin that records the hooks of devices, and edits and refuses on demand."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.refuse = ""

    def _note(self, point: str, device_custom: dict[str, str]) -> None:
        self.seen.append((point, device_custom))
        if self.refuse == point:
            raise OperationFailed(reason="a hook refuses")

    @hookimpl
    def vdsm_before_nic_hotplug(self, device, vm_id, custom, device_custom):
        self._note("before_plug", device_custom)
        device.find("model").set("type", "e1000")

    @hookimpl
    def vdsm_after_nic_hotplug(self, vm_id, device, custom, device_custom):
        self._note("after_plug", device_custom)

    @hookimpl
    def vdsm_after_nic_hotplug_fail(self, vm_id, device, custom, device_custom):
        self._note("plug_fail", device_custom)

    @hookimpl
    def vdsm_before_nic_hotunplug(self, vm_id, device, custom, device_custom):
        self._note("before_unplug", device_custom)

    @hookimpl
    def vdsm_after_nic_hotunplug(self, vm_id, device, custom, device_custom):
        self._note("after_unplug", device_custom)

    @hookimpl
    def vdsm_after_nic_hotunplug_fail(self, vm_id, device, custom, device_custom):
        self._note("unplug_fail", device_custom)

    @hookimpl
    def vdsm_before_update_device(self, device, vm_id, custom, device_custom):
        self._note("before_update", device_custom)

    @hookimpl
    def vdsm_after_update_device(self, vm_id, device, custom, device_custom):
        self._note("after_update", device_custom)

    @hookimpl
    def vdsm_after_update_device_fail(self, vm_id, device, custom, device_custom):
        self._note("update_fail", device_custom)

    @hookimpl
    def vdsm_before_memory_hotplug(self, device, vm_id, custom, device_custom):
        self._note("before_memory", device_custom)

    @hookimpl
    def vdsm_after_memory_hotplug(self, vm_id, device, custom, device_custom):
        self._note("after_memory", device_custom)

    @property
    def points(self) -> list[str]:
        return [point for point, _ in self.seen]


@pytest.fixture
def recorder(vms) -> Recorder:
    """The plugin, registered."""
    recorder = Recorder()
    vms.host.host.runtime.hooks.register("recorder", recorder)
    return recorder


def nics(machine: Any) -> list[Any]:
    return [device for device in machine.devices if device.type == "interface"]


def shown(vms: Any, vm_id: str) -> Any:
    return vms.call("VM.getInfo", vmID=vm_id)


@pytest.mark.parametrize("params", [{"nic": NIC}, {"xml": DOCUMENT}], ids=["struct", "xml"])
def test_a_nic_in_and_out(vms, vm_id, recorder, params):
    """In both forms: shown with id, network and the custom properties that are kept; then not any more.
    The hooks run at their moments, and what they edit is plugged in."""
    machine = vms.call("VM.hotplugNic", vmID=vm_id, params={"vmId": vm_id.upper(), **params})
    (nic,) = nics(machine)
    assert (nic.device_id, nic.alias, nic.mac_addr, nic.network) == (ID, f"ua-{ID}", MAC, "br0")
    assert nic.nic_model == "e1000"
    assert nic.custom == {"kept_x": "1"}
    assert nics(shown(vms, vm_id)) == [nic]
    assert recorder.points == ["before_plug", "after_plug"]
    assert recorder.seen[0][1]["kept_x"] == "1"
    unplug = {"nic": {"macAddr": MAC.upper()}} if "nic" in params else params
    machine = vms.call("VM.hotunplugNic", vmID=vm_id, params=unplug)
    assert nics(machine) == []
    assert recorder.points[2:] == ["before_unplug", "after_unplug"]
    assert recorder.seen[2][1]["kept_x"] == "1"
    assert ID not in vms.call("Host.dumpxmls")[vm_id]


def test_the_hash_of_devices(vms, vm_id):
    """Changes with each device, and is the same again when it is gone."""
    before = vms.stats(vm_id).hash
    assert before
    vms.call("VM.hotplugNic", vmID=vm_id, params={"nic": NIC})
    during = vms.stats(vm_id).hash
    vms.call("VM.hotunplugNic", vmID=vm_id, params={"nic": {"deviceId": ID}})
    assert (during != before, vms.stats(vm_id).hash) == (True, before)


def test_a_nic_that_is_refused(vms, vm_id, driver, recorder):
    """By libvirt: its reason, and the hook of failures. By a hook: its reason; nothing is plugged in."""
    driver.refuses = "no free slot"
    with pytest.raises(HotplugNicFailed, match="no free slot") as failure:
        vms.call("VM.hotplugNic", vmID=vm_id, params={"nic": NIC})
    assert failure.value.code == 49
    assert recorder.points == ["before_plug", "plug_fail"]
    recorder.refuse = "before_plug"
    with pytest.raises(VdsmError, match="a hook refuses"):
        vms.call("VM.hotplugNic", vmID=vm_id, params={"nic": NIC})
    assert driver.attached == []


def test_a_nic_that_is_not_there_or_stays(vms, vm_id, driver, recorder, monkeypatch):
    """Code 50."""
    with pytest.raises(HotunplugNicFailed, match="no such NIC") as failure:
        vms.call("VM.hotunplugNic", vmID=vm_id, params={"nic": {"macAddr": MAC}})
    assert failure.value.code == 50
    vms.call("VM.hotplugNic", vmID=vm_id, params={"nic": NIC})
    driver.refuses = "device is busy"
    with pytest.raises(HotunplugNicFailed, match="device is busy"):
        vms.call("VM.hotunplugNic", vmID=vm_id, params={"nic": NIC})
    assert recorder.points[-2:] == ["before_unplug", "unplug_fail"]


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({}, MissingArgument),
        ({"nic": {"macAddr": MAC}}, InvalidArgument),
        ({"nic": {**NIC, "portMirroring": ["red"]}}, InvalidArgument),
        ({"nic": NIC, "vmId": ID}, InvalidArgument),
        ({"xml": "<hotplug/>"}, InvalidArgument),
        ({"xml": "<hotplug><devices><disk/></devices></hotplug>"}, InvalidArgument),
        ({"xml": "<hotplug><devices><interface/><interface/></devices></hotplug>"}, InvalidArgument),
        ({"xml": "not XML"}, InvalidArgument),
    ],
)
def test_requests_that_make_no_nic(vms, vm_id, params, error):
    """Each is refused before anything happens."""
    with pytest.raises(error):
        vms.call("VM.hotplugNic", vmID=vm_id, params=params)


def test_only_machines_that_run(vms, vm_id):
    """A machine that is down has code 6."""
    vms.hypervisor.domains.destroy(vm_id)
    vms.wait(vm_id, lambda stats: stats.status == "Down")
    for verb, params in (
        ("VM.hotplugNic", {"params": {"nic": NIC}}),
        ("VM.hotunplugNic", {"params": {"nic": NIC}}),
        ("VM.updateDevice", {"params": {"deviceType": "interface", "alias": "net0"}}),
        ("VM.hotplugMemory", {"params": {"memory": {"size": 64}}}),
        ("VM.hotunplugMemory", {"params": {"memory": {"size": 64}}}),
        ("VM.hotplugHostdev", {"devices": [PCI]}),
        ("VM.hotunplugHostdev", {"devices": [PCI]}),
    ):
        with pytest.raises(VMIsDown):
            vms.call(verb, vmID=vm_id, **params)


def update(vms: Any, vm_id: str, **params: Any) -> Any:
    machine = vms.call(
        "VM.updateDevice", vmID=vm_id, params={"deviceType": "interface", "alias": f"ua-{ID}", **params}
    )
    (nic,) = nics(machine)
    return nic


def test_updates_of_a_nic(vms, vm_id, recorder):
    """Each member changes what it names, and leaves the rest."""
    vms.call("VM.hotplugNic", vmID=vm_id, params={"nic": NIC})
    assert update(vms, vm_id, linkActive=False).link_active is False
    assert update(vms, vm_id, linkActive="true").link_active is True
    assert update(vms, vm_id, network="red").network == "red"
    unplugged = update(vms, vm_id, network="", linkActive=True)
    assert (unplugged.network, unplugged.link_active) == ("", False)
    plugged = update(vms, vm_id, network="blue")
    assert (plugged.network, plugged.link_active) == ("blue", True)
    assert update(vms, vm_id, mtu=9000).mtu == 9000
    filtered = update(vms, vm_id, filter="f", filterParameters=[{"name": "IP", "value": "10.0.0.1"}])
    assert (filtered.filter, filtered.filter_parameters) == ("f", [{"name": "IP", "value": "10.0.0.1"}])
    limited = update(vms, vm_id, specParams={"inbound": {"average": 10, "burst": 20}, "outbound": {}})
    assert limited.spec_params == {"inbound": {"average": 10, "burst": 20}}
    last = update(vms, vm_id, specParams={"inbound": {}}, filter="", portIsolated=True)
    assert (last.spec_params, last.filter, last.port_isolated) == (UNSET, UNSET, True)
    assert (last.network, last.mtu, last.mac_addr, last.device_id) == ("blue", 9000, MAC, ID)
    assert recorder.points[2:4] == ["before_update", "after_update"]


def test_an_update_by_document(vms, vm_id):
    """The changeable elements are taken over; model and MAC stay."""
    vms.call("VM.hotplugNic", vmID=vm_id, params={"nic": NIC})
    document = f"""<hotplug><devices><interface type='bridge'><alias name='ua-{ID}'/><source bridge='green'/>
        <link state='down'/><model type='rtl8139'/></interface></devices></hotplug>"""
    machine = vms.call("VM.updateDevice", vmID=vm_id, params={"xml": document})
    (nic,) = nics(machine)
    assert (nic.network, nic.link_active, nic.nic_model, nic.mac_addr) == ("green", False, "pv", MAC)


def test_updates_that_fail(vms, vm_id, driver, recorder):
    """Code 56 of libvirt, of hooks and of NICs that are absent; the NIC is as before. Other devices: 44."""
    vms.call("VM.hotplugNic", vmID=vm_id, params={"nic": NIC})
    driver.refuses = "unsupported change"
    with pytest.raises(UpdateDeviceFailed, match="unsupported change") as failure:
        update(vms, vm_id, network="red")
    assert failure.value.code == 56
    assert recorder.points[-2:] == ["before_update", "update_fail"]
    recorder.refuse = "before_update"
    with pytest.raises(UpdateDeviceFailed, match="a hook refuses"):
        update(vms, vm_id, network="red")
    assert nics(shown(vms, vm_id))[0].network == "br0"
    recorder.refuse = ""
    with pytest.raises(UpdateDeviceFailed, match="no NIC 'net7'"):
        update(vms, vm_id, alias="net7", linkActive=True)
    with pytest.raises(DeviceNotUpdatable) as refusal:
        update(vms, vm_id, deviceType="disk")
    assert refusal.value.code == 44
    with pytest.raises(InvalidArgument, match="port mirroring"):
        update(vms, vm_id, portMirroring=["red"])
    with pytest.raises(InvalidArgument, match="disconnectAction"):
        vms.call(
            "VM.updateDevice",
            vmID=vm_id,
            params={"deviceType": "graphics", "password": "x", "ttl": 1, "disconnectAction": "SHUTDOWN"},
        )


@pytest.mark.parametrize("form", ["struct", "xml"])
def test_memory(vms, vm_id, driver, recorder, form):
    """A module is plugged in with its hooks, shown with size and cell, and given back; the guaranteed memory
    follows."""
    xml = f"<hotplug><devices><memory model='dimm'><alias name='ua-{ID}'/><target><size unit='MiB'>128</size>"
    xml += "<node>0</node></target></memory></devices></hotplug>"
    params = {"xml": xml} if form == "xml" else {"memory": {"size": "128", "node": 0, "deviceId": ID}}
    machine = vms.call("VM.hotplugMemory", vmID=vm_id, params={**params, "memGuaranteedSize": 100})
    (module,) = [device for device in machine.devices if device.type == "memory"]
    assert (module.size, module.node, module.device_id) == (128, 0, ID)
    assert machine.mem_guaranteed_size == 100
    assert recorder.points == ["before_memory", "after_memory"]
    driver.refuses = "no slots"
    with pytest.raises(HotplugMemoryFailed, match="no slots") as failure:
        vms.call("VM.hotplugMemory", vmID=vm_id, params={"memory": {"size": 64}})
    assert failure.value.code == 70
    vms.call("VM.hotunplugMemory", vmID=vm_id, params=params)
    assert "memory" not in {device.type for device in shown(vms, vm_id).devices}
    with pytest.raises(HotunplugMemoryFailed, match="no such module") as failure:
        vms.call("VM.hotunplugMemory", vmID=vm_id, params=params)
    assert failure.value.code == 85


def test_memory_that_is_released_later(vms, vm_id, driver):
    """The verb succeeds: the guest has the request. The module is shown until the guest has released it."""
    vms.call("VM.hotplugMemory", vmID=vm_id, params={"memory": {"size": 64, "deviceId": ID}})
    driver.releases = False
    vms.call("VM.hotunplugMemory", vmID=vm_id, params={"memory": {"size": 64, "deviceId": ID}})
    assert "memory" in {device.type for device in shown(vms, vm_id).devices}


def hostdev(name: str, mode: str = "yes") -> str:
    bus = name.split("_")[2]
    return (
        f"<hotplug><devices><hostdev mode='subsystem' type='pci' managed='{mode}'><source>"
        f"<address domain='0x0000' bus='0x{bus}' slot='0x00' function='0x0'/></source></hostdev>"
        "</devices></hotplug>"
    )


def test_devices_of_the_host(vms, vm_id, driver):
    """By document and by name: taken from the host first, shown with the machine. When they are unplugged,
    libvirt gives back what it manages, and the daemon the rest."""
    other = hostdev("pci_0000_06_00_0", "no")
    assert vms.call("VM.hotplugHostdev", vmID=vm_id, devices=[PCI, other]) == [PCI, other]
    assert driver.detached_nodes == [PCI, "pci_0000_06_00_0"]
    devices = [device.device for device in shown(vms, vm_id).devices if device.type == "hostdev"]
    assert devices == [PCI, "pci_0000_06_00_0"]
    assert vms.call("VM.hotunplugHostdev", vmID=vm_id, devices=[other, "pci_0000_07_00_0"]) == [other]
    assert driver.detached_nodes == [PCI]


def test_a_part_of_the_devices(vms, vm_id, driver):
    """One that libvirt refuses is given back, and the others are plugged in."""
    driver.refuses = "no IOMMU"
    assert vms.call("VM.hotplugHostdev", vmID=vm_id, devices=[PCI, "pci_0000_06_00_0"]) == [
        "pci_0000_06_00_0"
    ]
    assert driver.detached_nodes == ["pci_0000_06_00_0"]


def test_a_device_that_is_stuck(vms, vm_id, driver):
    """Code 83: none is plugged in, and those that were taken are given back."""
    driver.stuck_nodes.add("pci_0000_06_00_0")
    with pytest.raises(HostDeviceDetachFailed, match="cannot unbind") as failure:
        vms.call("VM.hotplugHostdev", vmID=vm_id, devices=[PCI, "pci_0000_06_00_0"])
    assert failure.value.code == 83
    assert (driver.detached_nodes, driver.attached) == ([], [])


@pytest.mark.parametrize(
    ("verb", "arguments", "allowed"),
    [
        ("VM.hotplugNic", {"params": {"nic": {"network": "br0"}}}, True),
        ("VM.hotplugNic", {"params": {"nic": {"network": "br0", "custom": {"kept_a": "1"}}}}, True),
        ("VM.hotplugNic", {"params": {"nic": {"network": "br0", "custom": {"other": "1"}}}}, False),
        ("VM.hotplugNic", {"params": {"nic": {"device": "user"}}}, False),
        ("VM.hotplugNic", {"params": {"nic": {"device": "hostdev", "hostdev": PCI}}}, False),
        ("VM.hotplugNic", {"params": {"xml": DOCUMENT}}, True),
        (
            "VM.hotplugNic",
            {"params": {"xml": DOCUMENT.replace("<source", "<script path='/x'/><source")}},
            False,
        ),
        (
            "VM.updateDevice",
            {"params": {"xml": DOCUMENT.replace("<source", "<backend tap='/x'/><source")}},
            False,
        ),
        (
            "VM.updateDevice",
            {"params": {"deviceType": "interface", "alias": "a", "custom": {"other": "1"}}},
            False,
        ),
        ("VM.hotplugMemory", {"params": {"memory": {"size": 64}}}, True),
        (
            "VM.hotplugMemory",
            {"params": {"xml": "<memory model='nvdimm'><source><path>/dev/sda</path></source></memory>"}},
            False,
        ),
        ("VM.hotplugHostdev", {"devices": [PCI]}, False),
        ("VM.hotplugHostdev", {"devices": [{"device": PCI}]}, False),
        ("VM.hotplugHostdev", {"devices": [hostdev(PCI)]}, False),
    ],
)
def test_what_needs_admin(vms, vm_id, driver, verb, arguments, allowed):
    """A NIC on a bridge and memory are an operator's; all else of the host is not."""
    if allowed:
        vms.call(verb, identity=OPERATOR, vmID=vm_id, **arguments)
        return
    with pytest.raises(NeedsAdmin):
        vms.call(verb, identity=OPERATOR, vmID=vm_id, **arguments)
    assert driver.attached == []


def test_ids_of_devices(vms):
    """Of every kind of device that a client gives an id, whether libvirt takes it as an alias or not; over a
    restart of the daemon, too: it is in the domain."""
    devices = [
        {"type": "interface", "network": "br0"},
        {"type": "graphics", "device": "vnc"},
        {"type": "video", "device": "qxl"},
        {"type": "sound"},
        {"type": "controller", "device": "scsi"},
        {"type": "controller", "device": "virtio-serial", "index": 0},
        {"type": "balloon"},
        {"type": "console"},
        {"type": "watchdog"},
        {"type": "rng"},
    ]
    given = [{**device, "deviceId": ID[:-2] + f"{number:02x}"} for number, device in enumerate(devices)]
    vm_id = vms.create(devices=given)
    found = {device.device_id for device in shown(vms, vm_id).devices}
    assert {device["deviceId"] for device in given} <= found
    domain = ET.fromstring(vms.call("Host.dumpxmls")[vm_id])
    assert domain.find("devices/sound/alias").get("name") == f"ua-{given[3]['deviceId']}"


def test_while_it_moves(movers, moving):
    """Every change of devices is refused with code 51."""
    vm_id = movers.create()
    movers.call("VM.migrate", vmID=vm_id, params={"dst": "192.0.2.1", "mode": "remote"})
    moving.journey(vm_id)
    for verb, params in (
        ("VM.hotplugNic", {"params": {"nic": NIC}}),
        ("VM.hotunplugNic", {"params": {"nic": NIC}}),
        ("VM.updateDevice", {"params": {"deviceType": "interface", "alias": "net0"}}),
        ("VM.hotplugMemory", {"params": {"memory": {"size": 64}}}),
        ("VM.hotunplugMemory", {"params": {"memory": {"size": 64}}}),
        ("VM.hotplugHostdev", {"devices": [PCI]}),
        ("VM.hotunplugHostdev", {"devices": [PCI]}),
    ):
        with pytest.raises(MigrationInProgress) as refusal:
            movers.call(verb, vmID=vm_id, **params)
        assert refusal.value.code == 51
