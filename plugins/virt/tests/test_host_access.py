"""What is root on the host needs `admin`: every parameter of a machine, and every way to write a path."""

from __future__ import annotations

import os
import re
import typing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdsm_bridge.call.context import Context, Identity
from vdsm_core import types
from vdsm_virt.api.devices import AnyDevice
from vdsm_virt.api.migration import IncomingParams
from vdsm_virt.api.params import KnownVmParams, VmParams
from vdsm_virt.create.launch_plan import plan
from vdsm_virt.domain.accelerator import DomainKind
from vdsm_virt.domain.elements import parse
from vdsm_virt.errors import NeedsAdmin
from vdsm_virt.policy import document
from vdsm_virt.policy.host_access import HostAccess
from vdsm_virt.policy.image_folders import ImageFolders

KIND = DomainKind(arch="x86_64", accelerated="kvm", emulated="qemu")
ID = "9b6f7d32-0c3f-4a0d-8c7e-0f2f6b1c7f55"
OPERATOR = Context(identity=Identity("o", "operator"))
ADMIN = Context(identity=Identity("a", "admin"))
XML = "<domain type='kvm'><name>a</name><memory>65536</memory><os><type>hvm</type></os></domain>"
#: Stands for an image in a folder of operators.
IMAGE = "IMAGE"

#: By member of `vmParams`: values that operators may give, and values that need `admin`.
MEMBERS: dict[str, tuple[list, list]] = {
    "vmId": ([ID], []),
    "vmName": (["a"], []),
    "vmType": (["kvm"], []),
    "xml": ([], [XML]),
    "launchPaused": ([True], []),
    "resumeBehavior": (["auto_resume", "leave_paused", "kill"], []),
    # The document that the volumes hold is checked once it has been read (tests/saved).
    "hiberVolHandle": ([], []),
    "memoryDumpVolume": ([], []),
    "memoryConfVolume": ([], []),
    "memSize": ([64], []),
    "maxMemSize": ([128], []),
    "maxMemSlots": ([4], []),
    "memGuaranteedSize": ([32], []),
    "numaTune": ([{"nodeset": "0"}], []),
    "guestNumaNodes": ([[{"cpus": "0", "memory": 64}]], []),
    "smp": ([2], []),
    "maxVCpus": ([4], []),
    "smpCoresPerSocket": ([1], []),
    "smpThreadsPerCore": ([1], []),
    "cpuType": (["Haswell,+vmx", "hostPassthrough"], []),
    "cpuShares": ([1024], []),
    "cpuPinning": ([{"0": "0"}], []),
    "numOfIoThreads": ([1], []),
    "kvmEnable": ([True, False], []),
    "acpiEnable": ([False], []),
    "hypervEnable": ([True], []),
    "pitReinjection": ([False], []),
    "emulatedMachine": (["pc"], []),
    "timeOffset": ([5], []),
    "tabletEnable": ([True], []),
    "smartcardEnable": ([True], []),
    "agentChannelName": (["com.example.agent"], []),
    "boot": (["cdn"], []),
    "bootMenuEnable": ([True], []),
    "kernel": ([], ["/boot/vmlinuz", IMAGE]),
    "initrd": ([], ["/boot/initrd.img", IMAGE]),
    "kernelArgs": (["quiet"], []),
    "custom": ([{"allowed_x": "1"}], [{"other": "1"}, {"allowed_x": "1", "hostdev": "1"}]),
    "display": (["vnc", "qxl", "local"], []),
    "displayIp": (["127.0.0.1"], []),
    "keyboardLayout": (["de"], []),
    "spiceSecureChannels": (["main"], []),
    **dict.fromkeys(("hda", "hdb", "hdc", "hdd", "floppy"), ([IMAGE], ["/dev/sda", "/etc/passwd"])),
    "cdrom": (["", IMAGE], ["/dev/sr0", "/etc/passwd"]),
    "drives": (
        [[{"imageID": ID, "volumeID": ID}]],
        [[{"path": "/etc/passwd"}], [{"path": "/dev/sda"}], [{"GUID": "36001405"}], [{"UUID": "11-22"}]],
    ),
    "sysprepInf": (["eA=="], []),
    "macAddr": (["52:54:00:12:34:56"], []),
    "nicModel": (["virtio"], []),
    "bridge": (["br0"], []),
    "soundDevice": (["ac97"], []),
}

