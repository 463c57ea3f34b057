"""Disks and media before they reach libvirt: requests, roles, images of payloads, partitions."""

from __future__ import annotations

import base64
import shutil
import struct
import subprocess
import uuid
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement

import pytest

from vdsm_bridge.call.context import Context, Identity
from vdsm_bridge.testing.storage import MIB, FileStorage
from vdsm_core.errors import InvalidArgument, MissingArgument
from vdsm_core.hooks.manager import Hooks
from vdsm_core.types import BLANK_UUID, convert
from vdsm_core.volumes import DiskId, PreparedDisk, VolumeId
from vdsm_virt.api.drives import DriveSpec, HotplugDiskParams
from vdsm_virt.api.params import VmParams
from vdsm_virt.create.launch_plan import LaunchPlan, plan
from vdsm_virt.devices import payload as payloads
from vdsm_virt.devices.alignment import Alignment, partitions
from vdsm_virt.devices.drive_plan import DrivePlan, plan_drive, read_wanted
from vdsm_virt.devices.images import Images, fill_source
from vdsm_virt.devices.media import read_medium
from vdsm_virt.devices.running import RunningDisks
from vdsm_virt.domain.accelerator import DomainKind
from vdsm_virt.domain.elements import parse, to_text
from vdsm_virt.errors import ImageFileNotFound, MethodNotImplemented, NeedsAdmin
from vdsm_virt.policy.host_access import HostAccess
from vdsm_virt.policy.image_folders import ImageFolders

OPERATOR = Context(identity=Identity("o", "operator"))
ADMIN = Context(identity=Identity("a", "admin"))
KIND = DomainKind(arch="x86_64", accelerated="kvm", emulated="qemu")
IDS = {name: str(uuid.uuid4()) for name in ("poolID", "domainID", "imageID", "volumeID")}
OVIRT = "xmlns:ovirt-vm='http://ovirt.org/vm/1.0'"


def params(**given: Any) -> HotplugDiskParams:
    """Parameters of a hotplug."""
    read: HotplugDiskParams = convert(given, HotplugDiskParams)
    return read


def plug_xml(
    disk: str = "<disk device='disk'><target dev='vda' bus='virtio'/></disk>", meta: str = ""
) -> str:
    """A document of an engine."""
    metadata = f"<metadata {OVIRT}><ovirt-vm:vm>{meta}</ovirt-vm:vm></metadata>"
    return f"<hotplug><devices>{disk}</devices>{metadata}</hotplug>"


def described(name: str = "vda", **more: str) -> str:
    """The description of a disk in oVirt's metadata."""
    members = "".join(f"<ovirt-vm:{key}>{value}</ovirt-vm:{key}>" for key, value in {**IDS, **more}.items())
    return f"<ovirt-vm:device devtype='disk' name='{name}'>{members}</ovirt-vm:device>"


def test_a_disk_gets_a_free_name() -> None:
    """The first free one of its bus; that of its index, unless it is taken."""
    taken = {"vda", "vdb", "sda"}
    for drive, name in (
        ({"iface": "virtio"}, "vdc"),
        ({"iface": "scsi"}, "sdb"),
        ({"iface": "virtio", "index": "27"}, "vdab"),
        ({"iface": "sata"}, "sdb"),
    ):
        assert plan_drive(params(drive={"device": "disk", **IDS, **drive}), taken).target == name
    with pytest.raises(InvalidArgument, match="another disk's place"):
        plan_drive(params(drive={"device": "disk", **IDS, "index": 0}), taken)


