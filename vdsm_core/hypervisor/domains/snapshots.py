"""External snapshots of a domain, and the guest's file systems that are frozen for them."""

from __future__ import annotations

from typing import Any, Final

import libvirt

from vdsm_core.hypervisor.connection.caller import Caller
from vdsm_core.hypervisor.connection.workers import Pending

#: The volumes exist already, and libvirt keeps no record of the snapshot: storage does.
_ALWAYS: Final[int] = (
    libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
)


class Snapshots:
    """Takes snapshots of domains.

    `timeout` and the errors that every method raises are those of `Caller.call_domain`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def begin(self, uuid: str, xml: str, *, memory: bool) -> Pending:
        """Start a snapshot. The call lasts until it is done or has failed.

        If this process ends, libvirt carries on.

        :param xml: a `<domainsnapshot>` document; its volumes exist, each with its backing volume
        :param memory: whether the document names a file for the memory; else only disks are in the snapshot
        :raises HypervisorUnavailable: libvirt is not reached
        :raises ResourceExhausted: too many calls are under way
        """
        flags = _ALWAYS | (0 if memory else libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY)

        def taken(connection: Any) -> None:
            connection.lookupByUUIDString(uuid).snapshotCreateXML(xml, flags)

        return self._caller.begin(taken, "snapshot", f"(snapshot of {uuid.lower()})")

    def freeze(self, uuid: str, *, timeout: float | None = None) -> int:
        """Freeze the guest's file systems through the guest agent; return how many are frozen.

        :raises AgentUnavailable: none answers
        :raises OperationUnsupported: the domain has no channel for an agent
        """
        return self._caller.call_domain(
            uuid, lambda domain: int(domain.fsFreeze()), "freeze", timeout=timeout
        )

    def thaw(self, uuid: str, *, timeout: float | None = None) -> int:
        """Thaw the guest's file systems; return how many were frozen. A guest that is not frozen is no error.

        :raises AgentUnavailable: none answers
        :raises OperationUnsupported: the domain has no channel for an agent
        """
        return self._caller.call_domain(uuid, lambda domain: int(domain.fsThaw()), "thaw", timeout=timeout)