#: By type and member of a device: the same.
DEVICES: dict[str, dict[str, tuple[list, list]]] = {
    "disk": {
        "device": (["disk", "cdrom", "floppy"], ["lun"]),
        "path": ([IMAGE], ["/dev/sda", "/etc/passwd", "/dev/null/unprepared/x"]),
        "iface": (["virtio", "ide", "scsi", "sata", "usb"], []),
        "index": ([3], []),
        "format": (["raw", "cow", "qcow2"], []),
        "diskType": (["file"], ["block"]),
        "readonly": ([True], []),
        "shared": ([True, "exclusive", "shared", "none", "transient"], []),
        "propagateErrors": (["on", "report"], []),
        "cache": (["writeback"], []),
        "serial": (["s"], []),
        "bootOrder": ([1], []),
        "specParams": (
            [{"ioTune": {"total_bytes_sec": 1, "read_iops_sec": 1}}, {"pinToIoThread": 1}],
            [],
        ),
        "poolID": ([ID], []),
        "domainID": ([ID], []),
        "imageID": ([ID], []),
        "volumeID": ([ID], []),
        "GUID": ([], ["36001405"]),
        "UUID": ([], ["11-22"]),
        # Of LUNs only, which need `admin`.
        "sgio": (["unfiltered"], []),
        "discard": ([True], []),
        "optional": ([True], []),
        "alias": (["ua-1"], []),
        "name": (["vda"], []),
        "deviceId": ([ID], []),
    },
    "interface": {
        "device": (["bridge", "network"], ["user"]),
        "hostdev": (["pci_0000_05_00_0"], []),
        "network": (["ovirtmgmt", ""], []),
        "mtu": ([1500], []),
        "portIsolated": ([True], []),
        "portMirroring": ([[]], []),
        "macAddr": (["52:54:00:12:34:56"], []),
        "nicModel": (["virtio", "pv", "e1000"], []),
        "linkActive": ([False], []),
        "bootOrder": ([1], []),
        "filter": (["vdsm-no-mac-spoofing"], []),
        "filterParameters": ([[{"name": "IP", "value": "10.0.0.1"}]], []),
        "specParams": ([{"inbound": {"average": 1, "peak": 2, "burst": 3}}], []),
        "deviceId": ([ID], []),
    },
    "graphics": {
        "device": (["vnc", "spice"], []),
        "specParams": (
            [
                {"keyMap": "de", "displayIp": "::1"},
                {"spiceSecureChannels": "main"},
                {"copyPasteEnable": False, "fileTransferEnable": False},
            ],
            [],
        ),
        "deviceId": ([ID], []),
    },
    "video": {
        "device": (["qxl", "cirrus", "std", "none"], []),
        "specParams": ([{"vram": 1024, "heads": 1}], []),
        "deviceId": ([ID], []),
    },
    "sound": {"device": (["ac97", "hda"], []), "deviceId": ([ID], [])},
    "controller": {
        "device": (["ccid", "fdc", "ide", "sata", "scsi", "usb", "virtio-serial"], []),
        "model": (["virtio-scsi"], []),
        "index": ([1], []),
        "specParams": ([{"ioThreadId": 1}], []),
        "deviceId": ([ID], []),
    },
    "balloon": {
        "device": (["memballoon"], []),
        "specParams": ([{"model": "none"}], []),
        "deviceId": ([ID], []),
    },
    "channel": {
        "device": (["unix", "spicevmc"], []),
        "name": (["com.example"], []),
        "specParams": ([{}], [{"path": "/run/x.sock"}]),
        "deviceId": ([ID], []),
    },
    "console": {
        "device": (["console"], []),
        "specParams": (
            [{"consoleType": "serial"}, {"enableSocket": True}],
            [{"path": "/run/x.sock"}, {"path": IMAGE}],
        ),
        "deviceId": ([ID], []),
    },
    "watchdog": {
        "device": (["watchdog"], []),
        "specParams": ([{"model": "ib700", "action": "dump"}], []),
        "deviceId": ([ID], []),
    },
    "rng": {
        "device": (["virtio"], []),
        "specParams": ([{"source": "random"}, {"source": "hwrng", "bytes": 1, "period": 1}], []),
        "deviceId": ([ID], []),
    },
    "smartcard": {
        "device": (["smartcard"], []),
        "specParams": ([{"mode": "passthrough"}], [{"mode": "host"}]),
        "deviceId": ([ID], []),
    },
}
DEVICES["redir"] = {"device": (["spicevmc"], [])}
DEVICES["memory"] = {"device": (["memory"], []), "size": ([64], []), "node": ([0], [])}
DEVICES["tpm"] = {"device": ([], ["tpm"]), "specParams": ([], [{}, {"path": "/dev/tpm1"}])}
DEVICES["hostdev"] = {"device": ([], ["pci_0000_05_00_0", "scsi_2_0_0_1"])}
_ADDRESS = {"type": "pci", "slot": "0x05"}
for _kind, _members in DEVICES.items():
    # What makes a device one of the host does so with each further member, too.
    _role = int(_kind in ("tpm", "hostdev"))
    _members["deviceId"] = ([ID], []) if not _role else ([], [ID])
    _members["address"] = ([_ADDRESS], []) if not _role else ([], [_ADDRESS])
    _members["custom"] = ([] if _role else [{"allowed_x": "1"}], [{"other": "1"}])
