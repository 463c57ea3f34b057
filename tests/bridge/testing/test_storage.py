"""The storage in a folder that tests use."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.storage import MIB, FileStorage
from vdsm_core.errors import Conflict, NotFound, OperationFailed
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hooks.specs.storage import (
    vdsm_create_volume,
    vdsm_extend_volume,
    vdsm_find_lease,
    vdsm_get_volume,
    vdsm_prepare_disk,
    vdsm_release_disk,
    vdsm_remove_volume,
    vdsm_set_volume_capacity,
    vdsm_set_volume_legality,
    vdsm_sync_volume_chain,
)
from vdsm_core.volumes import DiskId, Extension, NewVolume, VolumeId

VM = "c0ffee00-0000-4000-8000-000000000042"

needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
pytestmark = needs_qemu_img


@pytest.fixture
def storage(tmp_path: Path) -> FileStorage:
    """A storage in the test's folder."""
    return FileStorage(tmp_path / "storage")


@pytest.fixture
def hooks(storage: FileStorage) -> Hooks:
    """Hooks with that storage."""
    hooks = Hooks()
    hooks.register("storage", storage)
    return hooks


def disk_of(volume: VolumeId) -> DiskId:
    """Return a volume as a disk."""
    return DiskId(
        pool_id=volume.pool_id,
        domain_id=volume.domain_id,
        image_id=volume.image_id,
        volume_id=volume.volume_id,
    )


def image_info(path: Path) -> dict[str, Any]:
    """Return what qemu-img reports of an image."""
    done = subprocess.run(
        ["qemu-img", "info", "-U", "--output=json", path], capture_output=True, check=True, text=True
    )
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def test_a_chain_is_real(storage: FileStorage, hooks: Hooks) -> None:
    """A volume on top of another is a qcow2 image with a relative backing file, and is prepared with it."""
    base = storage.add(8 * MIB)
    leaf = storage.add(parent=base)
    info = image_info(storage.path(leaf))
    assert (info["format"], info["virtual-size"], info["backing-filename"]) == (
        "qcow2",
        8 * MIB,
        base.volume_id,
    )
    prepared = hooks.run(vdsm_prepare_disk, VM, disk_of(leaf))
    assert prepared is not None
    assert (prepared.path, prepared.format) == (str(storage.path(leaf)), "cow")
    assert [(each.id, each.format) for each in prepared.chain] == [(base, "raw"), (leaf, "cow")]
    assert storage.prepared(VM) == {leaf.volume_id}
    hooks.run(vdsm_release_disk, VM, disk_of(leaf))
    assert storage.prepared(VM) == set()


def test_others_disks_are_left_to_others(storage: FileStorage, hooks: Hooks) -> None:
    """Another domain's volume, and a device, have no answer; a missing volume of this domain is an error."""
    other = VolumeId(domain_id=str(uuid.uuid4()), image_id="i", volume_id="v")
    assert hooks.run(vdsm_prepare_disk, VM, disk_of(other)) is None
    assert hooks.run(vdsm_prepare_disk, VM, DiskId(guid="360")) is None
    assert hooks.run(vdsm_get_volume, other) is None
    missing = VolumeId(domain_id=storage.domain_id, image_id="i", volume_id="v")
    with pytest.raises(NotFound):
        hooks.run(vdsm_get_volume, missing)


def test_volumes_are_created_and_removed(storage: FileStorage, hooks: Hooks) -> None:
    """The base of another volume is not removed; a removed one is removed again without an error."""
    base = storage.add(4 * MIB, "cow")
    leaf = VolumeId(domain_id=base.domain_id, image_id=base.image_id, volume_id=str(uuid.uuid4()))
    created = hooks.run(vdsm_create_volume, NewVolume(id=leaf, format="cow", parent=base.volume_id))
    assert created is not None
    assert (created.capacity, created.parent, created.leaf) == (4 * MIB, base.volume_id, True)
    with pytest.raises(Conflict):
        hooks.run(vdsm_create_volume, NewVolume(id=leaf, format="cow", parent=base.volume_id))
    with pytest.raises(Conflict):
        hooks.run(vdsm_remove_volume, base)
    for volume in (leaf, leaf, base):
        assert hooks.run(vdsm_remove_volume, volume) is True
    assert not storage.path(base).parent.exists()


