"""A machine as the daemon knows it, and the statuses it goes through."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal

import msgspec

from vdsm_core.hypervisor import DomainStatus
from vdsm_virt.api.definition import VmStatus
from vdsm_virt.domain.metadata import Exit
from vdsm_virt.domain.read.definition import Details

#: What was asked of a machine and has not happened yet.
Asked = Literal["", "shutdown", "reboot", "destroy"]


class Reason(IntEnum):
    """Why a machine is down: VDSM's `exitReason`."""

    SUCCESS = 0
    GENERIC_ERROR = 1
    LOST_QEMU_CONNECTION = 2
    LIBVIRT_START_FAILED = 3
    MIGRATION_SUCCEEDED = 4
    SAVE_STATE_SUCCEEDED = 5
    ADMIN_SHUTDOWN = 6
    USER_SHUTDOWN = 7
    MIGRATION_FAILED = 8
    LIBVIRT_DOMAIN_MISSING = 9
    DESTROYED_ON_STARTUP = 10
    HOST_SHUTDOWN = 11


#: Where a machine may go from each status. Only somebody else can start one again that is "Down".
TRANSITIONS: Final[dict[VmStatus, frozenset[VmStatus]]] = {
    "WaitForLaunch": frozenset({"Up", "Paused", "Migration Destination", "Down"}),
    "Restoring state": frozenset({"Up", "Paused", "Down"}),
    "Migration Destination": frozenset({"Up", "Paused", "Down"}),
    "Powering up": frozenset({"Up", "Paused", "Powering down", "RebootInProgress", "Down"}),
    "Up": frozenset(
        {"Paused", "Powering down", "RebootInProgress", "Migration Source", "Saving State", "Down"}
    ),
    "Paused": frozenset({"Up", "Powering down", "Migration Source", "Saving State", "Down"}),
    "Powering down": frozenset({"Up", "Paused", "RebootInProgress", "Down"}),
    "RebootInProgress": frozenset({"Up", "Paused", "Powering down", "Down"}),
    "Migration Source": frozenset({"Up", "Paused", "Powering down", "Down"}),
    "Saving State": frozenset({"Up", "Paused", "Down"}),
    "Down": frozenset({"Up", "Paused", "Migration Destination"}),
}

#: libvirt's states in VDSM's words; a guest that suspended itself to memory does not run either.
STATUS: Final[dict[DomainStatus, VmStatus]] = {
    "nostate": "Up",
    "running": "Up",
    "blocked": "Up",
    "paused": "Paused",
    "pmsuspended": "Paused",
    "shutdown": "Powering down",
    "shutoff": "Down",
    "crashed": "Down",
}

#: Exit code, reason and message by libvirt's detail of the event that a domain stopped, or by its reason for
#: being shut off.
_EXITS: Final[dict[str, Exit]] = {
    "shutdown": Exit(0, Reason.USER_SHUTDOWN, "Shut down from inside the guest"),
    "destroyed": Exit(0, Reason.ADMIN_SHUTDOWN, "Destroyed by another client of libvirt"),
    "crashed": Exit(1, Reason.GENERIC_ERROR, "The guest crashed"),
    "failed": Exit(1, Reason.LOST_QEMU_CONNECTION, "Lost the connection to the QEMU process"),
    "migrated": Exit(0, Reason.MIGRATION_SUCCEEDED, "Migrated to another host"),
    "saved": Exit(0, Reason.SAVE_STATE_SUCCEEDED, "Its state was saved"),
    "from-snapshot": Exit(0, Reason.SUCCESS, "Reverted to a snapshot that was not running"),
}
_ASKED: Final[dict[str, Exit]] = {
    "shutdown": Exit(0, Reason.ADMIN_SHUTDOWN, "Shut down on request"),
    "destroy": Exit(0, Reason.ADMIN_SHUTDOWN, "Destroyed on request"),
}
NEVER_LAUNCHED: Final = Exit(
    1,
    Reason.LIBVIRT_START_FAILED,
    "The machine was never started: the daemon ended, or libvirt did not answer, before that",
)
NOT_RUNNING: Final = Exit(0, Reason.SUCCESS, "Not running")
MIGRATED: Final = _EXITS["migrated"]
NOT_ARRIVED: Final = Exit(1, Reason.MIGRATION_FAILED, "The migration to this host failed")
MISSING: Final = Exit(1, Reason.LIBVIRT_DOMAIN_MISSING, "libvirt does not know the machine any more")
DESTROYED_ON_STARTUP: Final = Exit(1, Reason.DESTROYED_ON_STARTUP, "Destroyed while it was being started")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One machine at one moment. `since`, `started` and `incoming` are Unix times in seconds.

    `ours`: this daemon defined it; None while that is not known. `missing`: libvirt has forgotten it.
    """

    id: str
    name: str
    status: VmStatus
    since: float
    pause_code: str = ""
    exit: Exit | None = None
    #: `exit` is libvirt's word for how it was found, not what this daemon saw.
    exit_guessed: bool = False
    started: float = 0.0
    active: bool = False
    persistent: bool = True
    ours: bool | None = None
    launching: bool = False
    missing: bool = False
    asked: Asked = ""
    #: It leaves this host.
    outgoing: bool = False
    #: Since when it is expected from another host, or comes from there; 0 of any other.
    incoming: float = 0.0
    #: Percent of its migration; -1 if it does not move.
    migration_progress: int = -1
    #: Why its last migration failed; empty if it did not.
    migration_error: str = ""
    #: Why a disk failed last, in VDSM's words; the pause that follows has this code.
    io_error: str = ""
    details: Details | None = None
    #: Counts the changes of the domain's XML, and which of them `details` know.
    xml_changes: int = 1
    xml_read: int = 0

    @property
    def stale(self) -> bool:
        """Whether `details` are older than the domain."""
        return self.xml_read < self.xml_changes


def exit_of(machine: Machine, detail: str) -> Exit:
    """How a machine ended.

    :param detail: libvirt's, of the event that it stopped
    """
    if machine.incoming and machine.asked != "destroy":
        return NOT_ARRIVED
    if machine.asked == "destroy" or (machine.asked == "shutdown" and detail in ("shutdown", "destroyed")):
        return _ASKED[machine.asked]
    return _EXITS.get(detail, Exit(1, Reason.GENERIC_ERROR, f"libvirt says: {detail}"))


def exit_found(reason: str) -> Exit:
    """How a machine ended that was found shut off.

    :param reason: libvirt's, "unknown" of a domain that has not run since libvirt was started
    """
    return _EXITS.get(reason, NOT_RUNNING)
