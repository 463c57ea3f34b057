"""Verbs of `VM` and `Host` that limit what machines use, and set the services that do so."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_bridge.api.legacy import LegacyForm, LegacyMethod
from vdsm_core.privileged.client import PrivilegedClient
from vdsm_core.types import UUID
from vdsm_virt.api.scalars import LooseInt, Word, patterned
from vdsm_virt.api.tuning import DiskTune, DiskTuneParams, DiskTunePolicy, PolicyParams, TunePolicies
from vdsm_virt.tuning import hosted_engine, ksm
from vdsm_virt.tuning.limits import Limits
from vdsm_virt.tuning.mom import Mom
from vdsm_virt.verbs.host import Host
from vdsm_virt.verbs.vm import VM

#: Microseconds, as libvirt takes them; -1 as a quota is no limit.
Microseconds = Annotated[int, Meta(ge=-1, le=2**53, extra_json_schema={"x-unit": "us"})]
#: The name of a variable in MOM's language.
Variable = Annotated[str, patterned(r"^[A-Za-z_][A-Za-z0-9_.]*$", "the name of a variable", maximum=128)]
#: A number or a text, as MOM's language can hold it.
VariableValue = (
    bool
    | int
    | float
    | Annotated[str, patterned(r'^[^"\\\x00-\x1f\x7f\ud800-\udfff]*$', "text without quotes", maximum=1024)]
)
_STATUS = LegacyForm(member=LegacyForm.STATUS)


class MachineLimits(Namespace, group_of=VM):
    """Limit processor time, memory and disks of a machine."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    @action(since="1.0", legacy=(LegacyMethod("setBalloonTarget", codes={"target": 53}), _STATUS))
    def set_balloon_target(self, vm_id: UUID, target: Annotated[int, Meta(ge=-(2**50), le=2**50)]) -> None:
        """Set the target of the memory balloon. Returns before the guest reaches it.

        Without effect on a machine that has no balloon (`balloonInfo.ballooning_enabled`).

        :param target: memory of the guest in KiB, at most the machine's memory
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises BalloonError: the machine has less memory, or the hypervisor cannot set it
        """
        self._limits.set_balloon(vm_id.lower(), target)

    @action(
        since="1.0",
        name="setCpuTuneQuota",
        legacy=(LegacyMethod("vmSetCpuTuneQuota", codes={"quota": 62}), _STATUS),
    )
    def set_cpu_tune_quota(self, vm_id: UUID, quota: Microseconds) -> None:
        """Set the processor time that each virtual processor may use in a period.

        :param quota: microseconds, at least 1000; -1 is no limit
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises CpuTuneError: the hypervisor refuses, or the host has no control group of processor time
        """
        self._limits.set_scheduler(vm_id.lower(), vcpu_quota=quota)

    @action(
        since="1.0",
        name="setCpuTunePeriod",
        legacy=(LegacyMethod("vmSetCpuTunePeriod", codes={"period": 62}), _STATUS),
    )
    def set_cpu_tune_period(self, vm_id: UUID, period: Microseconds) -> None:
        """Set the period of the limit of processor time.

        :param period: microseconds, 1000 to 1000000
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises CpuTuneError: the hypervisor refuses, or the host has no control group of processor time
        """
        self._limits.set_scheduler(vm_id.lower(), vcpu_period=period)

    @action(since="1.0", legacy=(LegacyMethod("setIoTune", args=("vmID", "tunables")), _STATUS))
    def set_io_tune(
        self, vm_id: UUID, tunables: Annotated[list[DiskTuneParams], Meta(min_length=1, max_length=1024)]
    ) -> None:
        """Limit the throughput of disks of a running machine.

        :param tunables: the disks and their limits; a limit of the total takes away those of reading and
            writing in the same unit
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises UpdateIOTuneError: a disk is not known, or the hypervisor refuses
        """
        self._limits.set_io_tune(vm_id.lower(), tunables)

    @query(
        since="1.0",
        legacy=(LegacyMethod("getIoTune", reply="ioTune"), LegacyForm(member="ioTuneList")),
    )
    def get_io_tune(self, vm_id: UUID) -> list[DiskTune]:
        """Return the present limits of every disk of a running machine.

        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        """
        return self._limits.io_tune(vm_id.lower())

    @query(
        since="1.0",
        legacy=(LegacyMethod("getIoTunePolicy", reply="ioTunePolicy"), LegacyForm(member="ioTunePolicyList")),
    )
    def get_io_tune_policy(self, vm_id: UUID) -> list[DiskTunePolicy]:
        """Return the limits that the policy of a machine allows for its disks.

        :raises NoSuchVM: no machine of this id is on the host
        """
        return self._limits.io_policy(vm_id.lower())

    @action(
        since="1.0",
        legacy=(LegacyMethod("updateVmPolicy", args=("params",), id_inside="vmId"), _STATUS),
    )
    def update_vm_policy(self, vm_id: UUID, params: PolicyParams) -> None:
        """Store a policy with a machine. It sets no limit: the memory overcommitment manager acts by it.

        :param params: what it does not mention stays as it is
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MissingArgument: the policy mentions nothing
        :raises UpdateVMPolicyFailed: a disk is not known, or the hypervisor does not store it
        """
        self._limits.set_policy(vm_id.lower(), params)


