"""The job that libvirt runs on a domain: a migration, a save, a dump, a backup."""

from __future__ import annotations

from typing import Any, Final

import libvirt

from vdsm_core.hypervisor import enum_names
from vdsm_core.hypervisor.connection.caller import Caller
from vdsm_core.hypervisor.models import DomainJob

_ENDED: Final[dict[int, Any]] = {
    libvirt.VIR_DOMAIN_JOB_NONE: "none",
    libvirt.VIR_DOMAIN_JOB_COMPLETED: "completed",
    libvirt.VIR_DOMAIN_JOB_FAILED: "failed",
    libvirt.VIR_DOMAIN_JOB_CANCELLED: "cancelled",
}


class Jobs:
    """Reads and aborts the jobs of domains.

    `timeout` and the errors that every method raises are those of `Caller.call_domain`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def get(self, uuid: str, *, timeout: float | None = None) -> DomainJob:
        """Return the job that libvirt runs on a domain.

        :raises OperationUnsupported: the driver has no jobs; or the domain is coming from another host
        """
        return self._caller.call_domain(uuid, lambda domain: _job(domain.jobStats()), "job", timeout=timeout)

    def abort(self, uuid: str, *, timeout: float | None = None) -> None:
        """Abort the job that libvirt runs on a domain. Preempts overdue calls on the domain.

        :raises OperationInvalid: libvirt runs none, or it is too late
        """
        self._caller.call_domain(
            uuid, lambda domain: domain.abortJob(), "abort_job", timeout=timeout, urgent=True
        )


def _job(stats: dict[str, Any]) -> DomainJob:
    return DomainJob(
        state=_ENDED.get(stats["type"], "running"),
        operation=enum_names.word(enum_names.JOB_OPERATION, stats.get(libvirt.VIR_DOMAIN_JOB_OPERATION, 0)),
        elapsed=stats.get(libvirt.VIR_DOMAIN_JOB_TIME_ELAPSED, 0),
        total=stats.get(libvirt.VIR_DOMAIN_JOB_DATA_TOTAL, 0),
        processed=stats.get(libvirt.VIR_DOMAIN_JOB_DATA_PROCESSED, 0),
        remaining=stats.get(libvirt.VIR_DOMAIN_JOB_DATA_REMAINING, 0),
        iteration=stats.get(libvirt.VIR_DOMAIN_JOB_MEMORY_ITERATION, 0),
    )
