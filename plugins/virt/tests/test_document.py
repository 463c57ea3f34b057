"""The domain document, device by device: what each member becomes, and that libvirt takes it."""

from __future__ import annotations

import re
import typing
from xml.etree import ElementTree as ET

import msgspec
import pytest

from vdsm_core import types
from vdsm_virt.api import params as param_types
from vdsm_virt.api.devices import AnyDevice
from vdsm_virt.api.params import KnownVmParams, VmParams
from vdsm_virt.domain.accelerator import DomainKind
from vdsm_virt.domain.write import document

ID = "9b6f7d32-0c3f-4a0d-8c7e-0f2f6b1c7f55"
TEST = DomainKind(arch="i686", accelerated="test", emulated="test")
REAL = DomainKind(arch="x86_64", accelerated="kvm", emulated="qemu")

#: Parameters, the element that they make (by its path), and its XML.
MACHINE = [
    ({"memSize": 512}, "memory", '<memory unit="MiB">512</memory>'),
    ({"maxMemSize": 1024, "maxMemSlots": 8}, "maxMemory", '<maxMemory unit="MiB" slots="8">1024</maxMemory>'),
    (
        {"maxMemSize": 1024},
        "cpu/numa",
        '<numa><cell id="0" cpus="0" memory="64" unit="MiB"/></numa>',
    ),
    ({"smp": "2", "maxVCpus": "4"}, "vcpu", '<vcpu current="2">4</vcpu>'),
    (
        {"smp": 4, "smpCoresPerSocket": 2, "smpThreadsPerCore": 2},
        "cpu",
        '<cpu><topology sockets="1" cores="2" threads="2"/></cpu>',
    ),
    (
        {"cpuType": "Haswell,+x2apic,-svm"},
        "cpu",
        (
            '<cpu match="exact"><model>Haswell</model><feature name="x2apic" policy="require"/>'
            '<feature name="svm" policy="disable"/></cpu>'
        ),
    ),
    ({"cpuType": "hostPassthrough"}, "cpu", '<cpu mode="host-passthrough"/>'),
    ({"cpuShares": "1024"}, "cputune", "<cputune><shares>1024</shares></cputune>"),
    ({"cpuPinning": {"0": "0-1"}}, "cputune", '<cputune><vcpupin vcpu="0" cpuset="0-1"/></cputune>'),
    ({"numOfIoThreads": 2}, "iothreads", "<iothreads>2</iothreads>"),
    (
        {"numaTune": {"mode": "interleave", "nodeset": "0"}},
        "numatune",
        '<numatune><memory mode="interleave" nodeset="0"/></numatune>',
    ),
    (
        {"guestNumaNodes": [{"cpus": "0", "memory": "64", "nodeIndex": 0}]},
        "cpu/numa",
        '<numa><cell id="0" cpus="0" memory="64" unit="MiB"/></numa>',
    ),
    ({"boot": "cdn"}, "os/boot[1]", '<boot dev="hd"/>'),
    ({"boot": "cdn"}, "os/boot[3]", '<boot dev="network"/>'),
    ({"bootMenuEnable": True}, "os/bootmenu", '<bootmenu enable="yes" timeout="10000"/>'),
    ({"kernel": "/k"}, "os/kernel", "<kernel>/k</kernel>"),
    ({"kernel": "/k", "initrd": "/i"}, "os/initrd", "<initrd>/i</initrd>"),
    ({"kernel": "/k", "kernelArgs": "a=b <c>"}, "os/cmdline", "<cmdline>a=b &lt;c&gt;</cmdline>"),
    ({"acpiEnable": "true"}, "features", "<features><acpi/></features>"),
    ({"acpiEnable": "false"}, "features", None),
    (
        {"hypervEnable": True},
        "features/hyperv",
        '<hyperv><relaxed state="on"/><vapic state="on"/><spinlocks state="on" retries="8191"/></hyperv>',
    ),
    ({"pitReinjection": False}, "clock/timer[@name='pit']", '<timer name="pit" tickpolicy="discard"/>'),
    ({"timeOffset": "-3600"}, "clock[@adjustment='-3600']", ...),
    ({"tabletEnable": "true"}, "devices/input", '<input type="tablet" bus="usb"/>'),
    ({"smartcardEnable": True}, "devices/smartcard", '<smartcard mode="passthrough" type="spicevmc"/>'),
    (
        {"agentChannelName": "org.example.0"},
        "devices/channel[2]",
        '<channel type="unix"><target type="virtio" name="org.example.0"/></channel>',
    ),
    ({"display": "vnc", "keyboardLayout": "de"}, "devices/graphics[@keymap='de']", ...),
    ({"display": "vnc", "displayIp": "127.0.0.2"}, "devices/graphics/listen[@address='127.0.0.2']", ...),
    (
        {"display": "qxl", "spiceSecureChannels": "smain"},
        "devices/graphics/channel",
        '<channel name="main" mode="secure"/>',
    ),
    ({"hda": "/a"}, "devices/disk/target", '<target dev="hda" bus="ide"/>'),
    ({"hdb": "/a"}, "devices/disk/target", '<target dev="hdb" bus="ide"/>'),
    ({"hdc": "/a"}, "devices/disk/target", '<target dev="hdc" bus="ide"/>'),
    ({"hdd": "/a"}, "devices/disk/target", '<target dev="hdd" bus="ide"/>'),
    ({"drives": [{"path": "/a", "if": "ide"}]}, "devices/disk/target[@dev='hda']", ...),
    ({"sysprepInf": "eA=="}, "devices/disk[@device='floppy']/target[@dev='fda']", ...),
    ({"cdrom": "/a.iso"}, "devices/disk[@device='cdrom']/target", '<target dev="hdc" bus="ide"/>'),
    ({"floppy": "/a"}, "devices/disk[@device='floppy']/target", '<target dev="fda" bus="fdc"/>'),
    (
        {"macAddr": "52:54:00:00:00:01,52:54:00:00:00:02", "nicModel": "pv,e1000", "bridge": "br0,br1"},
        "devices/interface[2]",
        (
            '<interface type="bridge"><source bridge="br1"/><mac address="52:54:00:00:00:02"/>'
            '<model type="e1000"/></interface>'
        ),
    ),
    ({"soundDevice": "ac97"}, "devices/sound", '<sound model="ac97"/>'),
]

