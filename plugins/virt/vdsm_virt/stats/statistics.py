"""The statistics of machines, from libvirt's bulk statistics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import DomainSample, Hypervisor, Sample
from vdsm_virt.api.definition import VmDefinition, VmStatus
from vdsm_virt.api.scalars import given
from vdsm_virt.api.stats import BalloonInfo, BlockJob, MemoryStats, VmStats
from vdsm_virt.domain.read.definition import Details
from vdsm_virt.guest.facts import GuestFacts
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import Machine
from vdsm_virt.stats.devices import disks, nics, tunes
from vdsm_virt.stats.moments import Chronicle, Moments

#: Seconds for which the answer for all machines is given again: ages and elapsed times count whole seconds.
_GIVEN_AGAIN: Final = 1.0


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where the statistics have what libvirt's samples do not have.

    :ivar chronicle: what happened to machines since they were started
    :ivar guests: what guest agents report
    :ivar jobs: the block jobs of a machine, by their ids
    :ivar patience: seconds after its start in which a guest counts as powering up until its agent answers
    :ivar hashes: `nvram_hash` and `tpm_hash` of a machine, where known
    """

    chronicle: Chronicle
    guests: GuestFacts
    jobs: Callable[[str], Mapping[str, BlockJob]] = lambda _vm_id: {}
    patience: Callable[[], float] = lambda: 0.0
    hashes: Callable[[str], Mapping[str, str]] = lambda _vm_id: {}

    @property
    def version(self) -> tuple[int, int]:
        """What changes whenever a fact does."""
        return self.chronicle.version, self.guests.version


class Statistics:
    """Answers questions about statistics from the newest sample; never asks libvirt itself."""

    def __init__(self, hypervisor: Hypervisor, inventory: Inventory, sources: Sources) -> None:
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._sources = sources
        self._lock = threading.Lock()
        self._answer: tuple[Sample, object, float, list[VmStats]] | None = None

    def one(self, machine: Machine) -> VmStats:
        """Return one machine."""
        sample, lost = self._newest()
        return stats_of(machine, sample, time.time(), lost, self._sources)

    def all(self) -> list[VmStats]:
        """Return every machine. The same list may be given to several callers.

        :raises Recovering: they are not known yet
        """
        self._inventory.insist()
        sample, lost = self._newest()
        version, now = (self._inventory.version, self._sources.version), time.monotonic()
        with self._lock:
            known = self._answer
            if (
                known is not None
                and known[0] is sample
                and known[1] == version
                and now - known[2] < _GIVEN_AGAIN
            ):
                return known[3]
            at = time.time()
            answer = [stats_of(machine, sample, at, lost, self._sources) for machine in self._inventory.all()]
            self._answer = (sample, version, now, answer)
            return answer

    def _newest(self) -> tuple[Sample, str]:
        """Return the newest sample, and why there is no newer one if libvirt is not reached."""
        lost = (
            ""
            if self._hypervisor.connected
            else f"libvirt is not reached: {self._hypervisor.status().reason}"
        )
        try:
            return self._hypervisor.stats.sample(), lost
        except VdsmError as error:
            return _NOTHING, lost or str(error)


_NOTHING: Final = Sample(taken_at=0.0, monotonic=0.0, domains={})
#: Of a machine whose definition has not been read yet.
_UNKNOWN: Final = Details(
    definition=VmDefinition(vm_id="", vm_name="", status="Up", client_ip="", pid=0), metadata=None
)
#: Of a machine that is not in the sample yet.
_NO_VALUES: Final[dict[str, Any]] = {
    "monitor_response": 0,
    "stats_age": 0.0,
    "cpu_user": 0.0,
    "cpu_sys": 0.0,
    "cpu_idle": 100.0,
    "cpu_actual": False,
    "mem_usage": 0,
    "network": {},
    "disks": {},
}


