"""Machines that are started with their host."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_core.errors import VdsmError
from vdsm_core.volumes import DiskId
from vdsm_core.work.references import exclusive
from vdsm_virt.definitions.errors import AutostartRefused, CannotStartVM, NotAdopted
from vdsm_virt.domain import metadata
from vdsm_virt.domain.elements import parse
from vdsm_virt.domain.metadata import Metadata
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.references import ALL
from vdsm_virt.machine.references import Machine as MachineReference
from vdsm_virt.machine.refusals import as_machine
from vdsm_virt.machine.runs import boot_id

log = logging.getLogger(__name__)

#: File systems that several hosts may have mounted.
_SHARED: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "ceph", "gfs2", "ocfs2", "lustre", "gpfs", "9p", "virtiofs", "afs"}
)
_SHARED_PREFIX: Final = "fuse."
#: Seconds that a start waits for other work on the machine.
_PATIENCE: Final = 30.0
_MOUNTS: Final = "proc/mounts"
#: The file that has the id of the boot in which machines were started.
_DONE: Final = "autostart.boot"


def read_mounts(root: Path) -> str:
    """Return what the kernel lists as mounted; empty if it cannot be read."""
    try:
        return (root / _MOUNTS).read_text(errors="replace")
    except OSError:
        return ""


def obstacle(domain: Element, known: Metadata, mounts: str) -> str:
    """Return why a host must not start a machine by itself; empty if it may.

    While the host was away, another one may have started the machine: nothing here would notice.

    :param mounts: the text of `/proc/mounts`
    """
    if domain.find("devices/lease") is not None:
        return "it holds a lease, so that another host may run it"
    for disk in domain.iterfind("devices/disk"):
        target, source = disk.find("target"), disk.find("source")
        name = target.get("dev", "") if target is not None else ""
        if DiskId.read(known.devices.get(name, {})):
            return f"disk {name} is an image of a storage domain, which other hosts may use"
        if source is None or disk.find("readonly") is not None:
            continue
        if disk.find("shareable") is not None:
            return f"disk {name} is shared"
        kind = disk.get("type", "file")
        path = source.get("file", "")
        if kind != "file" or not path:
            return f"disk {name} is of type '{kind}', which other hosts may use"
        if system := shared_file_system(path, mounts):
            return f"disk {name} is on a file system of type '{system}', which other hosts may use"
    return ""


def shared_file_system(path: str, mounts: str) -> str:
    """Return the type of the file system of a path if several hosts may have it; otherwise empty."""
    where = PurePosixPath(os.path.realpath(path))
    best, found = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = PurePosixPath(fields[1].encode().decode("unicode_escape", "replace"))
        # Of several mounts at one place, the last one is seen.
        if len(place.parts) >= best and where.is_relative_to(place):
            best, found = len(place.parts), fields[2]
    return found if found in _SHARED or found.startswith(_SHARED_PREFIX) else ""


class Autostart:
    """Starts machines once after each boot of the host, if that was wanted of them.

    :param root: where the host's files are
    :param run_dir: a folder that is empty after a boot
    :param start: starts a machine that is down, whose lock is held
    """

    def __init__(self, machines: Machines, root: Path, run_dir: str, start: Callable[[str], object]) -> None:
        self._machines = machines
        self._root = root
        self._mark = Path(run_dir, _DONE) if run_dir else None
        self._start = start

    def get(self, vm_id: str) -> bool:
        """Return whether a machine is started with the host, by this daemon or by libvirt."""
        machine = self._machines.mirror.fresh(self._machines.inventory.get(vm_id))
        if _facts(machine).autostart:
            return True
        if machine.missing or not machine.persistent:
            return False
        with as_machine(self._machines.hypervisor, vm_id, "read"):
            return self._machines.hypervisor.definitions.autostart(vm_id)

    def set(self, vm_id: str, *, enabled: bool) -> None:
        """Let a machine be started with the host, or not.

        :raises AutostartRefused: it has leases or may be on shared storage
        """
        machine = self._machines.mirror.fresh(self._machines.inventory.get(vm_id))
        definitions = self._machines.hypervisor.definitions
        if not enabled:
            with as_machine(self._machines.hypervisor, vm_id, "change"):
                if machine.persistent and not machine.missing and definitions.autostart(vm_id):
                    definitions.set_autostart(vm_id, enabled=False)
                if _facts(machine).autostart:
                    self._machines.mirror.change_metadata(vm_id, lambda now: _with(now, enabled=False))
            return
        if not machine.ours:
            raise NotAdopted(vm_id=vm_id, action="autostart")
        if machine.missing or not machine.persistent:
            raise AutostartRefused(vm_id=vm_id, reason="libvirt does not keep its definition")
        self._check(vm_id)
        with as_machine(self._machines.hypervisor, vm_id, "change"):
            self._machines.mirror.change_metadata(vm_id, lambda now: _with(now, enabled=True))

    def look(self) -> None:
        """Start the machines in the background, if that has not happened since the host was booted."""
        boot = boot_id(self._root)
        if self._mark is None or not boot or self._done(boot):
            return
        self._machines.jobs.plan(
            "starting machines with the host", lambda: self._start_all(boot), of=ALL, second="not needed"
        )

    def _done(self, boot: str) -> bool:
        try:
            return self._mark is None or self._mark.read_text().strip() == boot
        except OSError:
            return False

    def _start_all(self, boot: str) -> None:
        if self._mark is None or self._done(boot):
            return
        try:
            # Before the first one: a daemon that fails here does not start again what was stopped since.
            self._mark.write_text(boot)
        except OSError as error:
            log.warning("No machine is started with the host: cannot write %s: %s", self._mark, error)
            return
        for machine in self._machines.inventory.all():
            try:
                if machine.status != "Down" or machine.missing:
                    continue
                if not _facts(self._machines.mirror.fresh(machine)).autostart:
                    continue
                # Disks may have been plugged in since it was allowed.
                locks = [exclusive(MachineReference(machine.id))]
                deadline = time.monotonic() + _PATIENCE
                with self._machines.work.locks.holding(locks, "VM.start", deadline=deadline):
                    self._check(machine.id)
                    self._start(machine.id)
            except VdsmError as error:
                log.warning(
                    "Machine %s (%s) is not started with the host: %s", machine.id, machine.name, error
                )

    def _check(self, vm_id: str) -> None:
        with as_machine(self._machines.hypervisor, vm_id, "read"):
            text = self._machines.hypervisor.definitions.xml(vm_id, inactive=True)
        try:
            domain = parse(text)
        except ValueError as error:
            raise CannotStartVM(vm_id=vm_id, reason=f"its definition cannot be read: {error}") from None
        if reason := obstacle(domain, metadata.read(domain) or Metadata(), read_mounts(self._root)):
            raise AutostartRefused(vm_id=vm_id, reason=reason)


def _facts(machine: Machine) -> Metadata:
    known = machine.details.metadata if machine.details is not None else None
    return known or Metadata()


def _with(known: Metadata, *, enabled: bool) -> Metadata:
    return msgspec.structs.replace(known, autostart=enabled)