PAYLOAD = {"volId": "a", "file": {"b": "eA=="}}
DISK = (
    '<disk type="file" device="disk" snapshot="no">'
    '<driver name="qemu" type="raw" cache="none" error_policy="stop" io="threads"/>'
)
DEVICES = [
    (
        {"type": "disk", "path": "/a"},
        f'{DISK}<source file="/a"/><target dev="vda" bus="virtio"/></disk>',
    ),
    ({"type": "disk", "device": "cdrom", "path": ""}, "target[@bus='sata']"),
    ({"type": "disk", "device": "lun", "path": "/dev/sdz"}, "source[@dev='/dev/sdz']"),
    ({"type": "disk", "path": "/a", "iface": "scsi"}, "target[@dev='sda'][@bus='scsi']"),
    ({"type": "disk", "path": "/a", "index": "27"}, "target[@dev='vdab']"),
    ({"type": "disk", "path": "/a", "format": "cow"}, "driver[@type='qcow2']"),
    ({"type": "disk", "path": "/a", "diskType": "block"}, "source[@dev='/a']"),
    ({"type": "disk", "path": "/a", "readonly": "true"}, "readonly"),
    ({"type": "disk", "path": "/a", "shared": True}, "shareable"),
    ({"type": "disk", "path": "/a", "shared": "transient"}, "transient"),
    ({"type": "disk", "path": "/a", "propagateErrors": "report"}, "driver[@error_policy='report']"),
    ({"type": "disk", "path": "/a", "cache": "writeback"}, "driver[@cache='writeback']"),
    ({"type": "disk", "device": "lun", "path": "/dev/a", "sgio": "filtered"}, "source[@dev='/dev/a']"),
    ({"type": "disk", "path": "/a", "discard": True}, "driver[@discard='unmap']"),
    (
        {"type": "disk", "device": "cdrom", "path": "/a", "optional": True},
        "source[@startupPolicy='optional']",
    ),
    ({"type": "disk", "device": "floppy", "specParams": {"vmPayload": PAYLOAD}}, "target[@dev='fda']"),
    ({"type": "disk", "path": "/a", "serial": "s"}, "serial[.='s']"),
    ({"type": "disk", "path": "/a", "bootOrder": 1}, "boot[@order='1']"),
    ({"type": "disk", "path": "/a", "imageID": ID}, f"serial[.='{ID}']"),
    ({"type": "disk", "volumeID": ID, "domainID": ID, "poolID": ID}, "source"),
    ({"type": "disk", "GUID": "36"}, "source[@file='/dev/null/unprepared/36']"),
    ({"type": "disk", "UUID": "37"}, "source[@file='/dev/null/unprepared/37']"),
    (
        {
            "type": "disk",
            "path": "/a",
            "specParams": {"ioTune": {"total_bytes_sec": "5", "total_iops_sec": 6}},
        },
        "<iotune><total_bytes_sec>5</total_bytes_sec><total_iops_sec>6</total_iops_sec></iotune>",
    ),
    (
        {
            "type": "disk",
            "path": "/a",
            "specParams": {
                "ioTune": {"read_bytes_sec": 1, "write_bytes_sec": 2, "read_iops_sec": 3, "write_iops_sec": 4}
            },
        },
        (
            "<iotune><read_bytes_sec>1</read_bytes_sec><write_bytes_sec>2</write_bytes_sec>"
            "<read_iops_sec>3</read_iops_sec><write_iops_sec>4</write_iops_sec></iotune>"
        ),
    ),
    ({"type": "disk", "path": "/a", "specParams": {"pinToIoThread": 1}}, "driver[@iothread='1']"),
    (
        {"type": "interface", "network": "br0", "macAddr": "52:54:00:AB:00:01", "nicModel": "rtl8139"},
        (
            '<interface type="bridge"><source bridge="br0"/>'
            '<mac address="52:54:00:ab:00:01"/><model type="rtl8139"/></interface>'
        ),
    ),
    (
        {"type": "interface", "network": "", "linkActive": True},
        (
            '<interface type="bridge"><source bridge=";vdsmdummy;"/><link state="down"/>'
            '<model type="virtio"/></interface>'
        ),
    ),
    (
        {"type": "interface", "network": "br0", "specParams": {"inbound": {}, "outbound": {}}},
        '<interface type="bridge"><source bridge="br0"/><model type="virtio"/></interface>',
    ),
    (
        {"type": "interface", "network": "br0", "specParams": {"outbound": {"average": 0, "peak": 0}}},
        '<interface type="bridge"><source bridge="br0"/><model type="virtio"/></interface>',
    ),
    ({"type": "interface", "network": "br0", "portMirroring": []}, "source[@bridge='br0']"),
    ({"type": "interface", "network": "br0", "mtu": "9000"}, "mtu[@size='9000']"),
    ({"type": "interface", "network": "br0", "portIsolated": True}, "port[@isolated='yes']"),
    (
        {"type": "interface", "network": "br0", "custom": {"queues": "2", "sndbuf": "1024"}},
        '<driver name="vhost" queues="2"/><tune><sndbuf>1024</sndbuf></tune>',
    ),
    (
        {
            "type": "interface",
            "device": "hostdev",
            "hostdev": "pci_0000_05_10_1",
            "macAddr": "52:54:00:AB:00:02",
            "specParams": {"vlanid": 7},
        },
        (
            '<interface type="hostdev" managed="yes"><source><address type="pci" domain="0x0000" bus="0x05" '
            'slot="0x10" function="0x1"/></source><mac address="52:54:00:ab:00:02"/><driver name="vfio"/>'
            '<vlan><tag id="7"/></vlan></interface>'
        ),
    ),
    (
        {"type": "sound", "device": "ac97", "deviceId": ID, "custom": {"a": "b"}},
        f'<sound model="ac97"><alias name="ua-{ID}"/></sound>',
    ),
    (
        {
            "type": "sound",
            "address": {"type": "pci", "domain": "0x0000", "bus": "0x00", "slot": "0x09", "function": "0x0"},
        },
        "address[@slot='0x09']",
    ),
    (
        {"type": "video", "address": {"type": "pci", "slot": 2, "function": 0, "multifunction": "on"}},
        '<address type="pci" slot="2" function="0" multifunction="on"/>',
    ),
    (
        {
            "type": "disk",
            "path": "/a",
            "iface": "scsi",
            "address": {"type": "drive", "controller": 0, "bus": 0, "target": 0, "unit": 3},
        },
        '<address type="drive" bus="0" controller="0" target="0" unit="3"/>',
    ),
    (
        {"type": "channel", "name": "a", "address": {"type": "virtio-serial", "controller": 0, "port": 3}},
        '<address type="virtio-serial" controller="0" port="3"/>',
    ),
    (
        {"type": "memory", "size": 64, "address": {"type": "dimm", "slot": 0, "base": "0x10000000"}},
        '<address type="dimm" slot="0" base="0x10000000"/>',
    ),
    ({"type": "redir", "device": "spicevmc"}, '<redirdev bus="usb" type="spicevmc"/>'),
    (
        {"type": "memory", "device": "memory", "size": "128", "node": 0},
        '<memory model="dimm"><target><size unit="MiB">128</size><node>0</node></target></memory>',
    ),
    (
        {
            "type": "tpm",
            "device": "tpm",
            "specParams": {"mode": "passthrough", "path": "/dev/tpm0", "model": "tpm-tis"},
        },
        ('<tpm model="tpm-tis"><backend type="passthrough"><device path="/dev/tpm0"/></backend></tpm>'),
    ),
    (
        {"type": "hostdev", "device": "pci_0000_05_00_0", "bootOrder": 2},
        (
            '<hostdev mode="subsystem" type="pci" managed="yes"><source><address domain="0x0000" '
            'bus="0x05" slot="0x00" function="0x0"/></source><boot order="2"/></hostdev>'
        ),
    ),
    (
        {"type": "hostdev", "device": "scsi_2_0_0_1"},
        ('<source><adapter name="scsi_host2"/><address bus="0" target="0" unit="1"/></source>'),
    ),
    (
        {"type": "hostdev", "device": f"mdev_{ID.replace('-', '_')}"},
        f'<hostdev mode="subsystem" type="mdev" model="vfio-pci"><source><address uuid="{ID}"/>',
    ),
    ({"type": "interface", "device": "network", "network": "default"}, "source[@network='default']"),
    ({"type": "interface", "device": "user"}, '<interface type="user"><model type="virtio"/></interface>'),
    ({"type": "interface", "network": "br0", "linkActive": "false"}, "link[@state='down']"),
    ({"type": "interface", "network": "br0", "bootOrder": "2"}, "boot[@order='2']"),
    (
        {
            "type": "interface",
            "network": "br0",
            "filter": "clean-traffic",
            "filterParameters": [{"name": "IP", "value": "10.0.0.1"}],
        },
        '<filterref filter="clean-traffic"><parameter name="IP" value="10.0.0.1"/></filterref>',
    ),
    (
        {
            "type": "interface",
            "network": "br0",
            "specParams": {"inbound": {"average": 10, "peak": 20, "burst": 30}, "outbound": {"average": "5"}},
        },
        '<bandwidth><inbound average="10" peak="20" burst="30"/><outbound average="5"/></bandwidth>',
    ),
    (
        {"type": "graphics", "device": "vnc", "specParams": {"keyMap": "fr", "displayIp": "127.0.0.9"}},
        (
            '<graphics type="vnc" autoport="yes" keymap="fr">'
            '<listen type="address" address="127.0.0.9"/></graphics>'
        ),
    ),
    (
        {
            "type": "graphics",
            "device": "spice",
            "specParams": {
                "spiceSecureChannels": "main,sinputs",
                "copyPasteEnable": False,
                "fileTransferEnable": "false",
            },
        },
        (
            '<graphics type="spice" autoport="yes"><listen type="address" address="127.0.0.1"/>'
            '<channel name="main" mode="secure"/><channel name="inputs" mode="secure"/>'
            '<clipboard copypaste="no"/><filetransfer enable="no"/></graphics>'
        ),
    ),
    ({"type": "video"}, '<video><model type="vga"/></video>'),
    (
        {
            "type": "video",
            "device": "qxl",
            "specParams": {"vram": "32768", "ram": 65536, "vgamem": 16384, "heads": 1},
        },
        '<video><model type="qxl" vram="32768" ram="65536" vgamem="16384" heads="1"/></video>',
    ),
    ({"type": "sound", "device": "hda"}, '<sound model="ich6"/>'),
    (
        {"type": "controller", "device": "scsi", "model": "virtio-scsi", "index": 0},
        "*|controller[@model='virtio-scsi']",
    ),
    (
        {"type": "controller", "device": "scsi", "model": "virtio-scsi", "specParams": {"ioThreadId": 1}},
        "driver[@iothread='1']",
    ),
    ({"type": "balloon"}, '<memballoon model="virtio"><stats period="5"/></memballoon>'),
    (
        {"type": "balloon", "device": "memballoon", "specParams": {"model": "none"}},
        '<memballoon model="none"/>',
    ),
    (
        {"type": "channel", "name": "org.example.0", "specParams": {"path": "/run/x.sock"}},
        (
            '<channel type="unix"><source mode="bind" path="/run/x.sock"/>'
            '<target type="virtio" name="org.example.0"/></channel>'
        ),
    ),
    ({"type": "channel", "device": "spicevmc"}, "target[@name='com.redhat.spice.0']"),
    ({"type": "console"}, '<console type="pty"><target type="virtio" port="0"/></console>'),
    (
        {
            "type": "console",
            "device": "console",
            "specParams": {"consoleType": "serial", "enableSocket": "true", "path": "/run/c.sock"},
        },
        (
            '<console type="unix"><source mode="bind" path="/run/c.sock"/>'
            '<target type="serial" port="0"/></console>'
        ),
    ),
    (
        {"type": "watchdog", "device": "watchdog", "specParams": {"model": "i6300esb", "action": "poweroff"}},
        '<watchdog model="i6300esb" action="poweroff"/>',
    ),
    (
        {"type": "rng", "device": "virtio", "specParams": {"source": "hwrng", "bytes": 100, "period": 2000}},
        (
            '<rng model="virtio"><rate bytes="100" period="2000"/>'
            '<backend model="random">/dev/hwrng</backend></rng>'
        ),
    ),
    (
        {"type": "smartcard", "device": "smartcard", "specParams": {"mode": "host"}},
        '<smartcard mode="host"/>',
    ),
]


