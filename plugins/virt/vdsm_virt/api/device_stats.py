"""Statistics of disks and NICs."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vdsm_core.types import SPELL_TEXT, SPELLING, Record, Text1f, TextBytes, TextUint

#: A number whose decimals are not rounded.
TextFloat = Annotated[float, Meta(ge=0, extra={SPELLING: SPELL_TEXT})]


class DiskLimitStats(Record, frozen=True, gc=False):
    """Limits of the throughput of a disk, in bytes and operations per second; 0: no limit."""

    total_bytes_sec: TextUint = msgspec.field(name="total_bytes_sec", default=0)
    read_bytes_sec: TextUint = msgspec.field(name="read_bytes_sec", default=0)
    write_bytes_sec: TextUint = msgspec.field(name="write_bytes_sec", default=0)
    total_iops_sec: TextUint = msgspec.field(name="total_iops_sec", default=0)
    read_iops_sec: TextUint = msgspec.field(name="read_iops_sec", default=0)
    write_iops_sec: TextUint = msgspec.field(name="write_iops_sec", default=0)


class DiskTuneStats(Record, frozen=True):
    """The limits of a disk that has any.

    :ivar name: its target, such as `vda`
    :ivar path: the path of its image
    :ivar io_tune: the limits
    """

    name: str
    path: str
    io_tune: DiskLimitStats


class NicStats(Record, frozen=True, gc=False):
    """Statistics of a NIC, seen from the guest: `rx`, `tx` in bytes, rates in percent of `speed` (Mbit/s).

    `sampleTime` is the time of the values on the host's monotonic clock, in seconds.
    """

    name: str
    mac_addr: str
    state: str
    speed: TextUint
    rx: TextUint
    tx: TextUint
    rx_rate: Text1f
    tx_rate: Text1f
    rx_errors: TextUint
    tx_errors: TextUint
    rx_dropped: TextUint
    tx_dropped: TextUint
    sample_time: float


class DiskStats(Record, frozen=True, gc=False):
    """Statistics of a disk: sizes and totals in bytes, rates in bytes/s, latencies in ns per operation.

    `apparentsize` is the size that the guest sees, `truesize` what the image takes up on storage. Latencies
    are means over the operations between the last two samples.
    """

    apparentsize: TextBytes
    truesize: TextBytes
    read_bytes: TextBytes
    written_bytes: TextBytes
    read_ops: TextUint
    write_ops: TextUint
    read_rate: TextFloat
    write_rate: TextFloat
    read_latency: TextFloat
    write_latency: TextFloat
    flush_latency: TextFloat
    image_id: str | UnsetType = msgspec.field(name="imageID", default=UNSET)
