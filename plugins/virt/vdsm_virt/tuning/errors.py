"""Errors of the verbs that set shares and limits.

::

    OperationFailed
    ├── CpuTuneError
    ├── UpdateIOTuneError
    ├── UpdateVMPolicyFailed
    ├── KSMUpdateFailed
    ├── MOMPolicyUpdateFailed
    └── SetHAPolicyFailed
    Unavailable
    └── HostedEngineAbsent

Codes are VDSM's.
"""

from __future__ import annotations

from vdsm_core.errors import OperationFailed, Unavailable


class CpuTuneError(OperationFailed):
    """The processor time of a machine could not be limited. Facts: `vm_id`, `reason`."""

    slug = "cpu-tune-error"
    code = 62
    template = "Cannot limit the processor time of machine '{vm_id}': {reason}"


class UpdateIOTuneError(OperationFailed):
    """The limits of a disk could not be set. Facts: `vm_id`, `disk`, `reason`."""

    slug = "update-io-tune-error"
    code = 64
    template = "Cannot limit disk '{disk}' of machine '{vm_id}': {reason}"


class UpdateVMPolicyFailed(OperationFailed):
    """The policy of a machine could not be stored. Facts: `vm_id`, `reason`."""

    slug = "update-vm-policy-failed"
    code = 63
    template = "Cannot store the policy of machine '{vm_id}': {reason}"


class KSMUpdateFailed(OperationFailed):
    """The merging of equal pages could not be tuned. Facts: `reason`."""

    slug = "ksm-update-failed"
    code = 71
    template = "Cannot tune the kernel's merging of equal pages: {reason}"


class MOMPolicyUpdateFailed(OperationFailed):
    """The memory overcommitment manager did not take a policy. Facts: `reason`."""

    slug = "mom-policy-update-failed"
    code = 54
    template = "Cannot set the policy of the memory overcommitment manager: {reason}"


class HostedEngineAbsent(Unavailable):
    """No hosted engine's high availability agent is installed on this host. Facts: `reason`."""

    slug = "hosted-engine-absent"
    code = 40
    template = "Cannot set the maintenance mode: {reason}"


class SetHAPolicyFailed(OperationFailed):
    """The maintenance mode of the hosted engine could not be set. Facts: `reason`."""

    slug = "set-ha-policy-failed"
    code = 61
    template = "Cannot set the maintenance mode of the hosted engine: {reason}"
