"""Statistics of disks and NICs."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from vdsm_core.types import Record, Text1f, TextBytes, TextUint


class NicStats(Record, frozen=True, gc=False):
    """A NIC, by the guest's side: `rx` and `tx` in bytes, rates in percent of `speed` (Mbit/s)."""

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
    """A disk: sizes and totals in bytes, rates in bytes a second, latencies in nanoseconds an operation."""

    apparentsize: TextBytes
    truesize: TextBytes
    read_bytes: TextBytes
    written_bytes: TextBytes
    read_ops: TextUint
    write_ops: TextUint
    read_rate: TextUint
    write_rate: TextUint
    read_latency: TextUint
    write_latency: TextUint
    flush_latency: TextUint
    image_id: str | UnsetType = msgspec.field(name="imageID", default=UNSET)