DEVICES["hostdev"]["bootOrder"] = ([], [1])
#: What a device needs beside the member that is tried.
BASE = {
    "disk": {"path": IMAGE},
    "interface": {"network": "br0"},
    "graphics": {"device": "vnc"},
    "controller": {"device": "scsi"},
    "channel": {},
    "memory": {"size": 64},
    "hostdev": {"device": "pci_0000_05_00_0"},
}


def _cases() -> list:
    cases = []
    for name, (harmless, root) in MEMBERS.items():
        for role, values in (("operator", harmless), ("admin", root)):
            base = {"macAddr": {"bridge": "br0"}, "nicModel": {"bridge": "br0"}}.get(name, {})
            cases += [pytest.param({**base, name: v}, role, id=f"{name}={v}-{role}"[:60]) for v in values]
    for kind, members in DEVICES.items():
        for name, (harmless, root) in members.items():
            for role, values in (("operator", harmless), ("admin", root)):
                for value in values:
                    device = {"type": kind, **BASE.get(kind, {}), name: value}
                    if name in ("GUID", "UUID"):
                        del device["path"]
                    case = {"devices": [device]}
                    cases.append(pytest.param(case, role, id=f"{kind}.{name}={value}-{role}"[:60]))
    return cases


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of operators with an image in it."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.img").write_bytes(b"\0" * 512)
    (tmp_path / "secret").write_text("s")
    return images


@pytest.fixture
def access(folder: Path) -> HostAccess:
    """The decision, with that folder and custom properties `allowed_*`."""
    return HostAccess(ImageFolders([str(folder)]), ["allowed_*"])


def _filled(value, image):
    if isinstance(value, dict):
        return {key: _filled(item, image) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, image) for item in value]
    return image if value == IMAGE else value


def _check(access, params, context):
    room = {"maxMemSize": 1024} if "'memory'" in str(params.get("devices")) else {}
    wanted = types.convert({"vmName": "a", "memSize": 64, **room, **params}, VmParams)
    access.check_creation(wanted, plan(wanted, "", KIND, ""), context)


@pytest.mark.parametrize(("params", "role"), _cases())
def test_each_member_needs_its_role(access, folder, params, role):
    """Operators may give what the table lists for them; the rest is refused, naming the member. Admins may
    give anything."""
    params = _filled(params, str(folder / "a.img"))
    _check(access, params, ADMIN)
    if role == "operator":
        _check(access, params, OPERATOR)
        return
    with pytest.raises(NeedsAdmin) as refusal:
        _check(access, params, OPERATOR)
    (member,) = set(params) - {"bridge"}
    assert refusal.value.facts["argument"].startswith(f"vmParams.{member}")
    assert refusal.value.facts["needed"] == "admin"


def test_every_member_is_in_the_table():
    """A new member of `vmParams` or of a device must be classified: the tables name exactly what there is."""
    assert set(MEMBERS) == {f.encode_name for f in msgspec.structs.fields(KnownVmParams)} - {"devices"}
    declared = {
        device.__struct_config__.tag: {f.encode_name for f in msgspec.structs.fields(device)}
        for device in typing.get_args(AnyDevice)
    }
    assert {kind: set(members) for kind, members in DEVICES.items()} == declared


