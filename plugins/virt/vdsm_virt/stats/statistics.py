"""The statistics of machines, from libvirt's bulk statistics."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from msgspec import UNSET

from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import DomainSample, Hypervisor, Sample
from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.scalars import given
from vdsm_virt.api.stats import BalloonInfo, MemoryStats, VmStats
from vdsm_virt.domain.read.definition import Details
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import Machine
from vdsm_virt.stats.devices import disks, nics

#: Seconds for which the answer for all machines is given again: ages and elapsed times count whole seconds.
_GIVEN_AGAIN: Final = 1.0


class Statistics:
    """Answers questions about statistics from the newest sample; never asks libvirt itself."""

    def __init__(self, hypervisor: Hypervisor, inventory: Inventory) -> None:
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._lock = threading.Lock()
        self._answer: tuple[Sample, int, float, list[VmStats]] | None = None

    def one(self, machine: Machine) -> VmStats:
        """One machine."""
        sample, lost = self._newest()
        return _stats(machine, sample, time.time(), lost)

    def all(self) -> list[VmStats]:
        """Every machine. The same list may be given to several callers.

        :raises Recovering: they are not known yet
        """
        self._inventory.insist()
        sample, lost = self._newest()
        version, now = self._inventory.version, time.monotonic()
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
            answer = [_stats(machine, sample, at, lost) for machine in self._inventory.all()]
            self._answer = (sample, version, now, answer)
            return answer

    def _newest(self) -> tuple[Sample, str]:
        """The newest sample there is, and why there is no newer one if libvirt is not reached."""
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
#: Of a machine of which libvirt has not told the definition yet.
_UNKNOWN: Final = Details(
    definition=VmDefinition(vm_id="", vm_name="", status="Up", client_ip="", pid=0), metadata=None
)
#: Of a guest whose agent is not heard.
_NO_AGENT: Final[dict[str, Any]] = {
    "session": "Unknown",
    "username": "Unknown",
    "guest_ips": "",
    "guest_fqdn": "",
    "guest_cpu_count": -1,
    "apps_list": [],
    "disks_usage": [],
    "net_ifaces": [],
}
#: Of a machine that is not in the sample yet.
_NO_VALUES: Final[dict[str, Any]] = {
    "monitor_response": 0,
    "stats_age": 0.0,
    "cpu_user": 0.0,
    "cpu_sys": 0.0,
    "cpu_idle": 100.0,
    "mem_usage": 0,
    "network": {},
    "disks": {},
}


def _stats(machine: Machine, sample: Sample, now: float, lost: str) -> VmStats:
    details = machine.details or _UNKNOWN
    if machine.status == "Down":
        return _down(machine, details)
    read = sample.domains.get(machine.id)
    if read is None:
        values = {**_NO_VALUES, **_facts(details)}
    else:
        values = {**_facts(details), **_values(read, details, sample, now)}
    if lost or (read is not None and not read.responding):
        values["monitor_response"] = -1
        values["not_responding"] = lost or (read.why if read is not None else "")
    return VmStats(
        vm_id=machine.id,
        vm_name=machine.name,
        status=machine.status,
        vm_type="kvm",
        pause_code=machine.pause_code or "NOERR",
        elapsed_time=max(0, int(now - machine.started)) if machine.started else 0,
        cpu_actual=True,
        migration_progress=UNSET if machine.migration_progress < 0 else machine.migration_progress,
        migration_error=machine.migration_error or UNSET,
        **_NO_AGENT,
        **values,
    )


def _down(machine: Machine, details: Details) -> VmStats:
    ended = machine.exit
    return VmStats(
        vm_id=machine.id,
        vm_name=machine.name,
        status="Down",
        exit_code=0 if ended is None else ended.code,
        exit_reason=0 if ended is None else int(ended.reason),
        exit_message="" if ended is None else ended.message,
        time_offset=details.time_offset,
    )


def _facts(details: Details) -> dict[str, Any]:
    """What the machine's definition says."""
    known = details.definition
    facts: dict[str, Any] = {
        "time_offset": details.time_offset,
        "pid": known.pid,
        "client_ip": known.client_ip,
        "kvm_enable": details.kvm,
        "acpi_enable": details.acpi,
        "vcpu_count": details.vcpus or UNSET,
        "boot": known.boot,
        "nice": given(known.nice, 0),
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
        "cpu_usage": stats.get("cpu.time", 0),
        "mem_usage": 0,
        "network": nics(read, before, details.macs),
        "disks": disks(read, before, details.images),
    }
    current = stats.get("balloon.current")
    if current is not None:
        values["balloon_info"] = BalloonInfo(
            balloon_cur=current,
            balloon_max=stats.get("balloon.maximum", current),
            balloon_min=0,
            balloon_target=current,
        )
        if "balloon.available" in stats:
            _memory(values, stats, before, seconds)
    return values


def _before(read: DomainSample, sample: Sample) -> DomainSample | None:
    """The same machine's values before these, if it is the same run of it."""
    if sample.previous is None:
        return None
    before = sample.previous.domains.get(read.uuid)
    if before is None or before.monotonic >= read.monotonic:
        return None
    if before.stats.get("cpu.time", 0) > read.stats.get("cpu.time", 0):
        return None
    return before


def _cpu(stats: dict[str, Any], before: DomainSample | None, seconds: float) -> tuple[float, float]:
    """Percent of one processor: what the guest itself used, and what QEMU used for it.

    libvirt counts `cpu.time`, all of it, and `cpu.system`, `cpu.user` of the QEMU process; `vcpu.N.time` is
    what the virtual processors' threads used.
    """
    if before is None or seconds <= 0:
        return 0.0, 0.0
    total = _delta("cpu.time", stats, before.stats)
    if total <= 0:
        return 0.0, 0.0
    guest = 0
    for number in range(stats.get("vcpu.maximum", 0)):
        guest += _delta(f"vcpu.{number}.time", stats, before.stats)
    guest = min(max(guest, 0), total) if guest else _delta("cpu.user", stats, before.stats)
    scale = seconds * 1e7  # ns to percent
    return max(guest, 0) / scale, max(total - guest, 0) / scale


def _delta(name: str, stats: dict[str, Any], before: dict[str, Any]) -> int:
    value = stats.get(name)
    return value - before.get(name, value) if value is not None else 0


def _memory(
    values: dict[str, Any], stats: dict[str, Any], before: DomainSample | None, seconds: float
) -> None:
    total = stats["balloon.available"]
    unused = stats.get("balloon.unused", 0)
    usable = stats.get("balloon.usable", unused)
    values["mem_usage"] = round(100 * (total - usable) / total) if total else 0

    def rate(name: str) -> int:
        if before is None or seconds <= 0:
            return 0
        return max(0, int(_delta(f"balloon.{name}", stats, before.stats) / seconds))

    values["memory_stats"] = MemoryStats(
        mem_total=total,
        mem_free=usable,
        mem_unused=unused,
        mem_cached=stats.get("balloon.disk_caches", 0),
        swap_in=rate("swap_in"),
        swap_out=rate("swap_out"),
        majflt=rate("major_fault"),
        minflt=rate("minor_fault"),
        pageflt=rate("minor_fault") + rate("major_fault"),
    )
