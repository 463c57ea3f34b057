"""The conversions of machines to this host, as tasks with ids that the client chose."""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from vdsm_bridge.call.context import Context
from vdsm_bridge.work import Plan, Progress, Step, begin_task
from vdsm_core.errors import NoSuchTask, OperationFailed, TaskStateError
from vdsm_core.hooks.manager import Hooks
from vdsm_core.secret import Secret
from vdsm_core.volumes import DiskId
from vdsm_core.work.engine import Engine
from vdsm_core.work.record import TaskRecord
from vdsm_virt.api.imports import ImportJob, ImportParams
from vdsm_virt.api.scalars import given
from vdsm_virt.devices.images import Images
from vdsm_virt.errors import ImportJobExists, ImportJobNotDone, NoSuchImportJob, NoSuchOvf
from vdsm_virt.imports.virt_v2v import V2VDisk, V2VOrder, VirtV2V

log = logging.getLogger(__name__)

VERB: Final = "Host.convertExternalVm"
Status = Literal["starting", "copying_disk", "done", "error", "aborted"]
#: Jobs that are kept after their end, the newest.
_MAX_ENDED: Final = 100


class ConversionOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a conversion: all but the password.

    :ivar job_id: the client's id of it
    :ivar source: virt-v2v's arguments for where the machine is
    :ivar name: the machine's name there; empty if the source has one machine only
    :ivar vm_id: the id that it gets here
    :ivar disks: the volumes that it is copied to
    :ivar layout: their format, "raw" or "qcow2"
    :ivar sparse: whether holes stay holes
    :ivar compat: version of qcow2; empty for the default
    :ivar drivers: path of an ISO image with drivers; empty for none
    """

    job_id: str
    source: tuple[str, ...]
    name: str
    vm_id: str
    disks: tuple[DiskId, ...]
    layout: str
    sparse: bool
    compat: str
    drivers: str

    @classmethod
    def read(
        cls, job_id: str, source: tuple[str, ...], params: ImportParams, *, name: str, drivers: str
    ) -> ConversionOrder:
        """Return the order that a client's parameters stand for."""
        return cls(
            job_id=job_id,
            source=source,
            name=name,
            vm_id=given(params.vm_id, "") or str(uuid.uuid4()),
            disks=tuple(
                DiskId(
                    pool_id=params.pool_id,
                    domain_id=params.domain_id,
                    image_id=disk.image_id,
                    volume_id=disk.volume_id,
                )
                for disk in params.disks
            ),
            layout="qcow2" if params.format.lower() == "cow" else "raw",
            sparse=params.allocation.lower() == "sparse",
            compat=given(params.qcow2_compat, "") or "",
            drivers=drivers,
        )


class _Conversion:
    """One job, in one life of the daemon."""

    def __init__(self, order: ConversionOrder) -> None:
        self.order = order
        self.task_id = ""
        self.status: Status = "starting"
        self.description = "Waiting"
        self.progress = 0

    @property
    def ended(self) -> bool:
        return self.status in ("done", "error", "aborted")

    def job(self) -> ImportJob:
        return ImportJob(
            id=self.order.job_id, status=self.status, description=self.description, progress=self.progress
        )