def test_the_two_forms_have_one_meaning() -> None:
    """The same ids, from VDSM's struct and from an engine's document; a taken name is replaced."""
    old = plan_drive(params(drive={"device": "disk", "iface": "virtio", **IDS}), {"vda"})
    new = plan_drive(params(xml=plug_xml(meta=described())), {"vda"})
    assert (old.target, old.disk, old.ids) == (new.target, new.disk, new.ids)
    assert not old.ready_xml
    assert new.ready_xml
    assert read_wanted(params(xml=plug_xml(meta=described()))).disk == old.disk
    alias = "<disk><alias name='ua-1'/></disk>"
    assert read_wanted(params(xml=plug_xml(alias))).alias == "ua-1"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, MissingArgument),
        ({"xml": plug_xml(), "drive": {"path": "/a"}}, InvalidArgument),
        ({"xml": "<disk/"}, InvalidArgument),
        ({"xml": "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>"}, InvalidArgument),
        ({"xml": plug_xml("")}, InvalidArgument),
        ({"xml": plug_xml("<disk/><disk/>")}, InvalidArgument),
        ({"xml": plug_xml("<interface/>")}, InvalidArgument),
        ({"xml": plug_xml(meta=described() + described("vdb"))}, InvalidArgument),
        ({"xml": plug_xml()}, InvalidArgument),
        ({"xml": plug_xml("<disk device='cdrom'><source file='/a'/></disk>")}, InvalidArgument),
        ({"drive": {"device": "cdrom", "path": "/a"}}, InvalidArgument),
        ({"drive": {"device": "disk"}}, InvalidArgument),
        ({"drive": {"path": "/a", "specParams": {"vmPayload": {"file": {"a": ""}}}}}, InvalidArgument),
        ({"drive": {"path": "/a", "shared": "exclusive"}}, MethodNotImplemented),
    ],
)
def test_what_is_no_disk_is_refused(given: dict[str, Any], error: type[Exception]) -> None:
    """By name, before anything is done."""
    with pytest.raises(error):
        plan_drive(params(**given), set())


@pytest.fixture
def access(tmp_path: Path) -> HostAccess:
    """The decision about roles, with one image folder."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.img").write_bytes(bytes(512))
    (tmp_path / "other.img").write_bytes(bytes(512))
    (tmp_path / "images" / "link.img").symlink_to(tmp_path / "other.img")
    return HostAccess(ImageFolders([str(tmp_path / "images")]), ("tags",))


def check_drive(access: HostAccess, given: dict[str, Any], context: Context) -> None:
    """Check the plan of a hotplug."""
    access.check_disk(plan_drive(params(**given), set()), "VM.hotplugDisk", context)


@pytest.mark.parametrize(
    "given",
    [
        {"drive": {"path": "{folder}/other.img"}},
        {"drive": {"path": "{folder}/images/link.img"}},
        {"drive": {"path": "{folder}/images/../other.img"}},
        {"drive": {"path": "/dev/sda"}},
        {"drive": {"path": "/dev/null/unprepared/x"}},
        {"drive": {"GUID": "360"}},
        {"drive": {"UUID": "1234"}},
        {"drive": {"device": "lun", "GUID": "360"}},
        {"drive": {**IDS, "device": "lun", "sgio": "unfiltered"}},
        {"drive": {**IDS, "custom": {"viodiskcache": "unsafe"}}},
        {"xml": plug_xml(meta=described())},
    ],
)
def test_what_is_of_the_host_needs_admin(access: HostAccess, tmp_path: Path, given: dict[str, Any]) -> None:
    """Whatever form it has: files outside the folders, devices, ready elements, foreign properties."""
    filled = {
        key: {name: v.format(folder=tmp_path) if isinstance(v, str) else v for name, v in value.items()}
        if isinstance(value, dict)
        else value
        for key, value in given.items()
    }
    with pytest.raises(NeedsAdmin):
        check_drive(access, filled, OPERATOR)
    check_drive(access, filled, ADMIN)


@pytest.mark.parametrize(
    "drive",
    [IDS, {"path": "IMAGE"}, {**IDS, "custom": {"tags": "a"}, "discard": True, "propagateErrors": "on"}],
)
def test_what_operators_may_plug_in(access: HostAccess, tmp_path: Path, drive: dict[str, Any]) -> None:
    """Volumes of storage, and images in the folders."""
    path = {"path": str(tmp_path / "images" / "mine.img")} if "path" in drive else {}
    check_drive(access, {"drive": {**drive, **path}}, OPERATOR)


def test_media_need_the_role_that_disks_need(access: HostAccess, tmp_path: Path) -> None:
    """In every form of `driveSpec`."""
    foreign, mine = str(tmp_path / "other.img"), str(tmp_path / "images" / "mine.img")
    for spec in (
        foreign,
        {"path": foreign},
        {"iface": "ide", "index": 2, "path": foreign},
        {"GUID": "360"},
        {"iface": "ide", "index": 2, "drive_spec": {"UUID": "1"}},
    ):
        medium = read_medium(spec if isinstance(spec, str) else convert(spec, DriveSpec))
        with pytest.raises(NeedsAdmin):
            access.check_medium(medium, "VM.changeCD", OPERATOR)
        access.check_medium(medium, "VM.changeCD", ADMIN)
    for spec in (
        "",
        mine,
        {"iface": "ide", "index": 2, "drive_spec": IDS},
        {"iface": "ide", "drive_spec": None},
    ):
        medium = read_medium(spec if isinstance(spec, str) else convert(spec, DriveSpec))
        access.check_medium(medium, "VM.changeCD", OPERATOR)
    with pytest.raises(NeedsAdmin):
        access.check_disk_id(DiskId(guid="360"), "VM.getDiskAlignment", "disk", OPERATOR)


def test_a_prepared_image_is_what_storage_says() -> None:
    """Kind, path, layout and servers; what the request had there is gone."""
    element = parse(
        "<disk type='file'><driver type='raw' cache='none' io='threads'/><source file='/x' a='b'/></disk>"
    )
    fill_source(element, PreparedDisk(path="/dev/lv", kind="block", format="cow"))
    assert (element.get("type"), element.find("source").attrib) == ("block", {"dev": "/dev/lv"})  # type: ignore[union-attr]
    assert element.find("driver").attrib == {"type": "qcow2", "cache": "none", "io": "native"}  # type: ignore[union-attr]


def test_a_disk_is_found_by_what_is_known_of_it() -> None:
    """By its alias, its ids without the pool, its path or its name; ids of another volume find nothing."""
    domain = Element("domain")
    devices = SubElement(domain, "devices")
    devices.append(
        parse("<disk><source file='/a'/><target dev='vda'/><alias name='ua-1'/></disk>"),
    )
    disks = RunningDisks(domain)
    (disk,) = disks
    disk.ids = dict(IDS)
    other = {**IDS, "volumeID": str(uuid.uuid4())}
    for given, found in (
        ({"alias": "ua-1"}, True),
        ({"alias": "ua-2", **IDS}, False),
        ({**IDS, "poolID": str(uuid.uuid4())}, True),
        (other, False),
        ({"path": "/a"}, True),
        ({"name": "vda"}, True),
        ({"name": "vdb"}, False),
    ):
        assert bool(disks.find(read_wanted(params(drive=given)))) is found


# Creation.


def planned(**members: Any) -> LaunchPlan:
    """The plan of a machine."""
    return plan(convert({"vmName": "a", "memSize": 64, **members}, VmParams), "", KIND, "")


def targets(made: LaunchPlan) -> list[str]:
    """The names of its disks."""
    return [place.get("dev", "") for place in made.domain.iterfind("devices/disk/target")]


def test_drives_of_the_command_line() -> None:
    """VDSM's `drives`, with `if` and `boot`; their images are prepared by storage."""
    made = planned(drives=[{**IDS, "format": "cow", "if": "ide"}, {**IDS, "boot": "true"}], cdrom="/a.iso")
    assert targets(made) == ["hdc", "hda", "vda"]
    assert made.disks == {"hda": IDS, "vda": IDS}
    assert "<boot order=" in to_text(made.domain)


