"""Marshalling one reply with the statistics of many machines, side by side with the standard library.

The yardstick, `xmlrpc.client.dumps`, gets plain data that is ready to be written; ours gets the typed result
of the verb. Both replies are parsed by `xmlrpc.client.loads` and must mean the same.

    python -m bench xmlrpc_marshal
"""

from __future__ import annotations

import xmlrpc.client

from bench.measure import Row, pair, table
from vdsm_virt.api.device_stats import DiskStats, NicStats
from vdsm_virt.api.stats import BalloonInfo, DisplayInfo, MemoryStats, VmStats
from vdsm_xmlrpc.envelope import envelope, response, status
from vdsm_xmlrpc.marshal import Marshaller


def machine(number: int) -> VmStats:
    """A running machine with two disks and one NIC, unlike its neighbours."""
    return VmStats(
        vm_id=f"11111111-2222-4333-8444-{number:012x}",
        vm_name=f"R&D-{number}" if number % 10 == 0 else f"machine-{number}",
        status="Up",
        time_offset=0,
        vm_type="kvm",
        pause_code="NOERR",
        monitor_response=0,
        stats_age=0.5,
        status_time=1_700_000_000_000 + number,
        elapsed_time=3_600 + number,
        pid=1_000 + number,
        client_ip="",
        kvm_enable=True,
        acpi_enable=True,
        cpu_user=number % 100 * 0.93,
        cpu_sys=1.25,
        cpu_usage=10**10 + number,
        cpu_actual=True,
        vcpu_count=2,
        mem_usage=number % 100,
        memory_stats=MemoryStats(
            mem_total=1_048_576,
            mem_free=1_000 + number,
            mem_unused=1_000 + number,
            mem_cached=0,
            swap_in=0,
            swap_out=0,
            majflt=number,
            minflt=number * 3,
            pageflt=number * 4,
        ),
        balloon_info=BalloonInfo(
            balloon_cur=1_048_576, balloon_max=1_048_576, balloon_min=0, balloon_target=1_048_576
        ),
        network={f"vnet{number}": nic(number)},
        disks={name: disk(number) for name in ("vda", "vdb")},
        display_info=[DisplayInfo(type="vnc", ip_address="127.0.0.1", port=5_900 + number, tls_port=-1)],
        display_type="vnc",
        display_ip="127.0.0.1",
        display_port=5_900 + number,
        display_secure_port=-1,
    )


def nic(number: int) -> NicStats:
    """A NIC with traffic."""
    return NicStats(
        name=f"vnet{number}",
        mac_addr=f"52:54:00:00:{number // 256:02x}:{number % 256:02x}",
        state="up",
        speed=1_000,
        rx=10**6 + number,
        tx=10**7 + number,
        rx_rate=number / 7,
        tx_rate=number / 11,
        rx_errors=0,
        tx_errors=0,
        rx_dropped=number,
        tx_dropped=0,
        sample_time=1_700_000_000.25 + number,
    )


def disk(number: int) -> DiskStats:
    """A disk with traffic."""
    return DiskStats(
        apparentsize=2 * 10**10,
        truesize=10**9 + number,
        read_bytes=10**9 + number,
        written_bytes=10**8 + number,
        read_ops=10_000 + number,
        write_ops=9_000 + number,
        read_rate=number * 13,
        write_rate=number * 7,
        read_latency=number * 1_000,
        write_latency=number * 1_700,
        flush_latency=0,
        image_id=f"7fd1c9a4-0000-4000-8000-{number:012x}",
    )


def compare(machines: int) -> Row:
    """Measure both, and insist that the replies mean the same."""
    marshaller = Marshaller()
    stats = [machine(number) for number in range(machines)]
    split = marshaller.splitter(list[VmStats])

    def ours() -> list[bytes]:
        return response(envelope(status(0, "Done"), {"statsList": split(stats)}))

    plain = xmlrpc.client.loads(b"".join(ours()))[0]

    def theirs() -> bytes:
        return xmlrpc.client.dumps(plain, methodresponse=True).encode()

    if xmlrpc.client.loads(theirs())[0] != plain:
        raise SystemExit("the two replies do not mean the same")
    mine, other = pair(ours, theirs)
    return Row(
        bench="XML-RPC marshalling",
        case=f"statistics of {machines:,} machines",
        unit="ms",
        value=mine * 1e3,
        yardstick=other * 1e3,
        yardstick_name="xmlrpc.client.dumps of plain data",
        note=f"{sum(map(len, ours())) / 1e3:,.0f} kB against {len(theirs()) / 1e3:,.0f} kB",
    )


def run() -> list[Row]:
    """10, 100 and 1,000 machines."""
    return [compare(machines) for machines in (10, 100, 1_000)]


if __name__ == "__main__":
    print(table(run()))
