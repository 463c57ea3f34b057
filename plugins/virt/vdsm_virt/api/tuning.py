"""Shares and limits of machines: VDSM's structs."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vdsm_core.types import UUID, Record, Request
from vdsm_virt.api.scalars import LooseUint, Word

#: Bytes or operations per second; 0: no limit.
Limit = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class DiskLimits(Record, frozen=True):
    """Limits of the throughput of a disk; 0: no limit. Those in bytes per second, then in operations.

    A limit of the total excludes those of reading and writing in the same unit.
    """

    total_bytes_sec: Limit | UnsetType = msgspec.field(name="total_bytes_sec", default=UNSET)
    read_bytes_sec: Limit | UnsetType = msgspec.field(name="read_bytes_sec", default=UNSET)
    write_bytes_sec: Limit | UnsetType = msgspec.field(name="write_bytes_sec", default=UNSET)
    total_iops_sec: Limit | UnsetType = msgspec.field(name="total_iops_sec", default=UNSET)
    read_iops_sec: Limit | UnsetType = msgspec.field(name="read_iops_sec", default=UNSET)
    write_iops_sec: Limit | UnsetType = msgspec.field(name="write_iops_sec", default=UNSET)


class DiskTune(Record, frozen=True):
    """The present limits of a disk.

    :ivar name: its target, such as `vda`
    :ivar path: the path of its image
    :ivar io_tune: the limits
    """

    name: str
    path: str
    io_tune: DiskLimits


class DiskTunePolicy(Record, frozen=True):
    """The limits that a machine's policy allows for a disk.

    :ivar name: the disk's target, such as `vda`
    :ivar path: the path of its image
    :ivar guaranteed: what it has in any case
    :ivar maximum: what it has at most
    """

    name: str
    path: str
    guaranteed: DiskLimits
    maximum: DiskLimits


class TunePolicies(Record, frozen=True):
    """The policy and the present limits of a machine's disks.

    :ivar policy: of the disks that the policy names
    :ivar current_values: of every disk
    """

    policy: list[DiskTunePolicy]
    current_values: list[DiskTune] = msgspec.field(name="current_values")


class LimitsParams(Request, frozen=True):
    """New limits of the throughput of a disk; 0: no limit. A member that is absent stays as it is.

    In bytes per second (`*_bytes_sec`) and in operations per second (`*_iops_sec`).
    """

    total_bytes_sec: LooseUint | UnsetType = msgspec.field(name="total_bytes_sec", default=UNSET)
    read_bytes_sec: LooseUint | UnsetType = msgspec.field(name="read_bytes_sec", default=UNSET)
    write_bytes_sec: LooseUint | UnsetType = msgspec.field(name="write_bytes_sec", default=UNSET)
    total_iops_sec: LooseUint | UnsetType = msgspec.field(name="total_iops_sec", default=UNSET)
    read_iops_sec: LooseUint | UnsetType = msgspec.field(name="read_iops_sec", default=UNSET)
    write_iops_sec: LooseUint | UnsetType = msgspec.field(name="write_iops_sec", default=UNSET)


class DiskTuneParams(Request, frozen=True, kw_only=True):
    """New limits of a disk, which `name` (its target) or `path` (of its image) names.

    :ivar io_tune: the limits
    """

    name: Word | UnsetType = UNSET
    path: Word | UnsetType = UNSET
    io_tune: LimitsParams


class DiskPolicyParams(Request, frozen=True, kw_only=True):
    """The limits that a policy allows for a disk, which its target, its path or its image's ids name.

    :ivar name: the disk's target, such as `vda`
    :ivar path: the path of its image
    :ivar guaranteed: what it has in any case
    :ivar maximum: what it has at most
    """

    name: Word | UnsetType = UNSET
    path: Word | UnsetType = UNSET
    domain_id: UUID | UnsetType = msgspec.field(name="domainID", default=UNSET)
    pool_id: UUID | UnsetType = msgspec.field(name="poolID", default=UNSET)
    image_id: UUID | UnsetType = msgspec.field(name="imageID", default=UNSET)
    volume_id: UUID | UnsetType = msgspec.field(name="volumeID", default=UNSET)
    guaranteed: LimitsParams
    maximum: LimitsParams


class PolicyParams(Request, frozen=True):
    """A machine's policy.

    :ivar vm_id: the machine, for clients that name it here
    :ivar vcpu_limit: percent of the machine's processors that it may use; absent: stays
    :ivar io_tune: limits of disks; absent: stay
    """

    vm_id: UUID | UnsetType = UNSET
    vcpu_limit: LooseUint | UnsetType = UNSET
    io_tune: Annotated[list[DiskPolicyParams], Meta(max_length=1024)] | UnsetType = UNSET
