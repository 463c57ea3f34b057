"""Read, define again and remove the checkpoints of machines."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vdsm_core.errors import HypervisorError, InvalidArgument
from vdsm_core.hypervisor import Hypervisor, NoSuchCheckpoint, NoSuchDomain
from vdsm_virt.api.backup import Checkpoint, CheckpointInfo, CheckpointsResponse, ErrorInfo
from vdsm_virt.api.scalars import given
from vdsm_virt.errors import NoSuchVM, reason_of
from vdsm_virt.jobs.backup import document
from vdsm_virt.jobs.backup.backups import Backups, explained
from vdsm_virt.machine.inventory import Inventory

log = logging.getLogger(__name__)


class MachineCheckpoints:
    """The checkpoints that libvirt has recorded of machines."""

    def __init__(self, hypervisor: Hypervisor, inventory: Inventory, backups: Backups) -> None:
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._backups = backups

    def names(self, vm_id: str) -> list[str]:
        """Return the names, each after that of its parent."""
        self._inventory.get(vm_id)
        with explained(vm_id):
            return self._hypervisor.checkpoints.names(vm_id)

    def dump(self, vm_id: str, name: str) -> CheckpointInfo:
        """Return libvirt's document of one."""
        self._inventory.get(vm_id)
        with explained(vm_id, name):
            return CheckpointInfo(checkpoint=self._hypervisor.checkpoints.xml(vm_id, name))

    def delete(self, vm_id: str, names: Sequence[str]) -> CheckpointsResponse:
        """Remove checkpoints in order, up to the first error. One that does not exist is removed already."""
        self._inventory.get(vm_id)
        done: list[str] = []
        for name in names:
            try:
                self._hypervisor.checkpoints.delete(vm_id, name)
            except NoSuchDomain:
                raise NoSuchVM(vm_id=vm_id) from None
            except NoSuchCheckpoint:
                log.info("Checkpoint %s of machine %s does not exist", name, vm_id)
            except HypervisorError as error:
                return _stopped(done, error)
            done.append(name)
        return CheckpointsResponse(checkpoint_ids=done)

    def redefine(self, vm_id: str, checkpoints: Sequence[Checkpoint]) -> CheckpointsResponse:
        """Define checkpoints again, in order, up to the first error. Their bitmaps are in the volumes."""
        self._inventory.get(vm_id)
        documents = [
            (each.id, self._document(vm_id, each, f"checkpoints[{index}]"))
            for index, each in enumerate(checkpoints)
        ]
        done: list[str] = []
        for name, xml in documents:
            try:
                self._hypervisor.checkpoints.redefine(vm_id, xml)
            except NoSuchDomain:
                raise NoSuchVM(vm_id=vm_id) from None
            except HypervisorError as error:
                return _stopped(done, error)
            done.append(name)
        return CheckpointsResponse(checkpoint_ids=done)

    def _document(self, vm_id: str, checkpoint: Checkpoint, argument: str) -> str:
        if checkpoint.xml:
            try:
                return document.clean_checkpoint(checkpoint.xml, checkpoint.id)
            except ValueError as error:
                raise InvalidArgument(argument=f"{argument}.xml", reason=str(error)) from None
        config = given(checkpoint.config, None)
        if config is None:
            raise InvalidArgument(argument=argument, reason="it needs xml or config")
        xml = document.checkpoint(
            checkpoint.id,
            list(self._backups.disk_backups(vm_id, config)),
            parent=config.parent_checkpoint_id or config.from_checkpoint_id or "",
            created=None if (created := given(config.creation_time, None)) is None else int(created),
        )
        if xml is None:
            raise InvalidArgument(argument=f"{argument}.config", reason="none of its disks has a checkpoint")
        return xml


def _stopped(done: list[str], error: HypervisorError) -> CheckpointsResponse:
    code = error.facts.get("libvirt_code", error.code)
    return CheckpointsResponse(checkpoint_ids=done, error=ErrorInfo(code=int(code), message=reason_of(error)))
