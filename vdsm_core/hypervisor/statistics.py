"""Which values of a bulk reading are new, which are the last known ones, and why."""

from __future__ import annotations

import re
from typing import Any, Final

import libvirt

from vdsm_core.hypervisor import spelling
from vdsm_core.hypervisor.records import DomainSample, Sample, UnfinishedCall

#: uuid, name, active, libvirt's typed parameters.
Row = tuple[str, str, bool, dict[str, Any]]
#: What holds a machine, and for how many seconds it has done so; 0 when libvirt does not say.
Control = tuple[str, float]

# QEMU's driver gives these for every active machine whose monitor it could ask (`qemuDomainGetStatsBalloon`,
# `qemuDomainGetStatsBlock`), and leaves them out when it would have had to wait. What comes and goes with
# the guest's balloon driver or with a plugged disk is no sign.
_MARKS: Final = re.compile(r"balloon\.rss|block\.\d+\.rd\.reqs")
_QEMU_MARK: Final = "balloon.rss"
#: `virConnectGetType` of QEMU's driver.
_QEMU: Final = "QEMU"

_UNKNOWN: Final[Control] = ("something else held the machine while its statistics were read", 0.0)


def incomplete(stats: dict[str, Any], before: DomainSample | None, driver: str) -> bool:
    """Whether libvirt left out what it would have had to wait for."""
    if driver == _QEMU:
        return _QEMU_MARK not in stats
    if before is None or not before.active:
        return False
    return any(map(_MARKS.fullmatch, before.stats)) and not any(map(_MARKS.fullmatch, stats))


def suspects(rows: list[Row], before: Sample, driver: str) -> list[str]:
    """The active machines for which values are missing."""
    known = before.domains
    return [
        uuid for uuid, _name, active, stats in rows if active and incomplete(stats, known.get(uuid), driver)
    ]


def read_control(connection: Any, uuids: list[str]) -> dict[str, Control]:
    """What libvirt says about who holds these machines. It answers without asking QEMU."""
    found = {}
    for uuid in uuids:
        try:
            state, details, milliseconds = connection.lookupByUUIDString(uuid).controlInfo()
        except libvirt.libvirtError as error:
            found[uuid] = (f"libvirt does not say what holds it: {error}", 0.0)
        else:
            found[uuid] = _control(state, details, milliseconds / 1000)
    return found


def _control(state: int, details: int, seconds: float) -> Control:
    if state == libvirt.VIR_DOMAIN_CONTROL_OCCUPIED:
        return "its monitor is busy with a command that has not returned", seconds
    if state == libvirt.VIR_DOMAIN_CONTROL_JOB:
        return "a job holds the machine", seconds
    if state == libvirt.VIR_DOMAIN_CONTROL_ERROR:
        monitor = details == libvirt.VIR_DOMAIN_CONTROL_ERROR_REASON_MONITOR
        return "libvirt has lost its monitor" if monitor else "libvirt cannot control it", seconds
    return _UNKNOWN


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
    """The sample that these rows make, with the last known values where new ones are missing.

    :param control: the machines for which values are missing, and what holds them
    :param overdue: calls that have not returned, by uuid
    :param patience: seconds that values may be old before the machine counts as not responding
    """
    known, domains = before.domains, {}
    for uuid, name, active, stats in rows:
        state = spelling.STATES.get(stats.get("state.state", 0), "nostate")
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
    """A machine for which values are missing, or which does not return from a call."""
    kept = new
    if control is not None and before is not None and before.active:
        kept = before
    reason, seconds = control or _UNKNOWN
    since = new.taken_at - seconds
    if before is not None:
        since = before.blocked_since or min(since, new.taken_at)
    responding = control is None or new.taken_at - max(since, 0.0) <= patience
    if overdue is not None:
        reason = f"'{overdue.operation}' has not returned for {overdue.seconds:.0f} s"
        since, responding = min(since, new.taken_at - overdue.seconds), False
    fresh = {key: value for key, value in new.stats.items() if key.startswith("state.")}
    return DomainSample(
        uuid=new.uuid,
        name=new.name,
        state=new.state,
        active=new.active,
        stats={**kept.stats, **fresh},
        taken_at=kept.taken_at,
        monotonic=kept.monotonic,
        responding=responding,
        blocked_since=since,
        why=reason,
    )
