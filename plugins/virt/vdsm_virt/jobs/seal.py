"""Removal of what makes a guest unique from its disks, with virt-sysprep: host keys, logs, names, ids."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from vdsm_bridge.call.context import Context
from vdsm_bridge.work import LongWork, Plan, Progress, Step, begin_task, exclusive
from vdsm_core.errors import OperationFailed, VdsmError
from vdsm_core.volumes import DiskId, PreparedDisk
from vdsm_core.work.record import HostJob, TaskRecord
from vdsm_virt.guestfs.guest_tools import GuestTools
from vdsm_virt.jobs.errors import StorageBusy
from vdsm_virt.jobs.storage_job import check_job_id
from vdsm_virt.jobs.volumes import Volumes
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.references import Machine as MachineReference

log = logging.getLogger(__name__)

VERB: Final = "VM.seal"
PROGRAM: Final = "virt-sysprep"
_FORMATS: Final = {"raw": "raw", "cow": "qcow2"}


class SealOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a job.

    :ivar job_id: the client's id of it
    :ivar vm_id: the machine that the disks belong to; it need not be on this host
    :ivar disks: its disks
    """

    job_id: str
    vm_id: str
    disks: tuple[DiskId, ...]


class Seals:
    """Seals the disks of machines that do not run, as host jobs."""

    def __init__(self, machines: Machines, tools: GuestTools) -> None:
        self._machines = machines
        self._volumes = Volumes(machines.hooks)
        self._tools = tools
        self._withdraw: Callable[[float], None] = lambda _grace: None

    def start(self) -> None:
        """Offer to end the jobs of an earlier daemon, which ended with it."""
        self._withdraw = self._machines.work.tasks.offer(VERB, self._resume)

    def stop(self, grace: float) -> None:
        """Withdraw the offer."""
        self._withdraw(grace)

    def begin(self, order: SealOrder, context: Context) -> None:
        """Begin a job.

        :raises JobExists: there is a host job of this id
        :raises StorageBusy: the machine runs on this host
        """
        check_job_id(self._machines.work.tasks, order.job_id)
        machine = self._machines.inventory.find(order.vm_id)
        if machine is not None and machine.status != "Down":
            raise StorageBusy(vm_id=order.vm_id, action="seal", work="a run")
        begin_task(
            self._machines.work,
            VERB,
            msgspec.json.encode(order).decode(),
            self._plan(order, lambda progress: self._seal(order, progress)),
            context,
        )

    def _plan(self, order: SealOrder, do: Callable[[Progress], str]) -> Plan:
        return Plan(
            steps=(Step(name="seal the disks", do=do, undo=lambda _progress: self._clean(order)),),
            locks=(exclusive(MachineReference(order.vm_id)),),
            # It lasts minutes: no call waits for its end, and a repeated call is answered.
            others=LongWork(beside=frozenset({VERB}), refuses=lambda verb: _refusal(order.vm_id, verb)),
            queue="long",
            listed=False,
            job=HostJob(id=order.job_id, type="virt", description="seal_vm"),
            ended=_log_end,
        )

    def _resume(self, record: TaskRecord) -> Plan:
        """Plan a job of an earlier daemon: a disk that was changed in part is not changed again."""
        order = msgspec.json.decode(record.arguments, type=SealOrder)

        def interrupted(_progress: Progress) -> str:
            raise OperationFailed(reason="the daemon ended before the job had begun")

        return self._plan(order, interrupted)

    def _seal(self, order: SealOrder, progress: Progress) -> str:
        prepared = [self._volumes.prepare(order.vm_id, disk) for disk in order.disks]
        with self._tools.working(order.job_id, PROGRAM) as folder:
            command = [PROGRAM, *(word for disk in prepared for word in _add(disk))]
            try:
                self._tools.run(folder, command, lambda _line: None, lambda: progress.stopping)
            except OperationFailed:
                progress.check()
                raise
        self._clean(order)
        return "null"

    def _clean(self, order: SealOrder) -> None:
        self._tools.clean(order.job_id)
        for disk in order.disks:
            self._volumes.release(order.vm_id, disk)


def _add(disk: PreparedDisk) -> tuple[str, ...]:
    """Return the arguments that add a disk; the format is never guessed from what a guest has written."""
    if disk.kind == "network" or disk.format is None:
        raise OperationFailed(reason=f"the disk at {disk.path} cannot be sealed: it is on the network")
    return (f"--format={_FORMATS[disk.format]}", "-a", disk.path)


def _refusal(vm_id: str, verb: str) -> VdsmError | None:
    """Return the error of a verb of the machine that arrives meanwhile; None for the one that preempts it."""
    if verb == "VM.destroy":
        return None
    return StorageBusy(vm_id=vm_id, action=verb.partition(".")[2], work="a sealing")


def _log_end(record: TaskRecord) -> None:
    if record.state == "failed":
        log.warning("Disks were not sealed: %s", record.message)