def _paths(type_, prefix=""):
    """The members below a type whose text is a path, by its pattern or its name."""
    info = msgspec.inspect.type_info(type_) if not isinstance(type_, msgspec.inspect.Type) else type_
    if isinstance(info, msgspec.inspect.Metadata):
        yield from _paths(info.type, prefix)
    elif isinstance(info, msgspec.inspect.StrType):
        named = prefix.lower().endswith(("path", "file", "folder", "socket", "xml"))
        if re.search(info.pattern or "", "/etc/x") and (named or not re.search(info.pattern or "", "etc")):
            yield prefix
    elif isinstance(info, msgspec.inspect.UnionType):
        for one in info.types:
            yield from _paths(one, prefix)
    elif isinstance(info, msgspec.inspect.StructType):
        tag = f"[{info.tag}]" if info.tag else ""
        for field in info.fields:
            yield from _paths(field.type, f"{prefix}{tag}.{field.encode_name}")
    elif isinstance(info, msgspec.inspect.CustomType) and issubclass(info.cls, types.Open):
        yield from _paths(info.cls.inner, prefix)
    elif isinstance(info, msgspec.inspect.CollectionType):
        yield from _paths(info.item_type, prefix)


_COMPARED = ("refresh_disk drive", "getDiskAlignment disk", "diskSizeExtend driveSpecs")


def test_every_path_of_every_verb_is_classified(vms):
    """A verb of this plugin with a new parameter that is a path must be checked, and then listed here."""
    found = set()
    for verb in vms.host.bridge.verbs.values():
        if verb.plugin == "virt":
            for param in verb.params:
                found |= {f"{verb.name} {path}" for path in _paths(param.type, param.name)}
    assert found == {
        *(f"VM.create vmParams.{name}" for name in ("kernel", "initrd", "hda", "hdb", "hdc", "hdd")),
        *(f"VM.create vmParams.{name}" for name in ("cdrom", "floppy", "xml")),
        *(f"VM.create vmParams.devices[{kind}].specParams.path" for kind in ("channel", "console", "tpm")),
        "VM.create vmParams.devices[disk].path",
        "VM.create vmParams.drives.path",
        # Compared with the paths of the machine's disks; nothing is opened by them.
        *(f"VM.{verb}.path" for verb in _COMPARED),
        "VM.setIoTune tunables.path",
        "VM.updateVmPolicy params.ioTune.path",
        # For admins only.
        "VM.setXML xml",
        # For admins only, and beneath configured folders.
        "Host.getExternalVmFromOva ova_path",
        "Host.convertExternalVmFromOva ova_path",
        "Host.convertExternalVmFromOva vminfo.virtio_iso_path",
        "Host.convertExternalVm vminfo.virtio_iso_path",
        "VM.hotunplugDisk params.drive[disk].path",
        "VM.hotunplugDisk params.xml",
        "VM.hotplugDisk params.drive[disk].path",
        "VM.hotplugDisk params.xml",
        "VM.changeCD driveSpec",
        "VM.changeCD driveSpec.path",
        "VM.changeFloppy driveSpec",
        "VM.changeFloppy driveSpec.path",
        "VM.redefine_checkpoints checkpoints.config.disks.scratch_disk.path",  # not used there
        "VM.redefine_checkpoints checkpoints.xml",
        "VM.start_backup config.disks.scratch_disk.path",
        "VM.hotplugNic params.xml",
        "VM.updateDevice params.xml",
        "VM.hotplugMemory params.xml",
        # These name a device that the machine has.
        "VM.hotunplugNic params.xml",
        "VM.hotunplugMemory params.xml",
    }


@pytest.mark.parametrize(
    "member",
    [
        "<devices><hostdev mode='subsystem' type='pci'/></devices>",
        "<devices><filesystem type='mount'><source dir='/'/></filesystem></devices>",
        "<devices><emulator>/tmp/x</emulator></devices>",
        "<devices><serial type='file'><source path='/etc/x'/></serial></devices>",
        "<devices><interface type='vhostuser'><source type='unix' path='/x'/></interface></devices>",
        "<devices><interface type='direct'><source dev='eth0'/></interface></devices>",
        "<devices><interface type='bridge'><script path='/tmp/x'/></interface></devices>",
        "<devices><graphics type='vnc' socket='/run/x'/></devices>",
        "<devices><graphics type='spice'><gl rendernode='/dev/dri/card0'/></graphics></devices>",
        "<devices><graphics type='vnc'><listen type='socket' socket='/x'/></graphics></devices>",
        "<devices><disk type='network' device='disk'/></devices>",
        "<devices><disk type='file'><backingStore type='file'/></disk></devices>",
        "<devices><shmem name='x'/></devices>",
        "<devices><tpm model='tpm-tis'/></devices>",
        "<devices><rng model='virtio'><backend model='random'>/dev/sda</backend></rng></devices>",
        "<os><loader>/x</loader></os>",
        "<os><dtb>/x</dtb></os>",
        "<commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'><arg value='-x'/></commandline>",
        "<seclabel type='none'/>",
        "<memoryBacking><source type='file'/></memoryBacking>",
        "<something/>",
        "<metadata><x:y xmlns:x='urn:x'/></metadata>",
    ],
)
def test_unknown_elements_are_refused(member):
    """What the check does not list is refused, whatever it is."""
    domain = parse(f"<domain type='kvm'>{member}</domain>")
    assert list(document.needs(domain, ImageFolders([]), origins={}, prepared=frozenset()))


