"""Storage in a folder: real qcow2 and raw files behind the hooks of storage, for tests of other features.

::

    storage = FileStorage(tmp_path / "storage")
    disk = storage.add(16 * MIB)
    with TestHost(hooks={"storage": storage}) as host: ...

A daemon of its own process loads it as a plugin: `storage.install(folder)` writes one for `PYTHONPATH`.
All state is in files, so that every process with the same folder has the same storage.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from vdsm_bridge.testing.polling import until
from vdsm_core.errors import Conflict, InvalidArgument, NotFound, OperationFailed, VdsmError
from vdsm_core.hooks import hookimpl
from vdsm_core.volumes import (
    ChainVolume,
    DiskId,
    Extension,
    Lease,
    LeaseId,
    Legality,
    NewVolume,
    PreparedDisk,
    VolumeFormat,
    VolumeId,
    VolumeInfo,
)

__all__ = ["MIB", "FileStorage", "Operation"]

MIB: Final = 2**20
#: Bytes between two leases in the file of a domain's leases, VDSM's default alignment.
ALIGNMENT: Final = MIB
#: Leases before the first one of users: lockspace, index, and one that is not used.
_RESERVED: Final = 3
#: Seconds that a held operation waits; after that, the test has failed anyway.
_HOLD: Final = 60.0

#: What can be held or refused, and is in the record of calls.
Operation = Literal[
    "prepare",
    "release",
    "find_lease",
    "get",
    "refresh",
    "create",
    "remove",
    "extend",
    "set_capacity",
    "set_legality",
    "sync_chain",
]

_FORMATS: Final[dict[VolumeFormat, str]] = {"raw": "raw", "cow": "qcow2"}


class _Volume(msgspec.Struct):
    """What is recorded of a volume beside its file."""

    format: VolumeFormat
    capacity: int
    parent: str
    legality: Legality = "LEGAL"
    thin: bool = False
    #: Bytes that a thin volume has been given; the file itself may grow beyond.
    allocated: int = 0


class FileStorage:
    """One storage domain in a folder, as a hook plugin.

    :param root: its folder, which is made
    :param domain_id: its id; by default that of an earlier storage in the folder, or a new one
    """

    def __init__(self, root: Path, domain_id: str = "") -> None:
        self.root = root
        found = sorted(path.parent.name for path in root.glob("*/dom_md"))
        self.domain_id: Final = domain_id or (found[0] if found else str(uuid.uuid4()))
        self.pool_id: Final = str(uuid.uuid5(uuid.NAMESPACE_OID, self.domain_id))
        self._domain = root / self.domain_id
        for folder in (self._domain / "images", self._domain / "dom_md", *map(root.joinpath, _FOLDERS)):
            folder.mkdir(parents=True, exist_ok=True)

    # For tests.

    def add(
        self,
        capacity: int = 16 * MIB,
        volume_format: VolumeFormat = "raw",
        *,
        parent: VolumeId | None = None,
        thin: bool = False,
    ) -> VolumeId:
        """Create a volume, in a new image or on top of `parent`.

        :param capacity: bytes
        :param thin: it is reported as one that has to be extended
        """
        volume = VolumeId(
            pool_id=self.pool_id,
            domain_id=self.domain_id,
            image_id=parent.image_id if parent is not None else str(uuid.uuid4()),
            volume_id=str(uuid.uuid4()),
        )
        self._create(
            NewVolume(
                id=volume,
                capacity=0 if parent is not None else capacity,
                format="cow" if parent is not None else volume_format,
                parent=parent.volume_id if parent is not None else "",
            ),
            thin=thin,
        )
        return volume

    def add_lease(self, lease_id: str = "") -> LeaseId:
        """Add a lease that belongs to no volume."""
        lease = LeaseId(sd_id=self.domain_id, lease_id=lease_id or str(uuid.uuid4()))
        with self._locked():
            known = self._leases()
            number = max(known.values(), default=_RESERVED - 1) + 1
            _write(self._lease_index, {**known, lease.lease_id: number})
            with self._lease_file.open("ab") as file:
                file.truncate((number + 1) * ALIGNMENT)
        return lease

    def path(self, volume: VolumeId) -> Path:
        """Return the file of a volume."""
        return self._domain / "images" / volume.image_id / volume.volume_id

    def prepared(self, vm_id: str) -> set[str]:
        """Return the ids of the leaf volumes that are prepared for a machine."""
        folder = self.root / "prepared" / vm_id
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def calls(self, operation: Operation | None = None) -> list[dict[str, Any]]:
        """Return the calls so far, the oldest first, of one operation or of all."""
        path = self.root / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [call for call in found if operation in (None, call["operation"])]

    @contextmanager
    def holding(self, operation: Operation) -> Iterator[None]:
        """Let calls of an operation wait within the block; they are recorded before they wait."""
        path = self.root / "hold" / operation
        path.touch()
        try:
            yield
        finally:
            path.unlink()

    @contextmanager
    def refusing(self, operation: Operation, reason: str = "the test refuses it") -> Iterator[None]:
        """Let calls of an operation fail within the block."""
        path = self.root / "refuse" / operation
        path.write_text(reason)
        try:
            yield
        finally:
            path.unlink()

    def install(self, folder: Path, name: str = "lab_storage") -> Path:
        """Write a distribution with this storage as a hook plugin; return the folder for PYTHONPATH."""
        info = folder / f"{name}-1.dist-info"
        info.mkdir(parents=True)
        (folder / f"{name}.py").write_text(
            "from pathlib import Path\n"
            "from vdsm_bridge.testing.storage import FileStorage\n"
            f"storage = FileStorage(Path({str(self.root)!r}), {self.domain_id!r})\n"
        )
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[vdsm.hooks]\n{name} = {name}:storage\n")
        return folder

    # The hooks.

    @hookimpl
    def vdsm_prepare_disk(self, vm_id: str, disk: DiskId) -> PreparedDisk | None:
        """Prepare a volume: mark it as used by the machine."""
        volume = disk.volume()
        if volume is None or not self._is_mine(volume.domain_id):
            return None
        self._begin("prepare", vm_id=vm_id, volume=volume.volume_id)
        info = self._info(volume)
        for each in info.chain:
            if self._read(each.id).legality == "ILLEGAL":
                raise OperationFailed(reason=f"volume {each.id.volume_id} is ILLEGAL")
        mark = self.root / "prepared" / vm_id / volume.volume_id
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
        return PreparedDisk(
            path=info.path,
            format=info.format,
            capacity=info.capacity,
            apparent_size=info.apparent_size,
            true_size=info.true_size,
            thin=info.thin,
            chain=info.chain,
        )

    @hookimpl
    def vdsm_release_disk(self, vm_id: str, disk: DiskId) -> None:
        """Remove the mark of a machine."""
        volume = disk.volume()
        if volume is None or not self._is_mine(volume.domain_id):
            return
        self._begin("release", vm_id=vm_id, volume=volume.volume_id)
        folder = self.root / "prepared" / vm_id
        (folder / volume.volume_id).unlink(missing_ok=True)

    @hookimpl
    def vdsm_find_lease(self, lease: LeaseId) -> Lease | None:
        """Look a lease up in the index."""
        if not self._is_mine(lease.sd_id):
            return None
        self._begin("find_lease", lease=lease.lease_id)
        number = self._leases().get(lease.lease_id)
        if number is None:
            raise NotFound(reason=f"storage domain {lease.sd_id} has no lease {lease.lease_id}")
        return Lease(path=str(self._lease_file), offset=number * ALIGNMENT)

    @hookimpl
    def vdsm_get_volume(self, volume: VolumeId) -> VolumeInfo | None:
        """Read a volume."""
        return self._answer("get", volume)

    @hookimpl
    def vdsm_refresh_volume(self, volume: VolumeId) -> VolumeInfo | None:
        """Read a volume: files are the same on every host."""
        return self._answer("refresh", volume)

    @hookimpl
    def vdsm_create_volume(self, volume: NewVolume) -> VolumeInfo | None:
        """Create a file with qemu-img."""
        if not self._is_mine(volume.id.domain_id):
            return None
        self._begin("create", volume=volume.id.volume_id, purpose=volume.purpose)
        self._create(volume)
        return self._info(volume.id)

    @hookimpl
    def vdsm_remove_volume(self, volume: VolumeId) -> bool | None:
        """Remove a file and its record."""
        if not self._is_mine(volume.domain_id):
            return None
        self._begin("remove", volume=volume.volume_id)
        with self._locked():
            if not self._record(volume).exists():
                return True
            if children := self._children(volume):
                raise Conflict(reason=f"volume {volume.volume_id} is the base of {children[0]}")
            self.path(volume).unlink(missing_ok=True)
            self._record(volume).unlink()
            if not any(self.path(volume).parent.iterdir()):
                self.path(volume).parent.rmdir()
        return True

    @hookimpl
    def vdsm_extend_volume(self, extension: Extension) -> bool | None:
        """Record a larger size, on a thread of its own."""
        if not self._is_mine(extension.volume.domain_id):
            return None
        self._info(extension.volume)

        def extend() -> None:
            try:
                self._begin("extend", volume=extension.volume.volume_id, size=extension.size)
                with self._locked():
                    volume = self._read(extension.volume)
                    volume.allocated = max(volume.allocated, extension.size)
                    self._write(extension.volume, volume)
                extension.done(self._info(extension.volume))
            except VdsmError as error:
                extension.failed(error)

        threading.Thread(target=extend, name="extending a volume", daemon=True).start()
        return True

    @hookimpl
    def vdsm_set_volume_capacity(self, volume: VolumeId, capacity: int) -> VolumeInfo | None:
        """Record a capacity. A raw file that no machine has enlarged is enlarged here."""
        if not self._is_mine(volume.domain_id):
            return None
        self._begin("set_capacity", volume=volume.volume_id, capacity=capacity)
        with self._locked():
            recorded = self._read(volume)
            if capacity < recorded.capacity:
                raise InvalidArgument(argument="capacity", reason=f"it is below {recorded.capacity}")
            if recorded.format == "raw" and self.path(volume).stat().st_size < capacity:
                os.truncate(self.path(volume), capacity)
            recorded.capacity = capacity
            self._write(volume, recorded)
        return self._info(volume)

    @hookimpl
    def vdsm_set_volume_legality(self, volume: VolumeId, legality: Legality) -> VolumeInfo | None:
        """Record a legality."""
        if not self._is_mine(volume.domain_id):
            return None
        self._begin("set_legality", volume=volume.volume_id, legality=legality)
        with self._locked():
            recorded = self._read(volume)
            recorded.legality = legality
            self._write(volume, recorded)
        return self._info(volume)

    @hookimpl
    def vdsm_sync_volume_chain(self, image: VolumeId, chain: list[str]) -> list[VolumeId] | None:
        """Record the chain that QEMU uses."""
        if not self._is_mine(image.domain_id):
            return None
        self._begin("sync_chain", volume=image.volume_id, chain=chain)
        with self._locked():
            before = [each.id for each in self._chain(image)]
            known = {each.volume_id: each for each in before}
            if foreign := [name for name in chain if name not in known]:
                raise InvalidArgument(argument="chain", reason=f"{foreign[0]} is no volume of the image")
            for below, name in zip(["", *chain], chain, strict=False):
                recorded = self._read(known[name])
                recorded.parent = below
                self._write(known[name], recorded)
            dropped = [each for each in before if each.volume_id not in chain]
            for each in dropped:
                recorded = self._read(each)
                recorded.legality = "ILLEGAL"
                self._write(each, recorded)
        return dropped

    def _answer(self, operation: Operation, volume: VolumeId) -> VolumeInfo | None:
        if not self._is_mine(volume.domain_id):
            return None
        self._begin(operation, volume=volume.volume_id)
        return self._info(volume)

    def _begin(self, operation: Operation, **facts: Any) -> None:
        """Record a call, and wait or fail as the test wants it."""
        with (self.root / "calls").open("a") as record:
            record.write(json.dumps({"operation": operation, **facts}) + "\n")
        hold = self.root / "hold" / operation
        until(lambda: not hold.exists(), _HOLD, every=0.02, what=f"the end of holding {operation}")
        refusal = self.root / "refuse" / operation
        if refusal.exists():
            raise OperationFailed(reason=refusal.read_text())

    def _is_mine(self, domain_id: str) -> bool:
        return domain_id == self.domain_id

    def _create(self, volume: NewVolume, *, thin: bool = False) -> None:
        if volume.parent and volume.format != "cow":
            raise InvalidArgument(argument="format", reason="a volume with a parent is cow")
        with self._locked():
            if self._record(volume.id).exists():
                raise Conflict(reason=f"volume {volume.id.volume_id} exists already")
            path = self.path(volume.id)
            path.parent.mkdir(exist_ok=True)
            capacity = volume.capacity
            command = ["qemu-img", "create", "-q", "-f", _FORMATS[volume.format]]
            if volume.parent:
                parent = self._read(_sibling(volume.id, volume.parent))
                capacity = max(capacity, parent.capacity)
                # A plain name, as VDSM writes it: the chain stays valid wherever the folder is.
                command += ["-b", volume.parent, "-F", _FORMATS[parent.format]]
            _run(*command, path.name, str(capacity), folder=path.parent)
            recorded = _Volume(format=volume.format, capacity=capacity, parent=volume.parent, thin=thin)
            recorded.allocated = volume.initial_size
            self._write(volume.id, recorded)

    def _info(self, volume: VolumeId) -> VolumeInfo:
        recorded = self._read(volume)
        try:
            status = self.path(volume).stat()
        except FileNotFoundError:
            raise NotFound(reason=f"the file of volume {volume.volume_id} is gone") from None
        return VolumeInfo(
            id=volume,
            path=str(self.path(volume)),
            format=recorded.format,
            capacity=recorded.capacity,
            apparent_size=recorded.allocated if recorded.thin else status.st_size,
            true_size=status.st_blocks * 512,
            legality=recorded.legality,
            parent=recorded.parent,
            leaf=not self._children(volume),
            thin=recorded.thin,
            chain=self._chain(volume),
        )

    def _chain(self, volume: VolumeId) -> list[ChainVolume]:
        chain: list[ChainVolume] = []
        name = volume.volume_id
        while name:
            each = _sibling(volume, name)
            recorded = self._read(each)
            path = str(self.path(each))
            chain.insert(
                0, ChainVolume(id=each, path=path, format=recorded.format, lease=Lease(path=f"{path}.lease"))
            )
            name = recorded.parent
        return chain

    def _children(self, volume: VolumeId) -> list[str]:
        records = self.path(volume).parent.glob("*.json")
        return [path.stem for path in records if _read(path, _Volume).parent == volume.volume_id]

    def _record(self, volume: VolumeId) -> Path:
        return self.path(volume).with_name(f"{volume.volume_id}.json")

    def _read(self, volume: VolumeId) -> _Volume:
        try:
            recorded: _Volume = _read(self._record(volume), _Volume)
        except FileNotFoundError:
            raise NotFound(reason=f"there is no volume {volume.volume_id}") from None
        return recorded

    def _write(self, volume: VolumeId, recorded: _Volume) -> None:
        _write(self._record(volume), recorded)

    @property
    def _lease_file(self) -> Path:
        return self._domain / "dom_md" / "xleases"

    @property
    def _lease_index(self) -> Path:
        return self._domain / "dom_md" / "leases.json"

    def _leases(self) -> dict[str, int]:
        return _read(self._lease_index, dict[str, int]) if self._lease_index.exists() else {}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


_FOLDERS: Final = ("prepared", "hold", "refuse")


def _sibling(volume: VolumeId, volume_id: str) -> VolumeId:
    return msgspec.structs.replace(volume, volume_id=volume_id)


def _read(path: Path, type_: Any) -> Any:
    return msgspec.json.decode(path.read_bytes(), type=type_)


def _write(path: Path, value: Any) -> None:
    # Another process may read it at any moment.
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(msgspec.json.encode(value))
    new.replace(path)


def _run(*command: str, folder: Path) -> None:
    if shutil.which(command[0]) is None:
        raise OperationFailed(reason=f"{command[0]} is not installed")
    done = subprocess.run(  # noqa: S603 - the kit's own arguments
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise OperationFailed(reason=f"{' '.join(command[:2])}: {done.stderr.strip()}")