def build(params, kind=TEST):
    if "'memory'" in str(params.get("devices")):
        params = {"maxMemSize": 1024, **params}
    converted = types.convert({"vmName": "a", "memSize": 64, **params}, VmParams)
    return document.build(converted.known, ID, "a", kind).element


def text(element):
    return re.sub(" />", "/>", ET.tostring(element, encoding="unicode"))


def ids(case):
    return re.sub(r"[^A-Za-z0-9]+", "-", str(case[0]))[:60]


@pytest.mark.parametrize("case", MACHINE, ids=ids)
def test_member_of_the_machine(case):
    """The member becomes exactly this element."""
    params, path, expected = case
    found = build(params).find(path)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert expected in (..., text(found))


@pytest.mark.parametrize("case", DEVICES, ids=ids)
def test_device(case):
    """The device becomes exactly this element, or one that has this within."""
    device, expected = case
    parent = build({"devices": [device]}).find("devices")
    if expected.startswith("<"):
        assert expected in text(parent)
    else:
        assert parent.find(expected.replace("*|", "")) is not None or parent.find(f"*/{expected}") is not None


def test_libvirt_takes_every_document(vms):
    """Each case above is defined by libvirt; the launch is not the matter here."""
    cases = [*(params for params, *_ in MACHINE), *({"devices": [device]} for device, _ in DEVICES)]
    for number, params in enumerate(cases):
        threads = {"numOfIoThreads": 1} if "Thread" in str(params) else {}
        if "'memory'" in str(params.get("devices")):
            threads = {"maxMemSize": 1024}
        if "redir" in str(params):
            params["devices"].insert(0, {"type": "controller", "device": "usb"})
        vm_id = vms.begin(**{**params, **threads}, vmName=f"case-{number}")
        vms.call("VM.destroy", vmID=vm_id)


