"""The statistics of disks and NICs, from libvirt's bulk statistics."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from vdsm_core.hypervisor import IO_LIMITS, DomainSample
from vdsm_virt.api.device_stats import DiskLimitStats, DiskStats, DiskTuneStats, NicStats
from vdsm_virt.api.scalars import given
from vdsm_virt.api.tuning import DiskTune

#: Mbit/s of a NIC whose model is not known, the less of the two that VDSM reports.
_SLOW: Final = 100
_NO_NICS: Final[dict[str, NicStats]] = {}
_NO_DISKS: Final[dict[str, DiskStats]] = {}


def nics(
    read: DomainSample, before: DomainSample | None, macs: dict[str, str], speeds: dict[str, int]
) -> dict[str, NicStats]:
    """Return traffic by the interface's name on the host.

    :param speeds: Mbit/s, by the same names
    """
    stats = read.stats
    count = stats.get("net.count", 0)
    if not count:
        return _NO_NICS
    seconds = read.monotonic - before.monotonic if before is not None else 0.0
    found = {}
    for number in range(count):
        prefix = f"net.{number}."
        name = stats.get(f"{prefix}name")
        if name is None:
            continue
        speed = speeds.get(name, _SLOW)
        rates = [_change(read, before, f"{prefix}{way}.bytes", seconds) for way in ("rx", "tx")]
        found[name] = NicStats(
            name=name,
            mac_addr=macs.get(name, ""),
            state="unknown",
            speed=speed,
            rx=stats.get(f"{prefix}rx.bytes", 0),
            tx=stats.get(f"{prefix}tx.bytes", 0),
            rx_rate=rates[0] * 8 / (speed * 10_000),
            tx_rate=rates[1] * 8 / (speed * 10_000),
            rx_errors=stats.get(f"{prefix}rx.errs", 0),
            tx_errors=stats.get(f"{prefix}tx.errs", 0),
            rx_dropped=stats.get(f"{prefix}rx.drop", 0),
            tx_dropped=stats.get(f"{prefix}tx.drop", 0),
            sample_time=read.monotonic,
        )
    return found


def disks(read: DomainSample, before: DomainSample | None, images: dict[str, str]) -> dict[str, DiskStats]:
    """Return disks by target name."""
    stats = read.stats
    count = stats.get("block.count", 0)
    if not count:
        return _NO_DISKS
    seconds = read.monotonic - before.monotonic if before is not None else 0.0
    found = {}
    for number in range(count):
        prefix = f"block.{number}."
        name = stats.get(f"{prefix}name")
        if name is None or name in found:
            # Further entries of a name are the images below the disk.
            continue
        found[name] = DiskStats(
            apparentsize=stats.get(f"{prefix}capacity", 0),
            # `allocation` is the highest offset that was written: 0 of an image that is only read.
            truesize=stats.get(f"{prefix}physical", stats.get(f"{prefix}allocation", 0)),
            read_bytes=stats.get(f"{prefix}rd.bytes", 0),
            written_bytes=stats.get(f"{prefix}wr.bytes", 0),
            read_ops=stats.get(f"{prefix}rd.reqs", 0),
            write_ops=stats.get(f"{prefix}wr.reqs", 0),
            read_rate=_change(read, before, f"{prefix}rd.bytes", seconds),
            write_rate=_change(read, before, f"{prefix}wr.bytes", seconds),
            read_latency=_latency(read, before, f"{prefix}rd"),
            write_latency=_latency(read, before, f"{prefix}wr"),
            flush_latency=_latency(read, before, f"{prefix}fl"),
            image_id=images.get(name, UNSET),
        )
    return found


def tunes(limited: list[DiskTune]) -> list[DiskTuneStats]:
    """Return the limits of the disks that have any."""
    return [
        DiskTuneStats(
            name=tune.name,
            path=tune.path,
            io_tune=DiskLimitStats(**{name: given(getattr(tune.io_tune, name), 0) for name in IO_LIMITS}),
        )
        for tune in limited
    ]


def _change(read: DomainSample, before: DomainSample | None, name: str, seconds: float) -> float:
    """Return the growth of a counter per second; a counter that was reset has grown by nothing."""
    if before is None or seconds <= 0:
        return 0.0
    value = read.stats.get(name, 0)
    return float(max(0, value - before.stats.get(name, value)) / seconds)


def _latency(read: DomainSample, before: DomainSample | None, prefix: str) -> float:
    if before is None:
        return 0.0
    operations = read.stats.get(f"{prefix}.reqs", 0) - before.stats.get(f"{prefix}.reqs", 0)
    spent = read.stats.get(f"{prefix}.times", 0) - before.stats.get(f"{prefix}.times", 0)
    return spent / operations if operations > 0 and spent > 0 else 0.0
