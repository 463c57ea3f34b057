"""Where machines may be imported from, and how they are described."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.call.context import Context, Identity
from vdsm_bridge.testing.polling import until
from vdsm_core.errors import Forbidden, HypervisorError, InvalidArgument

JOB = "0b6f5a0e-5a3c-4f5e-9a45-1a4a2b1c0001"
OVF = """<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
 <References><File ovf:id="f" ovf:href="d.vmdk"/></References>
 <DiskSection><Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="2"
  ovf:capacityAllocationUnits="byte * 2^30"/></DiskSection>
 <VirtualSystem ovf:id="shop"><Name>{name}</Name><VirtualHardwareSection>
  <Item><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>{cpus}</rasd:VirtualQuantity></Item>
  <Item><rasd:AllocationUnits>{units}</rasd:AllocationUnits><rasd:ResourceType>4</rasd:ResourceType>
   <rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
  <Item><rasd:ElementName>Hard disk 1</rasd:ElementName><rasd:HostResource>ovf:/disk/d</rasd:HostResource>
   <rasd:ResourceType>17</rasd:ResourceType></Item>
  <Item><rasd:Connection>VM Network</rasd:Connection><rasd:ElementName>Adapter</rasd:ElementName>
   <rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType><rasd:ResourceType>10</rasd:ResourceType></Item>
 </VirtualHardwareSection></VirtualSystem></Envelope>
"""


def document(name: str = "shop", cpus: str = "4", units: str = "GigaBytes") -> bytes:
    return OVF.format(name=name, cpus=cpus, units=units).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that may be imported from."""
    (tmp_path / "ovas").mkdir()
    return tmp_path / "ovas"


@pytest.fixture
def vms(make_machines: Any, folder: Path, tmp_path: Path) -> Any:
    """Machines of a host that may import from libvirt's test driver and from the folder."""
    options = {"import_schemes": ["test"], "import_folders": [str(folder)]}
    daemon = {"run_dir": str(tmp_path / "run")}
    return make_machines(config={"plugin": {"virt": options}, "daemon": daemon})


def tar(path: Path, members: dict[str, bytes], link: str = "") -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        if link:
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/shadow"
            archive.addfile(entry)
    return path


def credentials(uri: str) -> dict[str, Any]:
    return {"uri": uri, "username": "joe", "password": "a password"}


def test_machines_of_another_hypervisor(vms: Any) -> None:
    """Names and descriptions, all or some."""
    call = credentials("test:///default")
    assert vms.call("Host.getExternalVMNames", **call) == ["test"]
    (machine,) = vms.call("Host.getExternalVMs", **call)
    assert machine.vm_id == vms.born_with
    assert (machine.vm_name, machine.status, machine.mem_size, machine.smp) == ("test", "Up", 8192, 2)
    assert machine.has_snapshots is False
    assert vms.call("Host.getExternalVMs", **call, vm_names=["absent"]) == []


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("qemu:///system", "import_schemes"),
        ("test+ssh://h/x", "import_schemes"),
        ("test:///default?command=/bin/sh", "parameters"),
        ("test:///default?", "parameters"),
        ("test:///default#x", "parameters"),
        ("test://joe:secret@host/x", "password"),
        ("test://-oProxyCommand=x/default", "-"),
        ("test://-l@host/default", "-"),
        ("test:///\x00", "not a URI"),
        ("test:///\n", "not a URI"),
        ("test://[::1/x", "not a URI"),
        ("test:///ä", "not a URI"),
    ],
)
def test_uris_that_are_refused(vms: Any, uri: str, reason: str) -> None:
    """Nothing is opened: neither a command, nor a file, nor a password in a log."""
    for verb in ("Host.getExternalVMs", "Host.getExternalVMNames", "Host.convertExternalVm"):
        more = {"vminfo": vminfo(), "jobid": JOB} if verb.startswith("Host.convert") else {}
        with pytest.raises(InvalidArgument, match=reason) as refusal:
            vms.call(verb, **credentials(uri), **more)
        assert refusal.value.facts["argument"] == "uri"
        assert "secret" not in str(refusal.value)


def vminfo(**more: Any) -> dict[str, Any]:
    ids = {"poolID": JOB, "domainID": JOB}
    return {"vmName": "test", **ids, "disks": [{"imageID": JOB, "volumeID": JOB}], **more}


def test_a_hypervisor_that_is_not_there(vms: Any) -> None:
    """Code 65, with libvirt's reason."""
    with pytest.raises(HypervisorError) as refusal:
        vms.call("Host.getExternalVMs", **credentials("test:///absent.xml"))
    assert refusal.value.code == 65
    assert "absent.xml" in str(refusal.value)


def test_only_admin(vms: Any, folder: Path) -> None:
    """What reads other hosts and files of this one is not for operators."""
    operator = Context(identity=Identity(name="o", role="operator", how="token"))
    path = str(tar(folder / "a.ova", {"a.ovf": document()}))
    calls: dict[str, dict[str, Any]] = {
        "Host.getExternalVMs": credentials("test:///default"),
        "Host.getExternalVMNames": credentials("test:///default"),
        "Host.getExternalVmFromOva": {"ova_path": path},
        "Host.convertExternalVm": {**credentials("test:///default"), "vminfo": vminfo(), "jobid": JOB},
        "Host.convertExternalVmFromOva": {"ova_path": path, "vminfo": vminfo(), "jobid": JOB},
        "Host.registerSecrets": {"secrets": []},
        "Host.unregisterSecrets": {"uuids": []},
        "Host.abortV2VJob": {"jobid": JOB},
        "Host.deleteV2VJob": {"jobid": JOB},
    }
    for verb, arguments in calls.items():
        with pytest.raises(Forbidden):
            vms.host.bridge.call(verb, arguments, operator)


