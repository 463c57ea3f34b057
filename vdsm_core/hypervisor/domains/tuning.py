"""Shares and limits of a domain: its processors' time and places, and the throughput of its disks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import libvirt

from vdsm_core.hypervisor.connection.caller import Caller

#: The limits of a disk that libvirt and VDSM have by the same names: bytes/s and operations/s; 0 is none.
IO_LIMITS: Final = tuple(
    f"{way}_{unit}_sec" for unit in ("bytes", "iops") for way in ("total", "read", "write")
)


class Tuning:
    """Reads and sets what domains may use.

    `timeout` and the errors that every method raises are those of `Caller.call_domain`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def set_scheduler(self, uuid: str, values: Mapping[str, int], *, timeout: float | None = None) -> None:
        """Set scheduler parameters of the running machine; those that are not named stay.

        :param values: `vcpu_quota` and `vcpu_period`, in microseconds for each virtual processor
        :raises OperationInvalid: the domain is not active, or the host has no controller of processor time
        """
        self._caller.call_domain(
            uuid,
            lambda domain: domain.setSchedulerParametersFlags(dict(values), libvirt.VIR_DOMAIN_AFFECT_LIVE),
            "set_scheduler",
            timeout=timeout,
        )

    def io_limits(self, uuid: str, disk: str, *, timeout: float | None = None) -> dict[str, int]:
        """Return the limits of a disk of the running machine, by the names of `IO_LIMITS`.

        :param disk: its target, such as `vda`
        """

        def read(domain: Any) -> dict[str, int]:
            values = domain.blockIoTune(disk, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            return {name: int(values.get(name, 0)) for name in IO_LIMITS}

        return self._caller.call_domain(uuid, read, "io_limits", timeout=timeout)

    def set_io_limits(
        self, uuid: str, disk: str, limits: Mapping[str, int], *, timeout: float | None = None
    ) -> None:
        """Set limits of a disk of the running machine, by the names of `IO_LIMITS`. Others stay.

        :raises OperationInvalid: the domain is not active
        """
        self._caller.call_domain(
            uuid,
            lambda domain: domain.setBlockIoTune(disk, dict(limits), libvirt.VIR_DOMAIN_AFFECT_LIVE),
            "set_io_limits",
            timeout=timeout,
        )

    def pin_vcpu(self, uuid: str, vcpu: int, cpus: Sequence[bool], *, timeout: float | None = None) -> None:
        """Restrict a virtual processor of the running machine to processors of the host.

        :param cpus: for each processor of the host, whether it may run there
        :raises OperationInvalid: the domain is not active
        """
        self._caller.call_domain(
            uuid,
            lambda domain: domain.pinVcpuFlags(vcpu, tuple(cpus), libvirt.VIR_DOMAIN_AFFECT_LIVE),
            "pin_vcpu",
            timeout=timeout,
        )
