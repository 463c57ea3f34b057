"""The devices of a domain: at present its virtual CPUs and the balloon."""

from __future__ import annotations

from typing import Any

import libvirt

from vdsm_core.hypervisor.connection.caller import Caller


class Devices:
    """Changes the devices of domains.

    `timeout` and the errors that every method raises are those of `Caller.call_domain`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def set_vcpus(self, uuid: str, count: int, *, timeout: float | None = None) -> None:
        """Switch virtual CPUs on or off, in the running machine and in the kept definition.

        :raises OperationInvalid: the domain is not active
        """
        self._caller.call_domain(
            uuid, lambda domain: domain.setVcpusFlags(count, _affected(domain)), "set_vcpus", timeout=timeout
        )

    def set_memory(self, uuid: str, kib: int, *, timeout: float | None = None) -> None:
        """Ask the balloon to leave the guest `kib` KiB. The kept definition stays.

        :raises OperationInvalid: the domain is not active
        """
        flags = libvirt.VIR_DOMAIN_AFFECT_LIVE
        self._caller.call_domain(
            uuid, lambda domain: domain.setMemoryFlags(kib, flags), "set_memory", timeout=timeout
        )


def _affected(domain: Any) -> int:
    """Return the flags that change the running machine and, if there is one, the kept definition."""
    flags: int = libvirt.VIR_DOMAIN_AFFECT_LIVE
    return flags | libvirt.VIR_DOMAIN_AFFECT_CONFIG if domain.isPersistent() else flags
