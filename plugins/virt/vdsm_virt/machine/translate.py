"""Events of libvirt about a machine, as events for subscribers; the inventory publishes its status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import UNSET

from vdsm_core import hypervisor
from vdsm_core.hypervisor import DomainEvent, GraphicsAddress
from vdsm_virt.api import events
from vdsm_virt.api.events import GraphicsEnd, SubjectName, VmEvent, VmJobCompleted, VmMigrationStatus

_Converter = Callable[..., VmEvent]


def events_of(event: DomainEvent, *, postcopy: bool = False) -> list[VmEvent]:
    """Return the events for subscribers that follow from one of libvirt, apart from those about the status.

    :param postcopy: the machine's guest runs on the host that it is being migrated to
    """
    if isinstance(event, hypervisor.DomainJobCompleted):
        return _job_completed(event, postcopy=postcopy)
    convert = _CONVERTERS.get(type(event))
    return [] if convert is None else [convert(event)]


def _plain(cls: type[VmEvent], *members: str, **renamed: str) -> _Converter:
    """Return a function that copies the members of these names, and those that have another name there."""
    names = {**{member: member for member in members}, **renamed}

    def convert(event: Any) -> VmEvent:
        values = {ours: getattr(event, theirs) for ours, theirs in names.items()}
        return cls(vm_id=event.uuid, vm_name=event.name, **values)

    return convert


def _graphics(event: hypervisor.DomainGraphics) -> VmEvent:
    return events.VmViewerChanged(
        vm_id=event.uuid,
        vm_name=event.name,
        phase=event.phase,
        local=_end(event.local),
        remote=_end(event.remote),
        auth_scheme=event.auth_scheme,
        subject=[SubjectName(type=kind, name=name) for kind, name in event.subject],
    )


def _end(address: GraphicsAddress) -> GraphicsEnd:
    return GraphicsEnd(family=address.family, node=address.node, service=address.service)


def _job_completed(event: hypervisor.DomainJobCompleted, *, postcopy: bool) -> list[VmEvent]:
    reported = event.stats
    completed = VmJobCompleted(
        vm_id=event.uuid,
        vm_name=event.name,
        job=event.operation,
        success=bool(reported["success"]) if "success" in reported else UNSET,
        error=reported.get("errmsg", UNSET),
        time_elapsed=reported.get("time_elapsed", UNSET),
        downtime=reported.get("downtime", UNSET),
        data_total=reported.get("data_total", UNSET),
        data_processed=reported.get("data_processed", UNSET),
    )
    if completed.job != "migration-out" or completed.success is False:
        return [completed]
    status = VmMigrationStatus(
        vm_id=event.uuid, vm_name=event.name, progress=100, postcopy=postcopy, downtime=completed.downtime
    )
    return [status, completed]


_CONVERTERS: Final[dict[type, _Converter]] = {
    hypervisor.DomainReboot: _plain(events.VmRebooted),
    hypervisor.DomainRtcChange: _plain(events.VmClockSet, "offset"),
    hypervisor.DomainWatchdog: _plain(events.VmWatchdogFired, "action"),
    hypervisor.DomainIOError: _plain(events.VmDiskFailed, "path", "alias", "action", "reason"),
    hypervisor.DomainControlError: _plain(events.VmNotControlled),
    hypervisor.DomainGraphics: _graphics,
    hypervisor.DomainBlockJob: _plain(events.VmBlockJobChanged, "disk", "type", "status"),
    hypervisor.DomainBlockThreshold: _plain(events.VmBlockThreshold, "dev", "path", "threshold", "excess"),
    hypervisor.DomainDiskChange: _plain(
        events.VmDiskSourceDropped, "old_path", "new_path", "alias", "reason"
    ),
    hypervisor.DomainTrayChange: _plain(events.VmTrayMoved, "alias", tray="reason"),
    hypervisor.DomainDeviceAdded: _plain(events.VmDeviceAdded, "alias"),
    hypervisor.DomainDeviceRemoved: _plain(events.VmDeviceRemoved, "alias"),
    hypervisor.DomainDeviceRemovalFailed: _plain(events.VmDeviceRemovalFailed, "alias"),
    hypervisor.DomainAgent: _plain(events.VmAgentChanged, "state", "reason"),
    hypervisor.DomainBalloon: _plain(events.VmBalloonMoved, "actual"),
    hypervisor.DomainMemoryDeviceSize: _plain(events.VmMemoryDeviceResized, "alias", "size"),
    hypervisor.DomainMigrationIteration: _plain(events.VmMigrationIteration, "iteration"),
    hypervisor.DomainMemoryFailure: _plain(
        events.VmMemoryFailed, "recipient", "action", "action_required", "recursive"
    ),
}