def test_a_machine_has_a_balloon_and_channels_to_its_agents():
    """They give statistics of the guest's memory, an orderly shutdown, and commands to the desktop."""
    parent = build({}).find("devices")
    assert [child.tag for child in parent] == ["memballoon", "channel", "channel"]
    names = [target.get("name") for target in parent.findall("channel/target")]
    assert names == ["org.qemu.guest_agent.0", "com.redhat.rhevm.vdsm"]


def test_devices_that_order_the_boot_leave_no_place_for_letters():
    """libvirt refuses a document that has both."""
    domain = build({"boot": "n", "devices": [{"type": "disk", "path": "/a", "bootOrder": 1}]})
    assert domain.find("os/boot") is None


def test_disks_get_the_names_that_are_free():
    """In the order in which they are listed, around those that have an index."""
    disks = [
        {"type": "disk", "path": "/a"},
        {"type": "disk", "path": "/b", "index": 1},
        {"type": "disk", "path": "/c"},
    ]
    names = [target.get("dev") for target in build({"devices": disks}).findall("devices/disk/target")]
    assert names == ["vda", "vdb", "vdc"]


@pytest.mark.parametrize(("enable", "expected"), [({}, "kvm"), ({"kvmEnable": "false"}, "qemu")])
def test_kvm_is_used_unless_told_otherwise(enable, expected):
    """`kvmEnable` false is emulation even where KVM works."""
    assert expected == build(enable, REAL).get("type")


