"""The limits of machines: of processor time, of memory, of disks, and the policy that others act by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from vdsm_core.errors import HypervisorError, MissingArgument
from vdsm_core.hypervisor import IO_LIMITS
from vdsm_virt.api.scalars import given
from vdsm_virt.api.tuning import (
    DiskLimits,
    DiskPolicyParams,
    DiskTune,
    DiskTuneParams,
    DiskTunePolicy,
    LimitsParams,
    PolicyParams,
    TunePolicies,
)
from vdsm_virt.domain import qos
from vdsm_virt.domain.qos import DiskPolicy, Policy
from vdsm_virt.domain.read.tuning import TuningFacts
from vdsm_virt.errors import BalloonError, reason_of
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.refusals import as_machine, running
from vdsm_virt.tuning.errors import CpuTuneError, UpdateIOTuneError, UpdateVMPolicyFailed

_UNITS: Final = ("bytes", "iops")
#: The members of a disk's ids by which a policy may name it, and their names in Python.
_IDS: Final = {
    "domainID": "domain_id",
    "poolID": "pool_id",
    "imageID": "image_id",
    "volumeID": "volume_id",
}


class Limits:
    """Reads and sets the limits of machines."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._tuning = machines.hypervisor.tuning

    def set_scheduler(self, vm_id: str, **values: int) -> None:
        """Set `vcpu_quota` or `vcpu_period`, in microseconds.

        :raises CpuTuneError: the hypervisor refuses
        """
        running(self._machines.inventory, vm_id, "change")
        try:
            with as_machine(self._machines.hypervisor, vm_id, "change"):
                self._tuning.set_scheduler(vm_id, values)
                self._machines.mirror.refresh(vm_id)
        except HypervisorError as error:
            raise CpuTuneError(vm_id=vm_id, reason=reason_of(error)) from error

    def set_balloon(self, vm_id: str, kib: int) -> None:
        """Set how much memory the balloon leaves the guest; without a balloon nothing.

        :raises BalloonError: there is not so much, or the hypervisor refuses
        """
        machine = self._machines.mirror.fresh(running(self._machines.inventory, vm_id, "change"))
        details = machine.details
        if details is not None and not details.tuning.ballooning:
            return
        maximum = details.memory * 1024 if details is not None else kib
        if not 0 < kib <= maximum:
            reason = f"the target is {kib} KiB, and the machine has {maximum} KiB of memory"
            raise BalloonError(vm_id=vm_id, reason=reason)
        try:
            with as_machine(self._machines.hypervisor, vm_id, "change"):
                self._machines.hypervisor.devices.set_memory(vm_id, kib)
                if machine.ours:
                    self._machines.mirror.change_metadata(
                        vm_id, lambda known: msgspec.structs.replace(known, balloon_target=kib)
                    )
        except HypervisorError as error:
            raise BalloonError(vm_id=vm_id, reason=reason_of(error)) from error

    def io_tune(self, vm_id: str) -> list[DiskTune]:
        """Return the present limits of every disk of a machine."""
        return _present(self._facts(running(self._machines.inventory, vm_id, "read")))

    def io_policy(self, vm_id: str) -> list[DiskTunePolicy]:
        """Return the limits that the policy of a machine allows for its disks."""
        return _policy(self._facts(self._machines.inventory.get(vm_id)))

    def all_policies(self) -> dict[str, TunePolicies]:
        """Return policies and present limits of all machines that run, by their ids."""
        found = {}
        for machine in self._machines.inventory.all():
            if machine.active and machine.details is not None:
                facts = machine.details.tuning
                found[machine.id] = TunePolicies(policy=_policy(facts), current_values=_present(facts))
        return found

    def set_io_tune(self, vm_id: str, wanted: Sequence[DiskTuneParams]) -> None:
        """Set the limits of disks.

        :raises UpdateIOTuneError: a disk is not known, or the hypervisor refuses
        """
        facts = self._facts(running(self._machines.inventory, vm_id, "change"))
        changes = [(_find(facts, vm_id, tune), tune.io_tune) for tune in wanted]
        try:
            for disk, limits in changes:
                name = disk
                try:
                    with as_machine(self._machines.hypervisor, vm_id, "change"):
                        present = self._tuning.io_limits(vm_id, disk)
                        self._tuning.set_io_limits(vm_id, disk, changed(present, limits))
                except HypervisorError as error:
                    raise UpdateIOTuneError(vm_id=vm_id, disk=name, reason=reason_of(error)) from error
        finally:
            self._machines.mirror.refresh(vm_id)

    def set_policy(self, vm_id: str, params: PolicyParams) -> None:
        """Store a policy with the machine; what it does not mention stays.

        :raises MissingArgument: it mentions nothing
        :raises UpdateVMPolicyFailed: a disk is not known, or the hypervisor does not store it
        """
        if isinstance(params.vcpu_limit, UnsetType) and isinstance(params.io_tune, UnsetType):
            raise MissingArgument(argument="params.vcpuLimit")
        machine = running(self._machines.inventory, vm_id, "change")
        facts = self._facts(machine)
        limit = facts.vcpu_limit if isinstance(params.vcpu_limit, UnsetType) else int(params.vcpu_limit)
        disks = {(disk.name, disk.path): disk for disk in facts.policy}
        for wanted in given(params.io_tune, []):
            disk = _disk_policy(self._machines.mirror.fresh(machine), wanted)
            disks[disk.name, disk.path] = disk
        text = qos.write_text(Policy(vcpu_limit=limit, disks=list(disks.values())))
        try:
            with as_machine(self._machines.hypervisor, vm_id, "change"):
                self._machines.hypervisor.definitions.set_metadata(vm_id, qos.URI, qos.PREFIX, text)
                self._machines.mirror.refresh(vm_id)
        except HypervisorError as error:
            raise UpdateVMPolicyFailed(vm_id=vm_id, reason=reason_of(error)) from error

    def _facts(self, machine: Machine) -> TuningFacts:
        fresh = self._machines.mirror.fresh(machine)
        return fresh.details.tuning if fresh.details is not None else TuningFacts()