class HostLimits(Namespace, group_of=Host):
    """Set the services of the host that share out its memory and its disks."""

    def __init__(self, limits: Limits, mom: Mom, privileged: PrivilegedClient) -> None:
        self._limits = limits
        self._mom = mom
        self._privileged = privileged

    @query(
        since="1.0",
        lists="VM",
        legacy=LegacyMethod("getAllVmIoTunePolicies", reply="io_tune_policies_dict"),
    )
    def get_all_vm_io_tune_policies(self) -> dict[UUID, TunePolicies]:
        """Return policies and present limits of the disks of all machines that run, by their ids."""
        return self._limits.all_policies()

    @action(access="admin", since="1.0", legacy=(LegacyMethod("setKsmTune"), _STATUS))
    def set_ksm_tune(self, tuning_params: Annotated[dict[Word, LooseInt], Meta(max_length=16)]) -> None:
        """Tune the kernel's merging of equal memory pages (KSM).

        :param tuning_params: `run` (0 off, 1 on, 2 off and pages separated), `merge_across_nodes` (0, 1),
            `sleep_millisecs`, `pages_to_scan`; those that are absent stay as they are
        :raises KSMUpdateFailed: one is not known or out of its range, or the kernel refuses it
        """
        ksm.tune(self._privileged, tuning_params)

    @action(
        access="admin",
        since="1.0",
        name="setMOMPolicy",
        legacy=LegacyMethod("setMOMPolicy", args=("policy",)),
    )
    def set_mom_policy(self, policy: Annotated[str, Meta(max_length=262_144)]) -> None:
        """Replace the policy of the memory overcommitment manager (MOM).

        :param policy: in MOM's language
        :raises MOMPolicyUpdateFailed: MOM does not answer, or refuses it
        """
        self._mom.set_policy(policy)

    @action(
        since="1.0",
        name="setMOMPolicyParameters",
        names={"key_value_store": "key_value_store"},
        legacy=LegacyMethod("setMOMPolicyParameters", args=("key_value_store",)),
    )
    def set_mom_policy_parameters(
        self, key_value_store: Annotated[dict[Variable, VariableValue], Meta(max_length=256)]
    ) -> None:
        """Set variables of the policy of the memory overcommitment manager (MOM).

        :param key_value_store: values by the names of the variables
        :raises MOMPolicyUpdateFailed: MOM does not answer, or refuses them
        """
        values: dict[str, Any] = dict(key_value_store)
        self._mom.set_parameters(values)

    @action(
        access="admin",
        since="1.0",
        legacy=(LegacyMethod("setHaMaintenanceMode"), LegacyForm(member=LegacyForm.STATUS)),
    )
    def set_ha_maintenance_mode(self, mode: Word, enabled: bool) -> None:
        """Switch a maintenance mode of the hosted engine on or off.

        :param mode: `global`, of all hosts of the engine, or `local`, of this one
        :param enabled: whether it is to be on
        :raises HostedEngineAbsent: the engine's high availability agent is not installed on this host
        :raises SetHAPolicyFailed: there is no such mode, or the agent refuses
        """
        hosted_engine.set_maintenance_mode(mode, enabled=enabled)