def stats_of(machine: Machine, sample: Sample, now: float, lost: str, sources: Sources) -> VmStats:
    """Return the statistics of a machine.

    :param now: Unix time in seconds
    :param lost: why libvirt is not reached; empty if it is
    """
    details = machine.details or _UNKNOWN
    if machine.status == "Down":
        return _down(machine, details)
    moments = sources.chronicle.of(machine.id)
    read = sample.domains.get(machine.id)
    values = {**sources.guests.members(machine.id), **_facts(details, moments), **sources.hashes(machine.id)}
    values |= _NO_VALUES if read is None else _values(read, details, sample, now)
    free = sources.guests.ovirt(machine.id).mem_usage
    if not isinstance(free, UnsetType) and details.memory:
        values["mem_usage"] = min(100, max(0, round(100 - 100 * free / details.memory)))
    # A status may be newer than the figures.
    values["status_time"] = max(int(machine.since * 1000), values.get("status_time", 0))
    values.setdefault("memory_stats", sources.guests.ovirt(machine.id).memory_stats)
    if lost or (read is not None and not read.responding):
        values["monitor_response"] = -1
        values["not_responding"] = lost or (read.why if read is not None else "")
    return VmStats(
        vm_id=machine.id,
        vm_name=machine.name,
        status=_status(machine, details, now, sources),
        vm_type=given(details.definition.vm_type, "kvm"),
        pause_code=machine.pause_code or "NOERR",
        elapsed_time=max(0, int(now - machine.started)) if machine.started else 0,
        migration_progress=UNSET if machine.migration_progress < 0 else machine.migration_progress,
        migration_error=machine.migration_error or UNSET,
        vm_jobs=dict(sources.jobs(machine.id)),
        **values,
    )


def _status(machine: Machine, details: Details, now: float, sources: Sources) -> VmStatus:
    """Return the status: a guest whose agent has not answered yet is still powering up, for some time."""
    patience = sources.patience()
    begins = machine.status == "Up" and machine.started > 0 and now - machine.started < patience
    if begins and (details.agent_port or details.ovirt_port) and not sources.guests.has_answered(machine.id):
        return "Powering up"
    return machine.status


def _down(machine: Machine, details: Details) -> VmStats:
    ended = machine.exit
    return VmStats(
        vm_id=machine.id,
        vm_name=machine.name,
        status="Down",
        exit_code=0 if ended is None else ended.code,
        exit_reason=0 if ended is None else int(ended.reason),
        exit_message="" if ended is None else ended.message,
        status_time=int(machine.since * 1000),
        time_offset=details.time_offset,
    )


def _facts(details: Details, moments: Moments) -> dict[str, Any]:
    """Return what the definition of the machine holds, and what happened to it."""
    known, tuning = details.definition, details.tuning
    offset = moments.clock_offset
    facts: dict[str, Any] = {
        "time_offset": details.time_offset if offset is None else offset,
        "pid": known.pid,
        "client_ip": (moments.viewers[-1] if moments.viewers else "") if moments.viewed else known.client_ip,
        "kvm_enable": details.kvm,
        "acpi_enable": details.acpi,
        "vcpu_count": details.vcpus or UNSET,
        "boot": known.boot,
        "nice": given(known.nice, 0),
        "watchdog_event": moments.watchdog or UNSET,
        "io_tune": tunes(tuning.io_tune) or UNSET,
        "vcpu_quota": tuning.quota or UNSET,
        "vcpu_period": tuning.period or UNSET,
        "vcpu_user_limit": UNSET if tuning.vcpu_limit is None else tuning.vcpu_limit,
        "cdrom": tuning.cdrom or UNSET,
        "hash": details.hash or UNSET,
    }
    if details.displays:
        facts["display_info"] = details.displays
        facts["display_type"] = known.display
        facts["display_ip"] = known.display_ip
        facts["display_port"] = known.display_port
        facts["display_secure_port"] = known.display_secure_port
    return facts