def test_the_machine_type_is_given_to_a_real_hypervisor_only():
    """libvirt's test driver has none."""
    params = {"emulatedMachine": "q35"}
    assert build(params, REAL).find("os/type").attrib == {"arch": "x86_64", "machine": "q35"}
    assert build(params).find("os/type").attrib == {"arch": "i686"}


def _members(struct):
    """Wire names of a struct's members and of those of the structs within."""
    for field in msgspec.structs.fields(struct):
        yield field.encode_name
        for inner in _structs(field.type):
            yield from _members(inner)


def _structs(type_):
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        yield type_
    for argument in typing.get_args(type_):
        yield from _structs(argument)


def test_each_member_of_a_device_is_touched():
    """A member without a case above is untested."""
    seen = " ".join(str(device) for device, _ in DEVICES)
    # Kept with the machine, not part of the document.
    elsewhere = {"deviceId", "custom"}
    # What a request to unplug a disk names; libvirt chooses both at the creation.
    elsewhere |= {"alias", "name"}
    for device in typing.get_args(AnyDevice):
        for member in set(_members(device)) - elsewhere:
            assert f"'{member}'" in seen, f"{device.__name__}.{member}"


def test_each_member_of_the_machine_is_touched():
    """The same, for `vmParams`."""
    seen = " ".join(str(params) for params, *_ in MACHINE)
    # What a launch is about, and what the tests of VM.create are about.
    elsewhere = {
        "vmId", "vmName", "vmType", "xml", "launchPaused", "memGuaranteedSize", "kvmEnable",
        "emulatedMachine", "custom", "devices", "hiberVolHandle", "memoryDumpVolume", "memoryConfVolume",
        "resumeBehavior",
    }  # fmt: skip
    wanted = {field.encode_name for field in msgspec.structs.fields(KnownVmParams)} - elsewhere
    for struct in (param_types.NumaNode, param_types.NumaTune):
        wanted |= set(_members(struct))
    for member in wanted:
        assert f"'{member}'" in seen, member
