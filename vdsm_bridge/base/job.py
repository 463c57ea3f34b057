"""Host jobs: VDSM's second form of long work, under ids that the client chooses."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vdsm_core.types import UUID, Record
from vdsm_core.work.record import HostJob, TaskRecord, job_status_of

#: Seconds that a job is shown after its end; VDSM's time for jobs of virtual machines.
KEPT: Final = 3600.0

JobType = Literal["storage", "virt", "v2v"]


class HostJobError(Record, frozen=True):
    """The error that a job ended with."""

    code: int
    message: str


class HostJobInfo(Record, frozen=True):
    """A host job. `job_type` is the part of the host that works on it; `error` is there for a failed one."""

    id: UUID
    status: Literal["pending", "running", "done", "aborting", "aborted", "failed"]
    description: str
    job_type: str = msgspec.field(name="job_type")
    progress: Annotated[int, Meta(ge=0, le=100, extra_json_schema={"x-unit": "%"})] | UnsetType = UNSET
    error: HostJobError | UnsetType = UNSET


def job_infos(records: Iterable[TaskRecord], job_type: str, job_ids: Sequence[str]) -> dict[str, HostJobInfo]:
    """Return the host jobs among tasks, by their ids.

    :param job_type: only those of this type; empty for any
    :param job_ids: only those of these ids; empty for any
    """
    now = time.time()
    wanted = {each.lower() for each in job_ids}
    return {
        record.job.id: _info(record, record.job)
        for record in records
        if record.job is not None
        and job_type in ("", record.job.type)
        and (not wanted or record.job.id in wanted)
        and not (record.done and record.ended + KEPT < now)
    }


def _info(record: TaskRecord, job: HostJob) -> HostJobInfo:
    status = job_status_of(record, job)
    error = status.error
    return HostJobInfo(
        id=status.id,
        status=status.status,
        description=status.description,
        job_type=status.job_type,
        progress=status.progress,
        error=UNSET if isinstance(error, UnsetType) else HostJobError(code=error.code, message=error.message),
    )
