"""The record of a machine, and how machines end."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal

import msgspec

from vdsm_core.hypervisor import DomainStatus
from vdsm_virt.api.definition import VmStatus
from vdsm_virt.domain.metadata import Exit
from vdsm_virt.domain.read.definition import Details
from vdsm_virt.domain.run import Run

#: What was asked of a machine, or decided about it, and has not happened yet.
Asked = Literal[
    "", "shutdown", "reboot", "destroy", "no reboot", "no longer paused", "no longer in post-copy"
]


class Reason(IntEnum):
    """Why a machine is down: VDSM's `exitReason`."""

    #: VDSM defines it, and has set it for no machine since it has reasons.
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
    POSTCOPY_MIGRATION_FAILED = 12
    DESTROYED_ON_REBOOT = 13
    DESTROYED_ON_PAUSE_TIMEOUT = 14


#: libvirt's states in VDSM's words, of a domain that a QEMU process holds. What decides is the process: a
#: guest that suspended itself to memory, or that crashed and is preserved, is there and does not run.
STATUS: Final[dict[DomainStatus, VmStatus]] = {
    "nostate": "Up",
    "running": "Up",
    "blocked": "Up",
    "paused": "Paused",
    "pmsuspended": "Paused",
    "crashed": "Paused",
    "shutdown": "Powering down",
    "shutoff": "Down",
}

