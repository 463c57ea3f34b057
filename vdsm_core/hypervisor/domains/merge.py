"""Merge bulk statistics with the last known values of domains for which libvirt left values out."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import libvirt

from vdsm_core.hypervisor import enum_names
from vdsm_core.hypervisor.models import DomainSample, Sample, UnfinishedCall

#: uuid, name, active, libvirt's typed parameters.
Row = tuple[str, str, bool, dict[str, Any]]

# The QEMU driver includes these for every active machine whose monitor is free (`qemuDomainGetStatsBalloon`,
# `qemuDomainGetStatsBlock`) and omits them if it would have to wait. Values that depend on the balloon driver
# of the guest or on a plugged disk prove nothing.
_MARKS: Final = re.compile(r"balloon\.rss|block\.\d+\.rd\.reqs")
_QEMU_MARK: Final = "balloon.rss"
#: `virConnectGetType` of QEMU's driver.
_QEMU: Final = "QEMU"


class Control(NamedTuple):
    """libvirt's report on the monitor of a machine (`virDomainGetControlInfo`)."""

    why: str
    #: Whether QEMU is what does not answer; otherwise the machine is only busy, or was for a moment.
    held: bool = False
    #: For how long, in seconds; None if libvirt does not report it.
    seconds: float | None = None


def incomplete(stats: dict[str, Any], before: DomainSample | None, driver: str) -> bool:
    """Return whether libvirt omitted values that it would have had to wait for."""
    if driver == _QEMU:
        return _QEMU_MARK not in stats
    if before is None or not before.active:
        return False
    return any(map(_MARKS.fullmatch, before.stats)) and not any(map(_MARKS.fullmatch, stats))


def suspects(rows: list[Row], before: Sample, driver: str) -> list[str]:
    """Return the active machines for which values are missing."""
    known = before.domains
    return [
        uuid for uuid, _name, active, stats in rows if active and incomplete(stats, known.get(uuid), driver)
    ]


def read_control(connection: Any, uuids: list[str]) -> dict[str, Control]:
    """Return libvirt's report on the monitors of these machines. libvirt does not need QEMU for it."""
    found = {}
    for uuid in uuids:
        try:
            state, details, milliseconds = connection.lookupByUUIDString(uuid).controlInfo()
        except libvirt.libvirtError as error:
            found[uuid] = Control(f"libvirt does not report its state of control: {error}")
        else:
            found[uuid] = _control(state, details, milliseconds / 1000)
    return found


def _control(state: int, details: int, seconds: float) -> Control:
    if state == libvirt.VIR_DOMAIN_CONTROL_OCCUPIED:
        return Control("its monitor is busy with a command that has not returned", True, seconds)
    if state == libvirt.VIR_DOMAIN_CONTROL_ERROR:
        monitor = details == libvirt.VIR_DOMAIN_CONTROL_ERROR_REASON_MONITOR
        return Control("libvirt has lost its monitor" if monitor else "libvirt cannot control it", True)
    if state == libvirt.VIR_DOMAIN_CONTROL_JOB:
        return Control("a job such as a start, a migration or a save holds the machine")
    return Control("its monitor was busy at that moment, or not queried")


def merge(
    rows: list[Row],
    before: Sample,
    *,
    taken_at: float,
    monotonic: float,
    control: dict[str, Control],
    overdue: dict[str, UnfinishedCall],
    patience: float,
) -> Sample:
    """Return the sample that these rows make, with the last known values where new ones are missing.

    :param control: libvirt's reports on the machines for which values are missing
    :param overdue: calls that have not returned, by uuid
    :param patience: seconds that values may be old before the machine counts as not responding
    """
    known, domains = before.domains, {}
    for uuid, name, active, stats in rows:
        state = enum_names.STATES.get(stats.get("state.state", 0), "nostate")
        new = DomainSample(
            uuid=uuid,
            name=name,
            state=state,
            active=active,
            stats=stats,
            taken_at=taken_at,
            monotonic=monotonic,
        )
        if uuid in control or uuid in overdue:
            new = _held(new, known.get(uuid), control.get(uuid), overdue.get(uuid), patience)
        domains[uuid] = new
    return Sample(taken_at=taken_at, monotonic=monotonic, domains=domains)


def _held(
    new: DomainSample,
    before: DomainSample | None,
    control: Control | None,
    overdue: UnfinishedCall | None,
    patience: float,
) -> DomainSample:
    """Return the sample of a machine for which values are missing, or on which a call is overdue."""
    now, kept, why, responding = new.taken_at, new, "", True
    since = before.blocked_since if before is not None else None
    if control is not None:
        if before is not None and before.active:
            kept = before
        if control.seconds is not None:
            since = now - control.seconds
        why = control.why
        responding = not control.held or now - (since or now) <= patience
    if overdue is not None:
        since = min(since or now, now - overdue.seconds)
        why, responding = f"'{overdue.operation}' has not returned for {overdue.seconds:.0f} s", False
    state = {key: value for key, value in new.stats.items() if key.startswith("state.")}
    return DomainSample(
        uuid=new.uuid,
        name=new.name,
        state=new.state,
        active=new.active,
        stats={**kept.stats, **state},
        taken_at=kept.taken_at,
        monotonic=kept.monotonic,
        responding=responding,
        blocked_since=since or now,
        why=why,
    )
