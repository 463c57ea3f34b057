"""Marshalling one reply with the statistics of many machines, side by side with the standard library.

The yardstick, `xmlrpc.client.dumps`, gets plain data that is ready to be written; ours gets the typed result
of the verb. Both replies are parsed by `xmlrpc.client.loads` and must mean the same.

    python -m bench xmlrpc_marshal
"""

from __future__ import annotations

import xmlrpc.client
from typing import Annotated, Any, Literal

import msgspec

from bench.measure import Row, pair, table
from vdsm_bridge.types import SPELL_1, SPELL_2, SPELL_TEXT, SPELLING, Record
from vdsm_xmlrpc.envelope import envelope, response, status
from vdsm_xmlrpc.marshal import Marshaller

TextInt = Annotated[int, msgspec.Meta(extra={SPELLING: SPELL_TEXT})]
TextBool = Annotated[bool, msgspec.Meta(extra={SPELLING: SPELL_TEXT})]
Text2f = Annotated[float, msgspec.Meta(extra={SPELLING: SPELL_2})]
Text1f = Annotated[float, msgspec.Meta(extra={SPELLING: SPELL_1})]


class DiskStats(Record, frozen=True):
    """One disk, as VDSM's statistics have it."""

    truesize: TextInt
    apparentsize: TextInt
    image_id: str = msgspec.field(name="imageID")
    read_rate: Text2f
    write_rate: Text2f
    read_latency: TextInt
    write_latency: TextInt
    flush_latency: TextInt


class NetworkStats(Record, frozen=True):
    """One network interface, as VDSM's statistics have it."""

    mac_addr: str
    name: str
    speed: TextInt
    state: Literal["up", "down", "unknown"]
    rx_errors: TextInt
    rx_dropped: TextInt
    tx_errors: TextInt
    tx_dropped: TextInt
    rx_rate: Text1f
    tx_rate: Text1f


class MachineStats(Record, frozen=True, kw_only=True):
    """A running machine, with the members and the spellings of VDSM's `getAllVmStats`."""

    vm_id: str = msgspec.field(name="vmId")
    vm_name: str
    status: str
    pid: TextInt
    display_port: TextInt
    display_secure_port: TextInt
    display_type: str
    display_ip: str
    vm_type: str
    kvm_enable: TextBool
    acpi_enable: TextBool
    monitor_response: TextInt
    nice: TextInt
    elapsed_time: TextInt
    time_offset: TextInt
    client_ip: str
    pause_code: str | msgspec.UnsetType = msgspec.UNSET
    stats_age: Text2f
    cpu_user: Text2f
    cpu_sys: Text2f
    cpu_idle: Text2f
    vcpu_count: int
    vcpu_period: int
    vcpu_quota: int
    vm_jobs: dict[str, Any] = {}
    network: dict[str, NetworkStats]
    disks: dict[str, DiskStats]
    mem_usage: TextInt
    balloon_max: TextInt
    balloon_min: TextInt
    balloon_cur: TextInt
    username: str
    session: str
    guest_ips: str = msgspec.field(name="guestIPs")
    guest_name: str | msgspec.UnsetType = msgspec.UNSET
    guest_os: str | msgspec.UnsetType = msgspec.UNSET
    apps_list: list[str] = []
    hash: str
    last_login: float | msgspec.UnsetType = msgspec.UNSET
    monitored: bool = True


def machine(number: int) -> MachineStats:
    """A machine with two disks and one interface, unlike its neighbours."""
    disk = DiskStats(
        truesize=10**9 + number,
        apparentsize=2 * 10**10,
        image_id=f"7fd1c9a4-0000-4000-8000-{number:012x}",
        read_rate=number * 1.37,
        write_rate=number * 0.71,
        read_latency=number * 1_000,
        write_latency=number * 1_700,
        flush_latency=0,
    )
    nic = NetworkStats(
        mac_addr=f"52:54:00:00:{number // 256:02x}:{number % 256:02x}",
        name=f"vnet{number}",
        speed=1_000,
        state="up",
        rx_errors=0,
        rx_dropped=number,
        tx_errors=0,
        tx_dropped=0,
        rx_rate=number / 7,
        tx_rate=number / 11,
    )
    return MachineStats(
        vm_id=f"11111111-2222-4333-8444-{number:012x}",
        vm_name=f"machine-{number}",
        status="Up",
        pid=1_000 + number,
        display_port=5_900 + number,
        display_secure_port=-1,
        display_type="vnc",
        display_ip="127.0.0.1",
        vm_type="kvm",
        kvm_enable=True,
        acpi_enable=True,
        monitor_response=0,
        nice=0,
        elapsed_time=3_600 + number,
        time_offset=0,
        client_ip="",
        stats_age=0.5,
        cpu_user=number % 100 * 0.9,
        cpu_sys=1.25,
        cpu_idle=50.0,
        vcpu_count=2,
        vcpu_period=100_000,
        vcpu_quota=-1,
        network={nic.name: nic},
        disks={"vda": disk, "vdb": disk},
        mem_usage=number % 100,
        balloon_max=1_048_576,
        balloon_min=0,
        balloon_cur=1_048_576,
        username="Smith & Sons" if number % 10 == 0 else "root",
        session="Unknown",
        guest_ips=f"192.0.2.{number % 254 + 1}",
        guest_name=f"guest{number}",
        apps_list=["kernel", "vdsm-agent"],
        hash=str(number * 7_919_191_919_191),
        last_login=1_700_000_000.5 + number,
    )


def compare(machines: int) -> Row:
    """Measure both, and insist that the replies mean the same."""
    marshaller = Marshaller()
    stats = [machine(number) for number in range(machines)]
    split = marshaller.splitter(list[MachineStats])

    def ours() -> bytes:
        return response(envelope(status(0, "Done"), {"statsList": split(stats)}))

    plain = xmlrpc.client.loads(ours())[0]

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
        note=f"{len(ours()) / 1e3:,.0f} kB against {len(theirs()) / 1e3:,.0f} kB",
    )


def run() -> list[Row]:
    """10, 100 and 1,000 machines."""
    return [compare(machines) for machines in (10, 100, 1_000)]


if __name__ == "__main__":
    print(table(run()))
