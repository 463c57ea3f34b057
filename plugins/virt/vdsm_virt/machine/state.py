"""The state machine of a machine: one table of situations and reports decides every change of a status.

A report is what libvirt sends, what a reading of the domain shows, or what this daemon does. The table has a
verdict for each report in each situation: the next status, or that the status is kept, or that the report
changes nothing, or that it cannot be. What cannot be is never applied: something was missed, and the domain
is read again. Nothing else sets the status of a known machine.
"""

from __future__ import annotations

import enum
import typing
from typing import Any, Final, Literal

import msgspec

from vdsm_virt.api.definition import VmStatus
from vdsm_virt.machine.machine import Machine

#: Where a machine stands: its status, apart from one that this daemon is starting, or that is being
#: migrated away.
Situation = VmStatus | Literal["launching", "leaving"]
Report = Literal[
    # Events of libvirt.
    "started",
    "arriving",
    "suspended",
    "moving away",
    "in post-copy",
    "post-copy failed",
    "resumed",
    "shutting down",
    "rebooted",
    "stopped",
    # What a reading of the domain shows.
    "found running",
    "found paused",
    "found in post-copy",
    "found arriving",
    "found shutting down",
    "found off",
    "vanished",
    # What this daemon does.
    "starting again",
    "launched running",
    "launched paused",
    "launched shutting down",
    "launched off",
    "launch failed",
    "asked to shut down",
    "asked to reboot",
    "not asked",
    "destroyed",
    "announced",
    "not arrived",
    "leaving",
    "staying",
    "moved",
    "saving",
    "not saved",
    "restoring",
]


class Keep(enum.Enum):
    """Verdicts that name no status."""

    #: The status stays, what else the report says is applied.
    STATUS = "status"
    #: Nothing is applied: the report is late, or about something else.
    ALL = "all"
    #: Nothing is applied, and the domain is read again: the report cannot be true of such a machine.
    UNTIL_READ = "until read"


Verdict = VmStatus | Keep
STATUSES: Final[tuple[VmStatus, ...]] = typing.get_args(VmStatus)
SITUATIONS: Final[tuple[Situation, ...]] = (*STATUSES, "launching", "leaving")
REPORTS: Final[tuple[Report, ...]] = typing.get_args(Report)

_SAME, _NOTHING, _IMPOSSIBLE = Keep.STATUS, Keep.ALL, Keep.UNTIL_READ


def _row(otherwise: Verdict, exceptions: dict[Situation, Verdict]) -> dict[Situation, Verdict]:
    return {situation: exceptions.get(situation, otherwise) for situation in SITUATIONS}


#: A machine without a QEMU: libvirt does not stop, resume or suspend it.
_OFF: Final[dict[Situation, Verdict]] = {"WaitForLaunch": _IMPOSSIBLE, "Down": _IMPOSSIBLE}
#: The launch shows itself how it ended.
_LAUNCH: Final[dict[Situation, Verdict]] = {"launching": _NOTHING}
#: A domain that libvirt moves looks like any other.
_MOVING: Final[dict[Situation, Verdict]] = {"leaving": "Migration Source"}
#: The guest is paused for as long as its state is saved; the task shows how that ends.
_SAVING: Final[dict[Situation, Verdict]] = {"Saving State": _NOTHING}
_COMPLIED: Final[dict[Situation, Verdict]] = {"Powering down": "Up", "RebootInProgress": "Up"}
#: Runs here already, so that it cannot arrive.
_HERE: Final[dict[Situation, Verdict]] = dict.fromkeys(
    (
        "Powering up",
        "Up",
        "Paused",
        "Powering down",
        "RebootInProgress",
        "Migration Source",
        "Saving State",
        "leaving",
        "launching",
    ),
    _IMPOSSIBLE,
)

