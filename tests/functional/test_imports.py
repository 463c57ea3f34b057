"""Import of a machine with the real virt-v2v, and secrets in a real libvirt."""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.conftest import absent
from tests.functional.lab import LabHost
from tests.functional.lab.boot import run
from tests.functional.lab.importable import SIZE, Importable, importable, read_file
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.storage import FileStorage
from vdsm_core.errors import VdsmError
from vdsm_core.volumes import VolumeId
from vdsm_virt import Virt

pytestmark = [pytest.mark.functional, pytest.mark.slow]

PATIENCE = 400.0


@pytest.fixture(scope="module")
def small(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Importable:
    """An OVA."""
    if missing := [name for name in ("virt-v2v", "nbdkit", "debugfs") if shutil.which(name) is None]:
        absent(f"not installed: {', '.join(missing)}")
    try:
        return importable(tmp_path_factory.mktemp("importable"))
    except (subprocess.CalledProcessError, LookupError) as error:
        absent(f"the guest's kernel cannot be had: {error}")


@pytest.fixture
def storage(tmp_path: Path) -> FileStorage:
    """Storage in a folder."""
    return FileStorage(tmp_path / "storage")


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A folder with a short name: virt-v2v makes unix sockets in it, whose paths may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="vdsm-") as folder:
        yield Path(folder)


@pytest.fixture
def host(small: Importable, storage: FileStorage, run_dir: Path) -> Iterator[TestHost]:
    """A host that may read the OVA."""
    options = {"import_folders": [str(small.ova.parent)], "guestfs_environment": small.environment}
    config = {"daemon": {"run_dir": str(run_dir)}, "plugin": {"virt": options}}
    with TestHost(verbs={"virt": Virt}, hooks={"storage": storage}, config=config) as host:
        yield host


def job(host: TestHost, job_id: str) -> Any:
    """A job, as the statistics of the host show it."""
    return host.call("Host.getStats").v2v_jobs[job_id]


def order(disk: VolumeId) -> dict[str, Any]:
    """A client's `vminfo` with one disk."""
    return {
        "vmName": "small",
        "poolID": str(uuid.uuid4()),
        "domainID": disk.domain_id,
        "allocation": "SPARSE",
        "format": "COW",
        "disks": [{"imageID": disk.image_id, "volumeID": disk.volume_id}],
    }


@pytest.mark.timeout(600)
def test_an_ova_is_converted(
    host: TestHost, storage: FileStorage, small: Importable, run_dir: Path, tmp_path: Path
) -> None:
    """Its disk is in the volume, changed so that it boots on KVM; the document describes the machine."""
    described = host.call("Host.getExternalVmFromOva", ova_path=str(small.ova))
    assert (described.vm_name, described.mem_size, described.smp) == ("small", 64, 2)
    assert [(disk.alias, disk.capacity) for disk in described.disks] == [("small.vmdk", str(SIZE))]
    assert [(nic.model, nic.bridge) for nic in described.networks] == [("e1000", "inside")]

    disk = storage.add(SIZE, "cow")
    job_id = str(uuid.uuid4())
    call = {"ova_path": str(small.ova), "vminfo": order(disk), "jobid": job_id}
    host.call("Host.convertExternalVmFromOva", **call)
    with pytest.raises(VdsmError) as twice:
        host.call("Host.convertExternalVmFromOva", **call)
    assert twice.value.code == 69
    with pytest.raises(VdsmError) as early:
        host.call("Host.getConvertedVm", jobid=job_id)
    assert early.value.code == 68
    until(lambda: job(host, job_id).status in {"done", "error"}, PATIENCE, every=0.5)
    done = job(host, job_id)
    assert (done.status, done.progress) == ("done", 100), done

    document = host.call("Host.getConvertedVm", jobid=job_id)
    assert "<Name>small</Name>" in document
    assert disk.volume_id in document
    assert read_file(storage.path(disk), "/etc/letter", tmp_path) == "what has to arrive\n"
    assert "/dev/vda" in read_file(storage.path(disk), "/etc/fstab", tmp_path)
    # Nothing but the document is left, and that until the job is deleted.
    assert [path.name for path in (run_dir / "v2v").rglob("*") if path.is_file()] == [f"{job_id}.ovf"]
    host.call("Host.deleteV2VJob", jobid=job_id)
    with pytest.raises(VdsmError) as gone:
        host.call("Host.getConvertedVm", jobid=job_id)
    assert gone.value.code == 66
    assert list((run_dir / "v2v").rglob("*.ovf")) == []


