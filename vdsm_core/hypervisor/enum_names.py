"""Names of the values of libvirt's enumerations.

The names are derived from libvirt's constants (`VIR_DOMAIN_EVENT_SUSPENDED_API_ERROR` is "api-error"), read
from the installed binding, so that values of a newer libvirt need no change here.
"""

from __future__ import annotations

from typing import Any, Final

import libvirt


def _names(prefix: str, without: tuple[str, ...] = ()) -> dict[int, str]:
    excluded = tuple(f"{prefix}{rest}" for rest in without)
    return {
        value: name.removeprefix(prefix).lower().replace("_", "-")
        for name, value in vars(libvirt).items()
        if name.startswith(prefix) and isinstance(value, int) and name not in excluded
    }


STATES: Final[dict[int, Any]] = {
    libvirt.VIR_DOMAIN_NOSTATE: "nostate",
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "blocked",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_SHUTDOWN: "shutdown",
    libvirt.VIR_DOMAIN_SHUTOFF: "shutoff",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "pmsuspended",
}
REASONS: Final[dict[int, dict[int, str]]] = {
    libvirt.VIR_DOMAIN_RUNNING: _names("VIR_DOMAIN_RUNNING_"),
    libvirt.VIR_DOMAIN_PAUSED: _names("VIR_DOMAIN_PAUSED_"),
    # The prefix is shared with the flags of virDomainShutdownFlags.
    libvirt.VIR_DOMAIN_SHUTDOWN: {libvirt.VIR_DOMAIN_SHUTDOWN_USER: "user"},
    libvirt.VIR_DOMAIN_SHUTOFF: _names("VIR_DOMAIN_SHUTOFF_"),
    libvirt.VIR_DOMAIN_CRASHED: _names("VIR_DOMAIN_CRASHED_"),
}
LIFECYCLE: Final[dict[int, Any]] = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: "defined",
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: "undefined",
    libvirt.VIR_DOMAIN_EVENT_STARTED: "started",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "suspended",
    libvirt.VIR_DOMAIN_EVENT_RESUMED: "resumed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED: "stopped",
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN: "shutdown",
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: "pmsuspended",
    libvirt.VIR_DOMAIN_EVENT_CRASHED: "crashed",
}
LIFECYCLE_DETAILS: Final[dict[int, dict[int, str]]] = {
    event: _names(f"VIR_DOMAIN_EVENT_{name.upper()}_") for event, name in LIFECYCLE.items()
}
WATCHDOG: Final = _names("VIR_DOMAIN_EVENT_WATCHDOG_")
IO_ERROR: Final = _names("VIR_DOMAIN_EVENT_IO_ERROR_")
GRAPHICS: Final = _names("VIR_DOMAIN_EVENT_GRAPHICS_", ("ADDRESS_IPV4", "ADDRESS_IPV6", "ADDRESS_UNIX"))
GRAPHICS_FAMILY: Final = _names("VIR_DOMAIN_EVENT_GRAPHICS_ADDRESS_")
BLOCK_JOB_TYPE: Final = _names("VIR_DOMAIN_BLOCK_JOB_TYPE_")
BLOCK_JOB_STATUS: Final = {
    libvirt.VIR_DOMAIN_BLOCK_JOB_COMPLETED: "completed",
    libvirt.VIR_DOMAIN_BLOCK_JOB_FAILED: "failed",
    libvirt.VIR_DOMAIN_BLOCK_JOB_CANCELED: "canceled",
    libvirt.VIR_DOMAIN_BLOCK_JOB_READY: "ready",
}
DISK_CHANGE: Final = _names("VIR_DOMAIN_EVENT_DISK_")
TRAY_CHANGE: Final = _names("VIR_DOMAIN_EVENT_TRAY_CHANGE_")
AGENT_STATE: Final = _names("VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_")
AGENT_REASON: Final = _names("VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_REASON_")
MEMORY_FAILURE_RECIPIENT: Final = _names("VIR_DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_")
MEMORY_FAILURE_ACTION: Final = _names("VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_")
JOB_OPERATION: Final = _names("VIR_DOMAIN_JOB_OPERATION_")
METADATA: Final = _names("VIR_DOMAIN_METADATA_")
CLOSE_REASON: Final = {
    libvirt.VIR_CONNECT_CLOSE_REASON_ERROR: "the connection failed",
    libvirt.VIR_CONNECT_CLOSE_REASON_EOF: "libvirt closed the connection",
    libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE: "libvirt stopped answering keepalive probes",
    libvirt.VIR_CONNECT_CLOSE_REASON_CLIENT: "the connection was closed on this side",
}


def word(table: dict[int, str], number: int) -> str:
    """Return the name of a number; the number itself if the installed binding has no name for it."""
    return table.get(number) or str(number)


def reason(state: int, number: int) -> str:
    """Return why a domain is in a state."""
    return REASONS.get(state, {}).get(number, "unknown")


def version(number: int) -> str:
    """Return libvirt's 1000000 * x + 1000 * y + z as "x.y.z"."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