TABLE: Final[dict[Report, dict[Situation, Verdict]]] = {
    "started": _row("Up", {"launching": _SAME}),
    "arriving": _row("Migration Destination", _HERE),
    "suspended": _row("Paused", _OFF | _LAUNCH | _SAVING | {"leaving": _NOTHING}),
    "moving away": _row("Migration Source", _OFF | _LAUNCH | {"Migration Destination": _NOTHING}),
    "in post-copy": _row("Paused", _OFF | _LAUNCH),
    "post-copy failed": _row("Down", _LAUNCH),
    "resumed": _row("Up", _OFF | _LAUNCH | _SAVING | {"leaving": _NOTHING}),
    "shutting down": _row("Powering down", _OFF | _LAUNCH),
    "rebooted": _row(
        _SAME, _LAUNCH | {"RebootInProgress": "Up", "Down": _NOTHING, "WaitForLaunch": _NOTHING}
    ),
    "stopped": _row("Down", {"launching": _SAME}),
    "found running": _row(
        "Up", _LAUNCH | _MOVING | _SAVING | {"Powering down": _SAME, "RebootInProgress": _SAME}
    ),
    "found paused": _row("Paused", _LAUNCH | _MOVING | _SAVING),
    "found in post-copy": _row("Paused", _LAUNCH),
    "found arriving": _row("Migration Destination", _LAUNCH | _MOVING),
    "found shutting down": _row("Powering down", _LAUNCH | _MOVING),
    "found off": _row("Down", _LAUNCH),
    "vanished": _row("Down", _LAUNCH),
    "starting again": _row(_IMPOSSIBLE, {"Down": "WaitForLaunch"}),
    "launched running": _row(_IMPOSSIBLE, {"launching": "Up"}),
    "launched paused": _row(_IMPOSSIBLE, {"launching": "Paused"}),
    "launched shutting down": _row(_IMPOSSIBLE, {"launching": "Powering down"}),
    "launched off": _row(_IMPOSSIBLE, {"launching": "Down"}),
    "launch failed": _row(_IMPOSSIBLE, {"launching": "Down"}),
    "asked to shut down": _row(_SAME, {"Up": "Powering down", "Down": _NOTHING}),
    "asked to reboot": _row(_SAME, {"Up": "RebootInProgress", "Down": _NOTHING}),
    "not asked": _row(_SAME, _COMPLIED),
    "destroyed": _row("Down", {"Down": _NOTHING}),
    "announced": _row(_NOTHING, {"WaitForLaunch": "Migration Destination"}),
    "not arrived": _row(_NOTHING, {"WaitForLaunch": "Down", "Migration Destination": "Down"}),
    "leaving": _row(
        "Migration Source",
        {
            "Down": _NOTHING,
            "leaving": _NOTHING,
            **dict.fromkeys(
                ("WaitForLaunch", "Restoring state", "Migration Destination", "Saving State", "launching"),
                _IMPOSSIBLE,
            ),
        },
    ),
    "staying": _row(_SAME, {}),
    "moved": _row("Down", _LAUNCH),
    "saving": _row(
        "Saving State",
        _OFF
        | dict.fromkeys(("launching", "leaving", "Migration Source", "Migration Destination"), _IMPOSSIBLE)
        | {"Restoring state": _IMPOSSIBLE},
    ),
    "not saved": _row(_NOTHING, {"Saving State": "Paused"}),
    "restoring": _row(_NOTHING, {"launching": "Restoring state"}),
}


class Contradiction(Exception):
    """A report cannot be true of a machine as it is known."""


def situation_of(machine: Machine) -> Situation:
    """Return where a machine stands."""
    if machine.launching:
        return "launching"
    return "leaving" if machine.outgoing else machine.status


def verdict(machine: Machine, report: Report) -> Verdict:
    """Return what a report means for a machine."""
    return TABLE[report][situation_of(machine)]


def apply(machine: Machine, report: Report, **members: Any) -> Machine:
    """Return a machine as it is after a report.

    :param members: what else the report changes; not looked at if it changes nothing
    :raises Contradiction: the report cannot be true
    """
    decided = verdict(machine, report)
    if decided is Keep.UNTIL_READ:
        raise Contradiction(f"'{report}' of a machine in status '{machine.status}'")
    if decided is Keep.ALL:
        return machine
    status = machine.status if decided is Keep.STATUS else decided
    return msgspec.structs.replace(machine, status=status, **members)