def test_an_index_is_kept_for_its_disk() -> None:
    """A disk without an index before it does not take its place."""
    disks = [{"type": "disk", "path": "/a"}, {"type": "disk", "path": "/b", "index": 0}]
    assert targets(planned(devices=disks)) == ["vdb", "vda"]


def test_payloads_are_made_by_the_host() -> None:
    """Of a CD-ROM, a floppy and `sysprepInf`; the document has no content of them, and operators may."""
    secret = base64.b64encode(b"my password").decode()
    files = {"specParams": {"vmPayload": {"volId": "config-2", "file": {"a/b": secret}}}}
    made = planned(devices=[{"type": "disk", "device": "cdrom", "iface": "ide", **files}], sysprepInf=secret)
    assert {target: payload.kind for target, payload in made.payloads.items()} == {
        "hda": "cdrom",
        "fda": "floppy",
    }
    assert secret not in to_text(made.domain) + repr(made)
    known = convert({"vmName": "a", "memSize": 64}, VmParams)
    HostAccess(ImageFolders([]), ()).check_creation(known, made, OPERATOR)
    with pytest.raises(InvalidArgument, match="only CD-ROMs"):
        planned(devices=[{"type": "disk", "device": "disk", **files}])


def test_an_engines_document_names_disks_and_payloads() -> None:
    """Ids of oVirt's metadata are prepared; `PAYLOAD:` is made, and its files leave the document."""
    content = base64.b64encode(b"x").decode()
    payload = (
        "<ovirt-vm:device devtype='disk' name='sdc'><ovirt-vm:payload>"
        "<ovirt-vm:volId>config-2</ovirt-vm:volId>"
        f"<ovirt-vm:file path='openstack/user'>{content}</ovirt-vm:file></ovirt-vm:payload></ovirt-vm:device>"
    )
    disks = (
        "<disk device='disk' type='file'><source file=''/><target dev='vda'/></disk>"
        "<disk device='cdrom' type='file'><source file='PAYLOAD:'/><target dev='sdc'/></disk>"
    )
    xml = (
        "<domain type='kvm'><name>a</name><memory>65536</memory><os><type>hvm</type></os>"
        f"<devices>{disks}</devices>"
        f"<metadata {OVIRT}><ovirt-vm:vm>{described()}{payload}</ovirt-vm:vm></metadata></domain>"
    )
    made = plan(convert({"xml": xml}, VmParams), "", KIND, "")
    assert made.disks == {"vda": IDS}
    assert made.payloads["sdc"].payload.vol_id == "config-2"
    assert content not in to_text(made.domain)
    with pytest.raises(InvalidArgument, match="no payload"):
        plan(convert({"xml": xml.replace(payload, "")}, VmParams), "", KIND, "")


