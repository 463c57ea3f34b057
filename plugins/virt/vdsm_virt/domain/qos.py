"""The policy of a machine in its domain's metadata: VDSM's element `qos`, which survives the daemon.

Clients of libvirt such as an engine find it there, too: namespace and form are VDSM's.
"""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element, register_namespace

import msgspec
from msgspec import UNSET, UnsetType

from vdsm_core.hypervisor import IO_LIMITS
from vdsm_virt.api.tuning import DiskLimits
from vdsm_virt.domain.elements import add, to_text

#: The name of the element's namespace, and the prefix that it is written with.
URI: Final = "http://ovirt.org/vm/tune/1.0"
PREFIX: Final = "ovirt-tune"
_TAG: Final = "qos"

register_namespace(PREFIX, URI)


class DiskPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The limits that a policy allows for a disk: what it always has, and what it has at most.

    :ivar name: the disk's target, such as `vda`
    :ivar path: the path of its image
    """

    name: str = ""
    path: str = ""
    guaranteed: DiskLimits = DiskLimits()
    maximum: DiskLimits = DiskLimits()


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The policy of a machine.

    :ivar vcpu_limit: percent of its processors; None: no limit
    :ivar disks: of those with limits
    """

    vcpu_limit: int | None = None
    disks: list[DiskPolicy] = []


def read(domain: Element) -> Policy:
    """Return the policy in a domain's document; an empty one without any."""
    root = domain.find(f"metadata/{{{URI}}}{_TAG}")
    if root is None:
        return Policy()
    limit = root.findtext(f"{{{URI}}}vcpuLimit") or root.findtext("vcpuLimit") or ""
    devices = [*root.iterfind(f"{{{URI}}}ioTune/{{{URI}}}device"), *root.iterfind("ioTune/device")]
    return Policy(
        vcpu_limit=int(limit) if limit.strip().isdigit() else None,
        disks=[
            DiskPolicy(
                name=device.get("name", ""),
                path=device.get("path", ""),
                guaranteed=_limits(device, "guaranteed"),
                maximum=_limits(device, "maximum"),
            )
            for device in devices
        ],
    )


def write_text(policy: Policy) -> str:
    """Return the element as XML, to which libvirt adds namespace and prefix."""
    root = Element(_TAG)
    if policy.vcpu_limit is not None:
        add(root, "vcpuLimit", policy.vcpu_limit)
    if policy.disks:
        tune = add(root, "ioTune")
        for disk in policy.disks:
            device = add(tune, "device", name=disk.name or None, path=disk.path or None)
            for kind, limits in (("maximum", disk.maximum), ("guaranteed", disk.guaranteed)):
                element = add(device, kind)
                for name in IO_LIMITS:
                    add(element, name, _given(limits, name))
    return to_text(root)


def _given(limits: DiskLimits, name: str) -> int:
    value: int | UnsetType = getattr(limits, name)
    return 0 if isinstance(value, UnsetType) else value


def _limits(device: Element, kind: str) -> DiskLimits:
    element = device.find(f"{{{URI}}}{kind}")
    element = device.find(kind) if element is None else element
    if element is None:
        return DiskLimits()
    found = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in element}
    return DiskLimits(
        **{name: int(found[name]) if found.get(name, "").isdigit() else UNSET for name in IO_LIMITS}
    )