def test_a_hook_is_not_held_to_it(vms):
    """The check is of the request: an operator's machine is created on a host whose hooks add devices."""
    identity = Identity("o", "operator")
    machine = vms.host.call("VM.create", identity=identity, vmParams={"vmName": "plain", "memSize": 64})
    assert machine.vm_name == "plain"
    with pytest.raises(NeedsAdmin):
        vms.host.call("VM.create", identity=identity, vmParams={"xml": XML})
    with pytest.raises(NeedsAdmin):
        vms.host.call(
            "VM.create", identity=identity, vmParams={"vmName": "b", "memSize": 64, "hda": "/dev/sda"}
        )


@pytest.mark.parametrize("role", ["operator", "admin"])
@pytest.mark.parametrize(
    ("device", "harmless"),
    [
        ({"type": "disk", "path": "IMAGE"}, True),
        ({"deviceType": "disk", "path": "/etc/shadow"}, False),
        ({"type": "disk", "path": "IMAGE/../../secret"}, False),
        ({"type": "disk", "path": ["/etc/shadow"]}, False),
        ({"type": "disk", "GUID": "3600"}, False),
        ({"type": "disk", "imageID": ID}, True),
        ({"type": "interface", "path": "/x"}, True),
    ],
)
def test_arrivals(access, folder, role, device, harmless):
    """Disks that an operator announces are within the image folders, so that it cannot look for others."""
    if isinstance(device.get("path"), str):
        device = {**device, "path": device["path"].replace("IMAGE", str(folder / "a.img"))}
    params = types.convert({"vmName": "a", "devices": [device]}, IncomingParams)
    context = Context(identity=Identity("x", role))  # type: ignore[arg-type]
    if harmless or role == "admin":
        access.check_arrival(params, context)
    else:
        with pytest.raises(NeedsAdmin):
            access.check_arrival(params, context)


PARTS = st.sampled_from(["images", "a.img", "..", ".", "", "secret", "out", "dangling", "loop", "new", "sub"])


@given(parts=st.lists(PARTS, max_size=6), trailing=st.booleans())
def test_no_path_leads_out(tmp_path_factory, parts, trailing):
    """Whatever a path is made of: if it is accepted, the file that opening it reaches is in the folder."""
    root = _tree(tmp_path_factory)
    path = f"{root}/images/" + "/".join(parts) + ("/" if trailing else "")
    if not ImageFolders([f"{root}/images"]).fault(path, raw=True):
        assert os.path.realpath(path).startswith(os.path.realpath(f"{root}/images") + "/")
        assert not Path(path).is_symlink()


def _tree(factory) -> Path:
    root = factory.getbasetemp() / "paths"
    if not root.exists():
        images = root / "images"
        (images / "sub").mkdir(parents=True)
        (images / "a.img").write_bytes(b"")
        (root / "secret").write_text("s")
        (images / "out").symlink_to(root)
        (images / "sub" / "out").symlink_to("../../secret")
        (images / "dangling").symlink_to(root / "new")
        (images / "loop").symlink_to("loop")
    return root


@pytest.mark.parametrize(
    "name", ["out/secret", "dangling", "loop", "", ".", "../secret", "a.img/../../secret"]
)
def test_tricks(tmp_path_factory, name):
    """Links out of the folder, links to nothing, loops, the folder itself and parts `..` are refused."""
    root = _tree(tmp_path_factory)
    assert ImageFolders([f"{root}/images"]).fault(f"{root}/images/{name}", raw=True)