@pytest.mark.parametrize("kind", ["tar", "zip", "folder"])
def test_an_ova_is_described(vms: Any, folder: Path, kind: str) -> None:
    """As a tar file, a zip file or a folder."""
    members = {"a.ovf": document(), "d.vmdk": b"x" * 100}
    path = folder / "a.ova"
    if kind == "tar":
        tar(path, members)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        path.mkdir()
        for name, content in members.items():
            (path / name).write_bytes(content)
    machine = vms.call("Host.getExternalVmFromOva", ova_path=str(path))
    assert (machine.vm_name, machine.mem_size, machine.smp, machine.status) == ("shop", 2048, 4, "Down")
    (disk,) = machine.disks
    assert (disk.alias, disk.capacity, disk.allocation) == ("d.vmdk", str(2 * 2**30), "100")
    (nic,) = machine.networks
    assert (nic.bridge, nic.dev, nic.model) == ("VM Network", "Adapter", "vmxnet3")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\nb"])
def test_members_that_lead_out_are_refused(vms: Any, folder: Path, name: str) -> None:
    """Before virt-v2v unpacks them; as a description, and beside one."""
    for members in ({"a.ovf": document(), name: b""}, {f"{name}.ovf": document()}):
        path = tar(folder / "a.ova", members)
        for verb, more in (
            ("Host.getExternalVmFromOva", {}),
            ("Host.convertExternalVmFromOva", {"vminfo": vminfo(), "jobid": JOB}),
        ):
            with pytest.raises(InvalidArgument, match=r"leads out of it|regular file|descriptions"):
                vms.call(verb, ova_path=str(path), **more)
    assert vms.call("Host.getStats").v2v_jobs == {}


def test_links_are_refused(vms: Any, folder: Path) -> None:
    """In the archive and in a folder; a link out of the folder of imports is none of its files."""
    path = tar(folder / "a.ova", {"a.ovf": document()}, link="d.vmdk")
    with pytest.raises(InvalidArgument, match="not a regular file"):
        vms.call("Host.getExternalVmFromOva", ova_path=str(path))
    unpacked = folder / "unpacked"
    unpacked.mkdir()
    (unpacked / "a.ovf").symlink_to("/etc/passwd")
    with pytest.raises(InvalidArgument, match="not a regular file"):
        vms.call("Host.getExternalVmFromOva", ova_path=str(unpacked))
    elsewhere = tar(folder.parent / "b.ova", {"a.ovf": document()})
    (folder / "link").symlink_to(elsewhere)
    for outside in (folder / "link", elsewhere, folder / ".." / "b.ova"):
        with pytest.raises(InvalidArgument, match="import_folders"):
            vms.call("Host.getExternalVmFromOva", ova_path=str(outside))


@pytest.mark.parametrize(
    "ovf",
    [
        b"",
        b"no XML",
        b"<a/>",
        b"\xff\xfe",
        document(cpus="four"),
        document(name="").replace(b' ovf:id="shop"', b""),
        document().replace(b"ovf:/disk/d", b"ovf:/disk/other"),
        document(units="byte * 2^9999"),
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b"<a>" * 5000,
    ],
)
def test_documents_that_describe_nothing(vms: Any, folder: Path, ovf: bytes) -> None:
    """An error of the argument, whatever is wrong with it."""
    path = tar(folder / "a.ova", {"a.ovf": ovf})
    with pytest.raises(InvalidArgument) as refusal:
        vms.call("Host.getExternalVmFromOva", ova_path=str(path))
    assert refusal.value.facts["argument"] in {"ova_path"}


def test_files_that_are_no_ova(vms: Any, folder: Path) -> None:
    """Neither a device nor garbage nor an archive of no or two descriptions."""
    (folder / "garbage").write_bytes(b"\0garbage" * 1000)
    tar(folder / "none", {"d.vmdk": b""})
    tar(folder / "two", {"a.ovf": document(), "b.ovf": document()})
    (folder / "cut").write_bytes(tar(folder / "a.ova", {"a.ovf": document()}).read_bytes()[:700])
    for name in ("garbage", "none", "two", "cut", "absent"):
        with pytest.raises(InvalidArgument):
            vms.call("Host.getExternalVmFromOva", ova_path=str(folder / name))


def test_jobs_that_are_not_there(vms: Any) -> None:
    """Code 66."""
    for verb in ("Host.getConvertedVm", "Host.abortV2VJob", "Host.deleteV2VJob"):
        with pytest.raises(Exception, match="no import job") as refusal:
            vms.call(verb, jobid=JOB)
        assert refusal.value.code == 66  # type: ignore[attr-defined]


def test_a_conversion_that_fails(vms: Any) -> None:
    """The job keeps the reason; it can be deleted, and another one has its id."""
    vms.call("Host.convertExternalVm", **credentials("test:///default"), vminfo=vminfo(), jobid=JOB)
    job = until_ended(vms)
    assert job.status == "error"
    assert "no plugin can prepare the disk" in job.description
    vms.call("Host.deleteV2VJob", jobid=JOB)
    assert vms.call("Host.getStats").v2v_jobs == {}


def until_ended(vms: Any) -> Any:
    until(lambda: vms.call("Host.getStats").v2v_jobs[JOB].status in {"error", "done", "aborted"})
    return vms.call("Host.getStats").v2v_jobs[JOB]