def test_an_illegal_volume_is_not_prepared(storage: FileStorage, hooks: Hooks) -> None:
    """Wherever in the chain it is; legal again, it is."""
    base = storage.add()
    leaf = storage.add(parent=base)
    hooks.run(vdsm_set_volume_legality, base, "ILLEGAL")
    with pytest.raises(OperationFailed, match="ILLEGAL"):
        hooks.run(vdsm_prepare_disk, VM, disk_of(leaf))
    hooks.run(vdsm_set_volume_legality, base, "LEGAL")
    assert hooks.run(vdsm_prepare_disk, VM, disk_of(leaf)) is not None


def test_a_merged_volume_is_dropped(storage: FileStorage, hooks: Hooks) -> None:
    """The volume between two others leaves the chain, is ILLEGAL, and can be removed."""
    base = storage.add()
    middle = storage.add(parent=base)
    leaf = storage.add(parent=middle)
    assert hooks.run(vdsm_sync_volume_chain, leaf, [base.volume_id, leaf.volume_id]) == [middle]
    info = hooks.run(vdsm_get_volume, leaf)
    assert info is not None
    assert [each.id for each in info.chain] == [base, leaf]
    dropped = hooks.run(vdsm_get_volume, middle)
    assert dropped is not None
    assert dropped.legality == "ILLEGAL"
    assert hooks.run(vdsm_remove_volume, middle)


def test_an_extension_is_answered_later(storage: FileStorage, hooks: Hooks) -> None:
    """The hook returns at once; the answer follows, with the new size or the error."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    volume = storage.add(64 * MIB, "cow", thin=True)
    with storage.holding("extend"):
        assert hooks.run(vdsm_extend_volume, Extension(volume, 8 * MIB, answers.put))
        until(lambda: storage.calls("extend"))
        assert answers.empty()
    assert answers.get(timeout=30).apparent_size == 8 * MIB
    with storage.refusing("extend", "no room"):
        hooks.run(vdsm_extend_volume, Extension(volume, 16 * MIB, answers.put))
        assert isinstance(answers.get(timeout=30), OperationFailed)
    until(lambda: not [t for t in threading.enumerate() if t.name == "extending a volume"])


def test_a_capacity_only_grows(storage: FileStorage, hooks: Hooks) -> None:
    """A raw file is made larger with it."""
    volume = storage.add(4 * MIB)
    info = hooks.run(vdsm_set_volume_capacity, volume, 8 * MIB)
    assert info is not None
    assert (info.capacity, info.apparent_size) == (8 * MIB, 8 * MIB)
    with pytest.raises(Exception, match="below"):
        hooks.run(vdsm_set_volume_capacity, volume, 4 * MIB)


def test_leases_have_places_of_their_own(storage: FileStorage, hooks: Hooks) -> None:
    """Each at its own offset of one file; an unknown one is an error."""
    first, second = storage.add_lease(), storage.add_lease()
    places = [hooks.run(vdsm_find_lease, lease) for lease in (first, second)]
    assert [place and place.offset for place in places] == [3 * MIB, 4 * MIB]
    with pytest.raises(NotFound):
        hooks.run(vdsm_find_lease, type(first)(sd_id=storage.domain_id, lease_id="none"))


def test_another_process_finds_the_same(storage: FileStorage, tmp_path: Path) -> None:
    """The plugin that `install` writes has the volumes of the folder."""
    volume = storage.add()
    folder = storage.install(tmp_path / "plugins")
    assert "lab_storage:storage" in (folder / "lab_storage-1.dist-info" / "entry_points.txt").read_text()
    again = FileStorage(storage.root)
    assert again.domain_id == storage.domain_id
    assert again.vdsm_get_volume(volume) == storage.vdsm_get_volume(volume)