class Conversions:
    """Begins conversions, and reports on them.

    A task is not listed among the tasks of the host: `v2vJobs` of the statistics has it.

    :param folder: where the OVF documents of finished jobs are kept
    """

    def __init__(self, work: Engine, hooks: Hooks, program: VirtV2V, folder: Path) -> None:
        self._work = work
        self._images = Images(hooks)
        self._program = program
        self._folder = folder
        self._lock = threading.Lock()
        self._known: dict[str, _Conversion] = {}
        self._withdraw: Callable[[float], None] = lambda _grace: None

    def start(self) -> None:
        """Offer to end the conversions of an earlier daemon, which ended with it."""
        self._withdraw = self._work.tasks.offer(VERB, self._resume)

    def stop(self, grace: float) -> None:
        """Withdraw the offer."""
        self._withdraw(grace)

    def begin(self, order: ConversionOrder, password: Secret | None, context: Context) -> None:
        """Begin a conversion.

        :raises ImportJobExists: there is one of this id
        """
        conversion = _Conversion(order)
        with self._lock:
            if order.job_id in self._known:
                raise ImportJobExists(job_id=order.job_id)
            self._known[order.job_id] = conversion
            self._forget_old()
        arguments = msgspec.json.encode(order).decode()
        try:
            plan = self._plan(conversion, password)
            conversion.task_id = begin_task(self._work, VERB, arguments, plan, context)
        except BaseException:
            with self._lock:
                del self._known[order.job_id]
            raise

    def jobs(self) -> dict[str, ImportJob]:
        """Return all jobs by their ids."""
        with self._lock:
            return {job_id: conversion.job() for job_id, conversion in self._known.items()}

    def ovf(self, job_id: str) -> str:
        """Return the OVF document of a finished job.

        :raises NoSuchImportJob: there is no job of this id
        :raises ImportJobNotDone: it is under way, or has failed
        :raises NoSuchOvf: the document is not there any more
        """
        conversion = self._get(job_id)
        if conversion.status != "done":
            raise ImportJobNotDone(job_id=job_id, status=conversion.status)
        try:
            return self._document(job_id).read_text("utf-8")
        except OSError as error:
            raise NoSuchOvf(job_id=job_id, reason=error.strerror or str(error)) from None

    def abort(self, job_id: str) -> None:
        """Ask a job to stop. One that has ended stays as it is.

        :raises NoSuchImportJob: there is no job of this id
        """
        conversion = self._get(job_id)
        if not conversion.ended and conversion.task_id:
            with contextlib.suppress(NoSuchTask, TaskStateError):
                self._work.tasks.abort(conversion.task_id)

    def delete(self, job_id: str) -> None:
        """Forget a job that has ended, with its document.

        :raises NoSuchImportJob: there is no job of this id
        :raises ImportJobNotDone: it is under way
        """
        conversion = self._get(job_id)
        if not conversion.ended:
            raise ImportJobNotDone(job_id=job_id, status=conversion.status)
        with self._lock:
            self._known.pop(job_id, None)
        self._document(job_id).unlink(missing_ok=True)

    def _get(self, job_id: str) -> _Conversion:
        with self._lock:
            conversion = self._known.get(job_id)
        if conversion is None:
            raise NoSuchImportJob(job_id=job_id)
        return conversion

    def _document(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.ovf"

    def _forget_old(self) -> None:
        ended = [job_id for job_id, conversion in self._known.items() if conversion.ended]
        for job_id in ended[:-_MAX_ENDED]:
            del self._known[job_id]
            self._document(job_id).unlink(missing_ok=True)

    def _plan(self, conversion: _Conversion, password: Secret | None) -> Plan:
        order = conversion.order

        def convert(progress: Progress) -> str:
            self._convert(conversion, password, progress)
            return "null"

        return Plan(
            steps=(
                Step(
                    name="copy and convert the disks",
                    do=convert,
                    undo=lambda _progress: self._clean(order),
                ),
            ),
            queue="long",
            listed=False,
            ended=lambda record: self._ended(conversion, record),
        )

    def _convert(self, conversion: _Conversion, password: Secret | None, progress: Progress) -> None:
        order = conversion.order

        def report(percent: int, message: str) -> None:
            conversion.status, conversion.description = "copying_disk", message
            conversion.progress = max(conversion.progress, percent)
            progress.report(percent, message)

        disks = []
        for disk in order.disks:
            prepared = self._images.prepare(order.vm_id, disk)
            disks.append(V2VDisk(image_id=disk.image_id, volume_id=disk.volume_id, path=prepared.path))
        converted = V2VOrder(
            source=order.source,
            name=order.name,
            vm_id=order.vm_id,
            domain_id=order.disks[0].domain_id,
            disks=tuple(disks),
            layout=order.layout,
            sparse=order.sparse,
            compat=order.compat,
            drivers=order.drivers,
        )
        try:
            ovf = self._program.convert(order.job_id, converted, password, report, lambda: progress.stopping)
        except OperationFailed:
            progress.check()
            raise
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._document(order.job_id).write_text(ovf, "utf-8")
        self._release(order)

    def _clean(self, order: ConversionOrder) -> None:
        self._program.clean(order.job_id)
        self._release(order)

    def _release(self, order: ConversionOrder) -> None:
        for disk in order.disks:
            self._images.release(order.vm_id, disk)

    def _resume(self, record: TaskRecord) -> Plan:
        """Plan a conversion of an earlier daemon: what it left is removed, and it ends with an error."""
        order = msgspec.json.decode(record.arguments, type=ConversionOrder)
        conversion = _Conversion(order)
        conversion.task_id = record.id
        with self._lock:
            self._known[order.job_id] = conversion

        def interrupted(_progress: Progress) -> Any:
            raise OperationFailed(reason="the daemon ended before the conversion had begun")

        plan = self._plan(conversion, None)
        return msgspec.structs.replace(plan, steps=(msgspec.structs.replace(plan.steps[0], do=interrupted),))

    def _ended(self, conversion: _Conversion, record: TaskRecord) -> None:
        if record.state == "finished":
            conversion.progress = 100
            conversion.status, conversion.description = "done", "Done"
        elif record.state == "recovered":
            conversion.status, conversion.description = "aborted", "Aborted on request"
        else:
            conversion.status, conversion.description = "error", record.message
            log.warning("Import %s has failed: %s", conversion.order.job_id, record.message)