@pytest.mark.parametrize(
    ("member", "element"),
    [
        ({"propagateErrors": "on"}, "driver[@error_policy='enospace']"),
        ({"propagateErrors": "true"}, "driver[@error_policy='enospace']"),
        ({"propagateErrors": "off"}, "driver[@error_policy='stop']"),
        ({"discard": "true"}, "driver[@discard='unmap']"),
        ({"shared": "transient"}, "transient"),
        ({"shared": "transient", "cache": "none"}, "driver[@cache='writethrough']"),
        ({"shared": "true"}, "shareable"),
        ({"specParams": {"pinToIoThread": "1"}}, "driver[@iothread='1']"),
        ({}, "driver[@io='threads']"),
    ],
)
def test_what_decides_about_a_disk(member: dict[str, Any], element: str) -> None:
    """VDSM's values, in libvirt's words."""
    made = planned(devices=[{"type": "disk", "path": "/a", **member}])
    assert made.domain.find(f"devices/disk/{element}") is not None


# Payloads.


def files_of(content: dict[str, bytes], label: str = "") -> payloads.Payload:
    """A payload."""
    members: dict[str, Any] = {
        "file": {name: base64.b64encode(data).decode() for name, data in content.items()}
    }
    read: payloads.Payload = convert({**members, **({"volId": label} if label else {})}, payloads.Payload)
    return read


@pytest.mark.skipif(shutil.which("genisoimage") is None, reason="genisoimage is not installed")
def test_a_cdrom_has_the_files(tmp_path: Path) -> None:
    """Under their long names, with the label; nothing else is left in the folder."""
    images = Images(Hooks(), str(tmp_path / "payload"))
    files = files_of({"openstack/latest/user_data": b"#cloud-config\n", "meta-data.json": b"{}"}, "config-2")
    path = Path(images.prepare_payload("vm", files, "cdrom").path)
    assert path == tmp_path / "payload" / "vm.img"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in path.parent.iterdir()] == ["vm.img"]
    image = path.read_bytes()
    assert image[32769:32774] == b"CD001"
    assert image[32808:32840].rstrip() == b"config-2"
    listed = subprocess.run(["isoinfo", "-R", "-f", "-i", path], capture_output=True, text=True, check=True)
    assert "/openstack/latest/user_data" in listed.stdout.splitlines()
    images.release_payloads("vm")
    assert not path.exists()


