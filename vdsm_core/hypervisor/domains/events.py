"""libvirt's domain event callbacks, as records."""

# ruff: noqa: PLR0917  # the callbacks' signatures are libvirt's
from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Final

import libvirt

from vdsm_core.hypervisor import enum_names, events
from vdsm_core.hypervisor.enum_names import word
from vdsm_core.hypervisor.events import HypervisorEvent

log = logging.getLogger(__name__)


def _lifecycle(uuid: str, name: str, event: int, detail: int) -> HypervisorEvent:
    details = enum_names.LIFECYCLE_DETAILS.get(event, {})
    return events.DomainLifecycle(uuid, name, enum_names.LIFECYCLE[event], word(details, detail))


def _watchdog(uuid: str, name: str, action: int) -> HypervisorEvent:
    return events.DomainWatchdog(uuid, name, word(enum_names.WATCHDOG, action))


def _io_error(uuid: str, name: str, path: str, alias: str, action: int, reason: Any) -> HypervisorEvent:
    return events.DomainIOError(uuid, name, path, alias, word(enum_names.IO_ERROR, action), str(reason or ""))


def _address(address: dict[str, Any]) -> events.GraphicsAddress:
    family = word(enum_names.GRAPHICS_FAMILY, address["family"])
    return events.GraphicsAddress(family, address["node"] or "", address["service"] or "")


def _graphics(
    uuid: str, name: str, phase: int, local: dict[str, Any], remote: dict[str, Any], scheme: str, subject: Any
) -> HypervisorEvent:
    pairs = tuple((str(kind), str(value)) for kind, value in subject or ())
    return events.DomainGraphics(
        uuid, name, word(enum_names.GRAPHICS, phase), _address(local), _address(remote), scheme or "", pairs
    )


def _block_job(uuid: str, name: str, disk: str, kind: int, status: int) -> HypervisorEvent:
    return events.DomainBlockJob(
        uuid, name, disk, word(enum_names.BLOCK_JOB_TYPE, kind), word(enum_names.BLOCK_JOB_STATUS, status)
    )


def _threshold(uuid: str, name: str, dev: str, path: str, threshold: int, excess: int) -> HypervisorEvent:
    return events.DomainBlockThreshold(uuid, name, dev, path or "", threshold, excess)


def _disk_change(uuid: str, name: str, old: Any, new: Any, alias: str, reason: int) -> HypervisorEvent:
    return events.DomainDiskChange(
        uuid, name, old or "", new or "", alias, word(enum_names.DISK_CHANGE, reason)
    )


def _tray_change(uuid: str, name: str, alias: str, reason: int) -> HypervisorEvent:
    return events.DomainTrayChange(uuid, name, alias, word(enum_names.TRAY_CHANGE, reason))


def _agent(uuid: str, name: str, state: int, reason: int) -> HypervisorEvent:
    return events.DomainAgent(
        uuid, name, word(enum_names.AGENT_STATE, state), word(enum_names.AGENT_REASON, reason)
    )


def _memory_failure(uuid: str, name: str, recipient: int, action: int, flags: int) -> HypervisorEvent:
    return events.DomainMemoryFailure(
        uuid,
        name,
        word(enum_names.MEMORY_FAILURE_RECIPIENT, recipient),
        word(enum_names.MEMORY_FAILURE_ACTION, action),
        bool(flags & libvirt.VIR_DOMAIN_MEMORY_FAILURE_ACTION_REQUIRED),
        bool(flags & libvirt.VIR_DOMAIN_MEMORY_FAILURE_RECURSIVE),
    )


def _job_completed(uuid: str, name: str, stats: dict[str, Any]) -> HypervisorEvent:
    operation = stats.get(libvirt.VIR_DOMAIN_JOB_OPERATION, libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN)
    return events.DomainJobCompleted(uuid, name, word(enum_names.JOB_OPERATION, operation), stats)


def _metadata(uuid: str, name: str, kind: int, uri: Any) -> HypervisorEvent:
    return events.DomainMetadata(uuid, name, word(enum_names.METADATA, kind), uri or "")


#: Makes a record of uuid, name and the callback's own arguments, by libvirt's event id.
CONVERTERS: Final[dict[int, Callable[..., HypervisorEvent]]] = {
    libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE: _lifecycle,
    libvirt.VIR_DOMAIN_EVENT_ID_REBOOT: events.DomainReboot,
    libvirt.VIR_DOMAIN_EVENT_ID_RTC_CHANGE: events.DomainRtcChange,
    libvirt.VIR_DOMAIN_EVENT_ID_WATCHDOG: _watchdog,
    libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON: _io_error,
    libvirt.VIR_DOMAIN_EVENT_ID_GRAPHICS: _graphics,
    libvirt.VIR_DOMAIN_EVENT_ID_CONTROL_ERROR: events.DomainControlError,
    libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2: _block_job,
    libvirt.VIR_DOMAIN_EVENT_ID_DISK_CHANGE: _disk_change,
    libvirt.VIR_DOMAIN_EVENT_ID_TRAY_CHANGE: _tray_change,
    libvirt.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE: events.DomainBalloon,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED: events.DomainDeviceAdded,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED: events.DomainDeviceRemoved,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED: events.DomainDeviceRemovalFailed,
    libvirt.VIR_DOMAIN_EVENT_ID_TUNABLE: events.DomainTunable,
    libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE: _agent,
    libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION: events.DomainMigrationIteration,
    libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED: _job_completed,
    libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE: _metadata,
    libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD: _threshold,
    libvirt.VIR_DOMAIN_EVENT_ID_MEMORY_FAILURE: _memory_failure,
    libvirt.VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE: events.DomainMemoryDeviceSize,
}


def register(connection: Any, announce: Callable[[HypervisorEvent], None]) -> Callable[[], None]:
    """Register a callback for each kind of domain event; return the function that deregisters them.

    Kinds of events that this libvirt does not have are left out.
    """
    registered = []
    for event_id, converter in CONVERTERS.items():
        callback = _callback(converter, announce)
        try:
            registered.append(connection.domainEventRegisterAny(None, event_id, callback, None))
        except libvirt.libvirtError as error:
            if error.get_error_code() not in (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_INVALID_ARG):
                raise
            log.debug("libvirt does not have events of kind %d: %s", event_id, error)
    return functools.partial(_deregister, connection, registered)


def _deregister(connection: Any, registered: list[int]) -> None:
    # A broken connection is no error.
    for callback_id in registered:
        try:
            connection.domainEventDeregisterAny(callback_id)
        except libvirt.libvirtError as error:
            log.debug("Deregistering an event callback: %s", error)


def _callback(
    converter: Callable[..., HypervisorEvent], announce: Callable[[HypervisorEvent], None]
) -> Callable[..., None]:
    def callback(_connection: Any, domain: Any, *arguments: Any) -> None:
        try:
            # The last argument is the opaque one of the registration.
            announce(converter(domain.UUIDString(), domain.name(), *arguments[:-1]))
        except Exception:
            # libvirt would print the traceback on stderr and forget it.
            log.exception("An event of the hypervisor cannot be understood")

    return callback
