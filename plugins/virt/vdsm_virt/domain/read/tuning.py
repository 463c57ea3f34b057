"""The shares and limits in a domain's XML, and what the statistics show beside libvirt's numbers."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_core.hypervisor import IO_LIMITS
from vdsm_virt.api.tuning import DiskLimits, DiskTune
from vdsm_virt.domain import qos

#: Mbit/s of the NIC models that VDSM shows with 1000; others have 100.
_FAST: Final = frozenset({"e1000", "e1000e", "virtio"})
_FAST_SPEED: Final = 1000
_SLOW_SPEED: Final = 100


class TuningFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a domain may use.

    :ivar quota: microseconds of processor time in a period for each virtual processor; 0: not set
    :ivar period: microseconds; 0: not set
    :ivar io_tune: the limits of the disks that have any
    :ivar disks: the paths of the disks by their targets, also those without limits
    :ivar cdrom: path of the image in the first CD-ROM drive; empty without one
    :ivar speeds: Mbit/s of the NICs by their interfaces on the host
    :ivar ballooning: whether it has a memory balloon
    :ivar vcpu_limit: the policy's limit of processor time, in percent; None without one
    :ivar policy: the policy's limits of disks
    """

    quota: int = 0
    period: int = 0
    io_tune: list[DiskTune] = []
    disks: dict[str, str] = {}
    cdrom: str = ""
    speeds: dict[str, int] = {}
    ballooning: bool = True
    vcpu_limit: int | None = None
    policy: list[qos.DiskPolicy] = []


def read_tuning(domain: Element) -> TuningFacts:
    """Return what a document holds."""
    balloon = domain.find("devices/memballoon")
    kept = qos.read(domain)
    return TuningFacts(
        quota=_whole(domain.findtext("cputune/quota")),
        period=_whole(domain.findtext("cputune/period")),
        io_tune=[tune for disk in domain.findall("devices/disk") if (tune := _tune(disk)) is not None],
        disks={_target(disk): _path(disk) for disk in domain.findall("devices/disk[@device='disk']")},
        cdrom=next((_path(disk) for disk in domain.findall("devices/disk[@device='cdrom']")), ""),
        speeds={
            target.get("dev", ""): _speed(nic)
            for nic in domain.findall("devices/interface")
            if (target := nic.find("target")) is not None
        },
        ballooning=balloon is not None and balloon.get("model") != "none",
        vcpu_limit=kept.vcpu_limit,
        policy=kept.disks,
    )


def _tune(disk: Element) -> DiskTune | None:
    element = disk.find("iotune")
    if element is None:
        return None
    limits = {name: value for name in IO_LIMITS if (value := _whole(element.findtext(name)))}
    if not limits:
        return None
    return DiskTune(name=_target(disk), path=_path(disk), io_tune=msgspec.convert(limits, DiskLimits))


def _target(disk: Element) -> str:
    target = disk.find("target")
    return target.get("dev", "") if target is not None else ""


def _path(disk: Element) -> str:
    source = disk.find("source")
    if source is None:
        return ""
    return next((source.attrib[name] for name in ("file", "dev", "name") if name in source.attrib), "")


def _speed(nic: Element) -> int:
    model = nic.find("model")
    return _FAST_SPEED if model is not None and model.get("type") in _FAST else _SLOW_SPEED


def _whole(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0