def _values(read: DomainSample, details: Details, sample: Sample, now: float) -> dict[str, Any]:
    stats = read.stats
    before = _before(read, sample)
    seconds = read.monotonic - before.monotonic if before is not None else 0.0
    user, system = _cpu(stats, before, seconds)
    values: dict[str, Any] = {
        "monitor_response": 0,
        "stats_age": max(0.0, now - read.taken_at),
        "status_time": int(read.taken_at * 1000),
        "cpu_user": user,
        "cpu_sys": system,
        "cpu_idle": max(0.0, 100.0 - user - system),
        "cpu_usage": _emulator(stats) if before is not None else 0,
        "cpu_actual": before is not None,
        "mem_usage": 0,
        "network": nics(read, before, details.macs, details.tuning.speeds),
        "disks": disks(read, before, details.images),
    }
    if "vcpu.current" in stats:
        # Newer than the document: a processor that another client plugs in is no event.
        values["vcpu_count"] = stats["vcpu.current"]
    current = stats.get("balloon.current")
    if current is not None:
        maximum = stats.get("balloon.maximum", current)
        known = details.metadata
        guaranteed = known.guaranteed_memory * 1024 if known is not None else 0
        target = known.balloon_target if known is not None else 0
        values["balloon_info"] = BalloonInfo(
            balloon_cur=current,
            balloon_max=maximum,
            balloon_min=min(guaranteed, maximum) or maximum,
            balloon_target=target or current,
            ballooning_enabled=details.tuning.ballooning,
        )
        if "balloon.available" in stats:
            _memory(values, stats, before, seconds)
    return values


def _before(read: DomainSample, sample: Sample) -> DomainSample | None:
    """Return the previous values of the same run of a machine."""
    if sample.previous is None:
        return None
    before = sample.previous.domains.get(read.uuid)
    if before is None or before.monotonic >= read.monotonic:
        return None
    if before.stats.get("cpu.time", 0) > read.stats.get("cpu.time", 0):
        return None
    return before


def _cpu(stats: dict[str, Any], before: DomainSample | None, seconds: float) -> tuple[float, float]:
    """Return percent of one processor: the rest of all time, and the time of the QEMU process.

    libvirt counts `cpu.time`, all of it, and `cpu.system`, `cpu.user` of the QEMU process, in ns.
    """
    if before is None or seconds <= 0:
        return 0.0, 0.0
    system = max(0, _emulator(stats) - _emulator(before.stats))
    total = max(0, _delta("cpu.time", stats, before.stats))
    scale = seconds * 1e7  # ns to percent
    return max(total - system, 0) / scale, system / scale


def _emulator(stats: dict[str, Any]) -> int:
    return int(stats.get("cpu.user", 0)) + int(stats.get("cpu.system", 0))


def _delta(name: str, stats: dict[str, Any], before: dict[str, Any]) -> int:
    value = stats.get(name)
    return value - before.get(name, value) if value is not None else 0


def _memory(
    values: dict[str, Any], stats: dict[str, Any], before: DomainSample | None, seconds: float
) -> None:
    total = stats["balloon.available"]
    unused = stats.get("balloon.unused", 0)
    free = min(total, unused + stats.get("balloon.disk_caches", 0))
    values["mem_usage"] = round(100 - 100 * free / total) if total else 0

    def rate(name: str) -> int:
        if before is None or seconds <= 0:
            return 0
        return max(0, int(_delta(f"balloon.{name}", stats, before.stats) / seconds))

    values["memory_stats"] = MemoryStats(
        mem_total=total,
        mem_free=free,
        mem_unused=unused,
        mem_cached=stats.get("balloon.disk_caches", 0),
        swap_in=rate("swap_in"),
        swap_out=rate("swap_out"),
        majflt=rate("major_fault"),
        minflt=rate("minor_fault"),
        pageflt=rate("minor_fault") + rate("major_fault"),
    )