@pytest.mark.skipif(shutil.which("mcopy") is None, reason="mtools are not installed")
def test_a_floppy_has_the_files(tmp_path: Path) -> None:
    """1440 KiB of FAT, with the label."""
    path = tmp_path / "a.vfd"
    payloads.write_image(path, "floppy", {"sysprep.inf": b"[Unattended]", "folder/b": b"x"}, "sysprep")
    assert path.stat().st_size == 1440 * 1024
    shown = subprocess.run(["mtype", "-i", path, "::/sysprep.inf"], capture_output=True, check=True)
    assert shown.stdout == b"[Unattended]"
    with pytest.raises(Exception, match="at most 11"):
        payloads.write_image(path, "floppy", {}, "a label too long")


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"a": "no base64!"}, "no base64"),
        ({"a": "eA==", "a/b": "eA=="}, "a file and a folder"),
    ],
)
def test_files_that_cannot_be_are_refused(files: dict[str, str], match: str) -> None:
    """And the message has nothing of their content."""
    with pytest.raises(InvalidArgument, match=match):
        payloads.decode(convert({"file": files}, payloads.Payload), "vmPayload")


@pytest.mark.parametrize("name", ["/etc/passwd", "../a", "a/../b", "", "a//b", "a/", "."])
def test_paths_stay_in_the_image(name: str) -> None:
    """Others are refused with the request."""
    with pytest.raises(ValueError, match="file"):
        convert({"file": {name: "eA=="}}, payloads.Payload)


# Partitions.


def mbr(*entries: tuple[int, int, int]) -> bytearray:
    """A sector with a partition table of types, first sectors and counts."""
    sector = bytearray(512)
    for number, (kind, start, count) in enumerate(entries):
        sector[446 + 16 * number : 462 + 16 * number] = struct.pack("<4xB3xII", kind, start, count)
    sector[510:] = b"\x55\xaa"
    return sector


def on(disk: bytes) -> dict[int, int]:
    """The partitions of a disk."""
    return dict(partitions(lambda start, count: disk[start * 512 : (start + count) * 512]))


def test_an_mbr_with_logical_partitions() -> None:
    """Primary ones by their place, logical ones from 5 on; a chain that ends in itself ends."""
    disk = bytearray(8192 * 512)
    disk[:512] = mbr((0x83, 2048, 100), (0, 0, 0), (0x05, 4096, 4000))
    disk[4096 * 512 : 4097 * 512] = mbr((0x83, 63, 100), (0x05, 1000, 100))
    disk[5096 * 512 : 5097 * 512] = mbr((0x83, 128, 100), (0x05, 0, 100))
    assert on(disk) == {1: 2048, 5: 4159, 6: 5224}


def test_a_gpt() -> None:
    """The entries in use, by their place."""
    disk = bytearray(4096 * 512)
    disk[:512] = mbr((0xEE, 1, 4095))
    disk[512:520] = b"EFI PART"
    disk[512 + 72 : 512 + 88] = struct.pack("<QII", 2, 128, 128)
    for number, start in ((0, 34), (2, 2048)):
        entry = bytes([1] * 32) + struct.pack("<QQ", start, start + 10)
        disk[1024 + number * 128 : 1024 + number * 128 + 48] = entry
    assert on(disk) == {1: 34, 3: 2048}


@pytest.mark.parametrize("disk", [b"", bytes(511), bytes(1024), b"\xff" * 510, bytes(510) + b"\x55\xaa"])
def test_a_disk_without_a_table(disk: bytes) -> None:
    """Has no partitions."""
    assert on(disk) == {}


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
def test_an_image_is_measured(tmp_path: Path) -> None:
    """Through its chain; prepared for that, and released."""
    storage = FileStorage(tmp_path)
    base = storage.add(8 * MIB)
    with storage.path(base).open("r+b") as image:
        image.write(mbr((0x83, 2048, 100), (0x83, 63, 100)))
    leaf = storage.add(parent=base)
    hooks = Hooks()
    hooks.register("storage", storage)
    alignment = Alignment(Images(hooks, ""))
    for volume in (base, leaf):
        assert alignment.measure(disk_of(volume)) == {"/dev/sda1": True, "/dev/sda2": False}
    assert storage.prepared(BLANK_UUID) == set()
    with pytest.raises(ImageFileNotFound):
        alignment.measure(DiskId())


def disk_of(volume: VolumeId) -> DiskId:
    """A volume as a disk."""
    return DiskId(
        pool_id=volume.pool_id,
        domain_id=volume.domain_id,
        image_id=volume.image_id,
        volume_id=volume.volume_id,
    )


def test_the_plan_is_not_shared() -> None:
    """Two plans of one request have elements of their own."""
    given = params(drive={"device": "disk", **IDS})
    first, second = plan_drive(given, set()), plan_drive(given, set())
    assert isinstance(first, DrivePlan)
    assert first.element is not second.element