_QEMU_LOST: Final = Exit(1, Reason.LOST_QEMU_CONNECTION, "QEMU ended unexpectedly: it crashed, or was killed")
#: How a machine ended, by libvirt's word: the detail of the event that it stopped, and the reason for which a
#: domain is shut off. One end may have either word of QEMU's own end, so both mean the same.
ENDINGS: Final[dict[str, Exit]] = {
    "shutdown": Exit(0, Reason.USER_SHUTDOWN, "Shut down from inside the guest"),
    "destroyed": Exit(0, Reason.ADMIN_SHUTDOWN, "Destroyed by another client of libvirt"),
    "crashed": _QEMU_LOST,
    "failed": _QEMU_LOST,
    "daemon": Exit(1, Reason.LOST_QEMU_CONNECTION, "libvirt ended QEMU, which it could not reach"),
    "migrated": Exit(0, Reason.MIGRATION_SUCCEEDED, "Migrated to another host"),
    "saved": Exit(0, Reason.SAVE_STATE_SUCCEEDED, "Its state was saved"),
    "from-snapshot": Exit(1, Reason.GENERIC_ERROR, "Reverted to a snapshot that was not running"),
}
#: The words of which one is libvirt's event and the other its reason, for the same end.
_SAME_END: Final = frozenset({"crashed", "failed", "daemon"})
#: How a machine ended that was asked to, by what was asked.
_ASKED: Final[dict[str, Exit]] = {
    "shutdown": Exit(0, Reason.ADMIN_SHUTDOWN, "Shut down on request"),
    "destroy": Exit(0, Reason.ADMIN_SHUTDOWN, "Destroyed on request"),
    "no reboot": Exit(0, Reason.DESTROYED_ON_REBOOT, "Destroyed instead of a reboot, as was requested"),
    "no longer paused": Exit(
        1, Reason.DESTROYED_ON_PAUSE_TIMEOUT, "Destroyed: it was paused by an I/O error for too long"
    ),
    "no longer in post-copy": Exit(
        1, Reason.POSTCOPY_MIGRATION_FAILED, "Destroyed: its migration failed in post-copy"
    ),
}
#: What has a machine destroyed, so that whatever libvirt's word for it, that was why.
_DESTROYING: Final = frozenset(_ASKED) - {"shutdown"}
NEVER_LAUNCHED: Final = Exit(
    1,
    Reason.LIBVIRT_START_FAILED,
    "The machine was never started: the daemon ended, or libvirt did not answer, before that",
)
START_FAILED: Final = Exit(1, Reason.LIBVIRT_START_FAILED, "libvirt could not start it")
NOT_RUNNING: Final = Exit(0, Reason.SUCCESS, "Not running")
MIGRATED: Final = ENDINGS["migrated"]
NOT_ARRIVED: Final = Exit(1, Reason.MIGRATION_FAILED, "The migration to this host failed")
POSTCOPY_FAILED: Final = Exit(
    1,
    Reason.POSTCOPY_MIGRATION_FAILED,
    "The post-copy migration failed: the memory of the guest is split between two hosts",
)
MISSING: Final = Exit(1, Reason.LIBVIRT_DOMAIN_MISSING, "libvirt does not know the machine any more")
DESTROYED_ON_STARTUP: Final = Exit(0, Reason.DESTROYED_ON_STARTUP, "Destroyed while it was being started")
ENDED_AT_ONCE: Final = Exit(1, Reason.GENERIC_ERROR, "The machine ended as soon as it was started")
PANICKED: Final = Exit(1, Reason.GENERIC_ERROR, "The guest crashed")
QEMU_TERMINATED: Final = Exit(
    1, Reason.HOST_SHUTDOWN, "QEMU was ended by a signal, as when the host shuts down"
)
HOST_STOPPED: Final = Exit(1, Reason.HOST_SHUTDOWN, "The host stopped, or lost its power, while it ran")
END_UNSEEN: Final = Exit(1, Reason.LOST_QEMU_CONNECTION, "It ended while neither the daemon nor libvirt ran")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One machine at one moment. `since`, `started`, `incoming` and `*_at` are Unix times in seconds.

    `ours`: this daemon defined it; None while that is not known. `missing`: libvirt has forgotten it.
    `exit`, `started` and all about a pause belong to its newest run: the next one begins without them.
    """

    id: str
    name: str
    status: VmStatus
    since: float
    pause_code: str = ""
    exit: Exit | None = None
    #: `exit` is what libvirt reported when it was found, not what this daemon saw.
    exit_guessed: bool = False
    #: libvirt's word for how it ended; empty while it runs, or if libvirt has none.
    ended_as: str = ""
    #: When the guest began to run.
    started: float = 0.0
    #: When it was paused; 0 if it is not.
    paused_at: float = 0.0
    active: bool = False
    persistent: bool = True
    ours: bool | None = None
    launching: bool = False
    missing: bool = False
    asked: Asked = ""
    #: Until when the guest may comply with what it was asked; 0: without an end.
    asked_until: float = 0.0
    #: Its guest must not reboot: the machine is destroyed instead.
    destroy_on_reboot: bool = False
    #: QEMU powers off because of a signal, not because of its guest.
    signalled: bool = False
    #: The guest's kernel has reported that it crashed.
    panicked: bool = False
    #: It is being migrated away.
    outgoing: bool = False
    #: Since when it is expected or arriving from another host; 0 of any other.
    incoming: float = 0.0
    #: The caller that has reserved the place for it (`Identity.key`), until it arrives.
    reserved_by: str = ""
    #: Percent of its migration; -1 if it is not being migrated.
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


def exit_of(machine: Machine, word: str, now: float) -> Exit:
    """Return how a run ended that was seen to go on.

    :param word: libvirt's, of the event that it stopped, or its reason for being shut off
    :param now: Unix time in seconds
    """
    if machine.exit == POSTCOPY_FAILED:
        # Destroyed for that.
        return POSTCOPY_FAILED
    if machine.incoming and machine.asked not in _DESTROYING:
        return NOT_ARRIVED
    if machine.panicked and word in _SAME_END:
        return PANICKED
    if machine.signalled and word == "shutdown" and machine.asked not in _DESTROYING:
        return QEMU_TERMINATED
    return _as_asked(machine.asked, machine.asked_until, word, now) or exit_by(word)


def _as_asked(asked: str, until: float, word: str, now: float) -> Exit | None:
    in_time = not until or now <= until
    if asked in _DESTROYING and in_time:
        return _ASKED[asked]
    return (
        _ASKED["shutdown"] if asked == "shutdown" and in_time and word in ("shutdown", "destroyed") else None
    )


def exit_by(word: str) -> Exit:
    """Return what libvirt's word for an end means by itself."""
    return ENDINGS.get(word, Exit(1, Reason.GENERIC_ERROR, f"libvirt reports: {word}"))


def exit_found(word: str) -> Exit:
    """Return how a machine ended that was found shut off, as far as libvirt alone knows.

    :param word: libvirt's reason, "unknown" of a domain that has not run since libvirt was started
    """
    return NOT_RUNNING if word == "unknown" else START_FAILED if word == "failed" else exit_by(word)


def exit_recorded(machine: Machine, run: Run | None, boot_id: str) -> Exit:
    """Return how the newest run of a machine of ours ended that was found shut off.

    :param machine: its `exit` is a guess, by `ended_as`
    :param run: the mark of its newest run; None: it has none
    :param boot_id: of this boot of the host
    """
    word = machine.ended_as
    known = word not in ("", "unknown")
    if run is None:
        return exit_found(word) if known else NEVER_LAUNCHED
    if run.exit is not None and not (known and run.ended_as and not _is_same_end(run.ended_as, word)):
        return run.exit
    if known:
        # Ended, or began and ended, while no daemon ran.
        return _as_asked(run.asked, 0.0, word, 0.0) or exit_found(word)
    return HOST_STOPPED if run.boot_id != boot_id else END_UNSEEN


def _is_same_end(first: str, second: str) -> bool:
    return first == second or {first, second} <= _SAME_END