def changed(present: Mapping[str, int], wanted: LimitsParams) -> dict[str, int]:
    """Return all limits of a disk after a change.

    A limit of the total takes away those of reading and writing in the same unit, and the other way round.
    """
    numbers = {
        name: int(value) for name in IO_LIMITS if not isinstance(value := getattr(wanted, name), UnsetType)
    }
    after = {**present, **numbers}
    for unit in _UNITS:
        total, parts = f"total_{unit}_sec", (f"read_{unit}_sec", f"write_{unit}_sec")
        if numbers.get(total):
            after.update({part: numbers.get(part, 0) for part in parts})
        elif any(numbers.get(part) for part in parts):
            after[total] = 0
    return after


def _present(facts: TuningFacts) -> list[DiskTune]:
    limited = {tune.name: tune.io_tune for tune in facts.io_tune}
    return [
        DiskTune(name=name, path=path, io_tune=_complete(limited.get(name, DiskLimits())))
        for name, path in facts.disks.items()
    ]


def _complete(limits: DiskLimits) -> DiskLimits:
    return DiskLimits(**{name: given(getattr(limits, name), 0) for name in IO_LIMITS})


def _policy(facts: TuningFacts) -> list[DiskTunePolicy]:
    return [
        DiskTunePolicy(name=disk.name, path=disk.path, guaranteed=disk.guaranteed, maximum=disk.maximum)
        for disk in facts.policy
    ]


def _find(facts: TuningFacts, vm_id: str, wanted: DiskTuneParams) -> str:
    name, path = given(wanted.name, ""), given(wanted.path, "")
    for target, source in facts.disks.items():
        if (name or path) and name in ("", target) and path in ("", source):
            return target
    raise UpdateIOTuneError(vm_id=vm_id, disk=name or path, reason="the machine has no such disk")


def _disk_policy(machine: Machine, wanted: DiskPolicyParams) -> DiskPolicy:
    name, path = _named(machine, wanted)
    return DiskPolicy(
        name=name, path=path, guaranteed=_limits(wanted.guaranteed), maximum=_limits(wanted.maximum)
    )


def _named(machine: Machine, wanted: DiskPolicyParams) -> tuple[str, str]:
    """Return target and path of the disk that a policy is about."""
    details = machine.details
    disks = details.tuning.disks if details is not None else {}
    metadata = details.metadata if details is not None else None
    name, path = given(wanted.name, ""), given(wanted.path, "")
    ids = {
        wire: value
        for wire, python in _IDS.items()
        if not isinstance(value := getattr(wanted, python), UnsetType)
    }
    for target, source in disks.items():
        if name or path:
            found = name in ("", target) and path in ("", source)
        else:
            known = metadata.devices.get(target, {}) if metadata is not None else {}
            found = bool(ids) and all(known.get(wire) == value for wire, value in ids.items())
        if found:
            return target, source
    shown = name or path or ", ".join(ids.values())
    raise UpdateVMPolicyFailed(vm_id=machine.id, reason=f"the machine has no disk '{shown}'")


def _limits(wanted: LimitsParams) -> DiskLimits:
    values: dict[str, Any] = {}
    for name in IO_LIMITS:
        value = getattr(wanted, name)
        values[name] = UNSET if isinstance(value, UnsetType) else int(value)
    return DiskLimits(**values)