@pytest.mark.timeout(300)
def test_a_conversion_is_aborted(host: TestHost, storage: FileStorage, small: Importable) -> None:
    """Its processes end; the job has that status, and can be deleted."""
    disk = storage.add(SIZE)
    job_id = str(uuid.uuid4())
    vminfo = {**order(disk), "format": "RAW"}
    host.call("Host.convertExternalVmFromOva", ova_path=str(small.ova), vminfo=vminfo, jobid=job_id)
    until(lambda: job(host, job_id).status == "copying_disk", PATIENCE, every=0.1)
    with pytest.raises(VdsmError) as running:
        host.call("Host.deleteV2VJob", jobid=job_id)
    assert running.value.code == 68
    assert processes(job_id)
    host.call("Host.abortV2VJob", jobid=job_id)
    until(lambda: job(host, job_id).status == "aborted", PATIENCE, every=0.1)
    until(lambda: not processes(job_id))
    host.call("Host.deleteV2VJob", jobid=job_id)


@pytest.mark.timeout(300)
def test_a_disk_is_sealed(
    host: TestHost, storage: FileStorage, small: Importable, run_dir: Path, tmp_path: Path
) -> None:
    """The host job ends; the guest's host key is gone, other files stay."""
    if shutil.which("virt-sysprep") is None:
        absent("not installed: virt-sysprep")
    disk = storage.add(SIZE, "cow")
    run("qemu-img", "convert", "-O", "qcow2", str(small.disk), str(storage.path(disk)))
    key = "/etc/ssh/ssh_host_ecdsa_key"
    assert read_file(storage.path(disk), key, tmp_path) == "a key of the host\n"
    call = {
        "vmID": str(uuid.uuid4()),
        "job_id": str(uuid.uuid4()),
        "sp_id": disk.pool_id or str(uuid.uuid4()),
        "images": [{"sd_id": disk.domain_id, "img_id": disk.image_id, "vol_id": disk.volume_id}],
    }
    host.call("VM.seal", **call)
    with pytest.raises(VdsmError) as twice:
        host.call("VM.seal", **call)
    assert twice.value.code == 69

    def sealing() -> Any:
        return host.call("Host.getJobs")[call["job_id"]]

    until(lambda: sealing().status in {"done", "failed"}, PATIENCE, every=0.5)
    assert sealing().status == "done", sealing()
    assert read_file(storage.path(disk), key, tmp_path) == ""
    assert read_file(storage.path(disk), "/etc/letter", tmp_path) == "what has to arrive\n"
    assert list(run_dir.rglob("guestfs/*")) == []


def processes(job_id: str) -> list[int]:
    """The processes whose arguments name a job."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                arguments = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if job_id.encode() in arguments:
                found.append(int(folder.name))
    return found


def test_secrets(lab_host: LabHost) -> None:
    """Given to libvirt, replaced, cleared, and never given out again."""
    first, second, foreign = (str(uuid.uuid4()) for _ in range(3))

    def secret(uid: str, usage: str, value: bytes = b"a key") -> dict[str, str]:
        return {
            "uuid": uid,
            "usageType": "ceph",
            "usageID": usage,
            "password": base64.b64encode(value).decode(),
            "description": "of the test",
        }

    def listed() -> set[str]:
        lines = lab_host.virsh("secret-list").splitlines()
        return {words[0] for line in lines if (words := line.split()) and words[0].count("-") == 4}

    with TestHost(verbs={"virt": Virt}, config={"hypervisor": {"uri": lab_host.uri}}) as host:
        host.call("Host.registerSecrets", secrets=[secret(first, "ovirt/a"), secret(foreign, "others/b")])
        assert listed() == {first, foreign}
        # The same object under another id, and the same id for another object.
        host.call("Host.registerSecrets", secrets=[secret(second, "ovirt/a")])
        assert listed() == {second, foreign}
        host.call("Host.registerSecrets", secrets=[secret(second, "ovirt/c")])
        host.call("Host.registerSecrets", secrets=[secret(first, "ovirt/d")], clear=True)
        assert listed() == {first, foreign}
        with pytest.raises(VdsmError) as refused:
            host.call("Host.registerSecrets", secrets=[{**secret(second, "ovirt/e"), "password": "%"}])
        assert refused.value.code == 72
        host.call("Host.unregisterSecrets", uuids=[first, second, foreign])
        assert listed() == set()
