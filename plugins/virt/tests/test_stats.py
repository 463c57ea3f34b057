"""Statistics: from libvirt's numbers to VDSM's."""

from __future__ import annotations

import msgspec
import pytest

from vdsm_core.hypervisor import DomainSample, Sample
from vdsm_core.types import builtins
from vdsm_virt.api.stats import MemoryStats
from vdsm_virt.guest.facts import GuestFacts
from vdsm_virt.machine.machine import Machine
from vdsm_virt.stats import statistics as module
from vdsm_virt.stats.moments import Chronicle

ID = "9b6f7d32-0c3f-4a0d-8c7e-0f2f6b1c7f55"
#: As QEMU's driver gives them for a guest with a disk, an image below it, and a NIC.
BEFORE = {
    "state.state": 1,
    "cpu.time": 1_000_000_000,
    "cpu.user": 500_000_000,
    "cpu.system": 500_000_000,
    "vcpu.current": 1,
    "vcpu.maximum": 1,
    "vcpu.0.time": 600_000_000,
    "balloon.current": 262_144,
    "balloon.maximum": 524_288,
    "balloon.available": 200_000,
    "balloon.unused": 50_000,
    "balloon.usable": 100_000,
    "balloon.disk_caches": 7,
    "balloon.swap_in": 0,
    "balloon.swap_out": 10,
    "balloon.major_fault": 0,
    "balloon.minor_fault": 100,
    "net.count": 1,
    "net.0.name": "vnet0",
    "net.0.rx.bytes": 1_000_000,
    "net.0.tx.bytes": 0,
    "net.0.rx.errs": 1,
    "net.0.tx.errs": 2,
    "net.0.rx.drop": 3,
    "net.0.tx.drop": 4,
    "block.count": 2,
    "block.0.name": "vda",
    "block.0.backingIndex": 1,
    "block.0.rd.bytes": 0,
    "block.0.rd.reqs": 0,
    "block.0.rd.times": 0,
    "block.0.wr.bytes": 4096,
    "block.0.wr.reqs": 1,
    "block.0.wr.times": 1000,
    "block.0.fl.reqs": 0,
    "block.0.fl.times": 0,
    "block.0.allocation": 0,
    "block.0.physical": 8192,
    "block.0.capacity": 1_048_576,
    "block.1.name": "vda",
    "block.1.backingIndex": 2,
}
AFTER = BEFORE | {
    "cpu.time": 3_000_000_000,
    "cpu.user": 700_000_000,
    "cpu.system": 700_000_000,
    "vcpu.0.time": 2_200_000_000,
    "balloon.swap_out": 30,
    "balloon.major_fault": 4,
    "balloon.minor_fault": 140,
    "net.0.rx.bytes": 3_500_000,
    "net.0.tx.bytes": 250_000,
    "block.0.rd.bytes": 2_097_152,
    "block.0.rd.reqs": 10,
    "block.0.rd.times": 5000,
}


def sample(stats, at, **members):
    return DomainSample(
        uuid=ID, name="a", state="running", active=True, stats=stats, taken_at=at, monotonic=at, **members
    )


def sources():
    return module.Sources(chronicle=Chronicle(), guests=GuestFacts())


def machine(**members):
    return Machine(id=ID, name="a", status="Up", since=0.0, started=90.0, active=True, **members)


def shown(before, after, seconds=2.0, now=102.5, lost="", **members):
    previous = Sample(taken_at=100.0, monotonic=100.0, domains={ID: sample(before, 100.0)} if before else {})
    taken = 100.0 + seconds
    newest = Sample(
        taken_at=taken, monotonic=taken, domains={ID: sample(after, taken, **members)}, previous=previous
    )
    return builtins(module.stats_of(machine(), newest, now, lost, sources()))


def test_processor_time_is_percent_of_one_processor():
    """Two seconds of work in two seconds: 20 % by the QEMU process, the rest is the guest's."""
    stats = shown(BEFORE, AFTER)
    assert (stats["cpuUser"], stats["cpuSys"]) == (pytest.approx(80), pytest.approx(20))
    assert (stats["cpuUsage"], stats["cpuActual"]) == (1_400_000_000, True)


def test_without_an_earlier_sample_there_are_no_rates():
    """The first values of a machine, or of a new run of it, are not divided by anything."""
    for before in (None, BEFORE | {"cpu.time": 9_000_000_000}):
        stats = shown(before, AFTER)
        assert (stats["cpuUser"], stats["cpuSys"]) == (0, 0)
        assert stats["network"]["vnet0"]["rxRate"] == 0
        assert stats["disks"]["vda"]["readRate"] == 0


def test_memory_is_what_the_guest_says():
    """Free is what is unused or holds copies of disks; faults and swaps are rates."""
    stats = shown(BEFORE, AFTER)
    assert stats["memUsage"] == 75
    assert stats["balloonInfo"] == {
        "balloon_cur": 262_144,
        "balloon_max": 524_288,
        "balloon_min": 524_288,
        "balloon_target": 262_144,
        "ballooning_enabled": True,
    }
    assert stats["memoryStats"] == {
        "mem_total": 200_000,
        "mem_free": 50_007,
        "mem_unused": 50_000,
        "mem_cached": 7,
        "swap_in": 0,
        "swap_out": 10,
        "majflt": 2,
        "minflt": 20,
        "pageflt": 22,
    }


def test_a_guest_without_a_balloon_driver_says_nothing_of_memory():
    """An invented figure would be worse."""
    silent = {name: value for name, value in AFTER.items() if name != "balloon.available"}
    stats = shown(BEFORE, silent)
    assert "memoryStats" not in stats
    assert stats["memUsage"] == 0


def test_traffic_is_percent_of_the_assumed_speed():
    """2.5 MB in two seconds are 10 Mbit/s: 10 % of the 100 of a model that is not known to be faster."""
    nic = shown(BEFORE, AFTER)["network"]["vnet0"]
    assert (nic["rxRate"], nic["txRate"]) == (pytest.approx(10.0), pytest.approx(1.0))
    assert (nic["rx"], nic["rxErrors"], nic["txDropped"], nic["speed"]) == (3_500_000, 1, 4, 100)


def test_a_disk_is_shown_once_whatever_lies_below_it():
    """Rates in bytes a second, latencies in nanoseconds an operation."""
    disks = shown(BEFORE, AFTER)["disks"]
    assert list(disks) == ["vda"]
    disk = disks["vda"]
    assert (disk["readRate"], disk["readLatency"], disk["writeLatency"]) == (1_048_576, 500, 0)
    assert (disk["apparentsize"], disk["truesize"], disk["readOps"]) == (1_048_576, 8192, 10)


def test_a_machine_that_does_not_respond_shows_age_and_reason():
    """The last values, when they were read, and why there are no newer ones."""
    stats = shown(BEFORE, AFTER, now=142.0, responding=False, why="a job holds the machine")
    assert (stats["monitorResponse"], stats["notResponding"]) == (-1, "a job holds the machine")
    assert stats["statsAge"] == pytest.approx(40)
    assert (stats["statusTime"], stats["elapsedTime"]) == (102_000, 52)


def test_a_lost_libvirt_is_the_reason_of_all():
    """Then no machine can be asked."""
    stats = shown(BEFORE, AFTER, lost="libvirt is not reached: end of file")
    assert (stats["monitorResponse"], stats["notResponding"]) == (-1, "libvirt is not reached: end of file")


def test_a_machine_that_is_not_in_the_sample_yet_is_shown(vms):
    """It was started a moment ago."""
    empty = Sample(taken_at=1.0, monotonic=1.0, domains={})
    stats = builtins(module.stats_of(machine(), empty, 100.0, "", sources()))
    assert (stats["status"], stats["monitorResponse"], stats["network"]) == ("Up", 0, {})


#: Members that VDSM's newest schema does not call optional, and those that 3.1 always sent.
RUNNING = """
    timeOffset kvmEnable cpuSys cpuUser cpuIdle elapsedTime acpiEnable network disks cpuActual vmId guestIPs
    vmType guestFQDN username pid vmName statusTime clientIp pauseCode memUsage monitorResponse guestCPUCount
    session status statsAge nice appsList disksUsage netIfaces
"""


def test_members_are_vdsms():
    """Every member that clients of VDSM rely on is there, for a guest without an agent, too."""
    newest = Sample(taken_at=102.0, monotonic=102.0, domains={ID: sample(AFTER, 102.0)})
    stats = builtins(module.stats_of(machine(), newest, 103.0, "", sources()))
    assert set(RUNNING.split()) - stats.keys() == set()
    assert (stats["session"], stats["guestIPs"], stats["appsList"]) == ("Unknown", "", [])


def test_the_answer_for_all_is_given_again(vms):
    """Within a second, from the same sample, with no change of any machine."""
    vm_id = vms.create(display="vnc", smp=2)
    vms.hypervisor.stats.refresh()
    first = vms.call("Host.getAllVmStats")
    if vms.call("Host.getAllVmStats") is not first:  # a new sample was taken just then
        first = vms.call("Host.getAllVmStats")
    assert vms.call("Host.getAllVmStats") is first
    vms.call("VM.pause", vmID=vm_id)
    changed = vms.call("Host.getAllVmStats")
    assert {stats.vm_id: stats.status for stats in changed}[vm_id] == "Paused"
    (mine,) = (stats for stats in changed if stats.vm_id == vm_id)
    assert (mine.vcpu_count, mine.display_type, mine.display_info[0].type) == (2, "vnc", "vnc")


@pytest.mark.parametrize(
    ("patience", "port", "agent", "status"),
    [
        (60.0, "org.qemu.guest_agent.0", "", "Powering up"),
        (60.0, "com.redhat.rhevm.vdsm", "", "Powering up"),
        (60.0, "com.redhat.rhevm.vdsm", "qemu", "Up"),
        (60.0, "com.redhat.rhevm.vdsm", "ovirt", "Up"),
        (60.0, "", "", "Up"),
        (5.0, "org.qemu.guest_agent.0", "", "Up"),
        (0.0, "org.qemu.guest_agent.0", "", "Up"),
    ],
)
def test_a_guest_powers_up_until_its_agent_answers(patience, port, agent, status):
    """If it has a channel for one; ten seconds after its start, and only for so long."""
    known = module.Sources(chronicle=Chronicle(), guests=GuestFacts(), patience=lambda: patience)
    details = msgspec.structs.replace(
        module._UNKNOWN, agent_port="qemu" in port, ovirt_port=port if "redhat" in port else ""
    )
    if agent == "qemu":
        known.guests.change_qemu(ID, lambda facts: msgspec.structs.replace(facts, answered=1.0))
    elif agent == "ovirt":
        known.guests.change_ovirt(ID, lambda facts: msgspec.structs.replace(facts, received=1.0))
    empty = Sample(taken_at=1.0, monotonic=1.0, domains={})
    assert module.stats_of(machine(details=details), empty, 100.0, "", known).status == status
    paused = msgspec.structs.replace(machine(details=details), status="Paused")
    assert module.stats_of(paused, empty, 100.0, "", known).status == "Paused"


def test_memory_is_what_ovirts_agent_says():
    """Where the balloon's driver says nothing."""
    known = sources()
    memory = MemoryStats(
        mem_total=9,
        mem_free=8,
        mem_unused=7,
        mem_cached=0,
        swap_in=0,
        swap_out=0,
        majflt=0,
        minflt=0,
        pageflt=0,
    )
    known.guests.change_ovirt(ID, lambda facts: msgspec.structs.replace(facts, memory_stats=memory))
    empty = Sample(taken_at=1.0, monotonic=1.0, domains={})
    assert module.stats_of(machine(), empty, 100.0, "", known).memory_stats == memory


def test_times_of_statuses(vms):
    """Lists and statistics have when the status began, of machines that are down, too; it grows."""
    vm_id = vms.create()

    def times():
        (listed,) = (each for each in vms.call("Host.getVMList") if each.vm_id == vm_id)
        return (
            listed.status_time,
            vms.call("VM.getInfo", vmID=vm_id).status_time,
            vms.stats(vm_id).status_time,
        )

    first = times()
    assert first[0] == first[1] <= first[2]
    vms.call("VM.pause", vmID=vm_id)
    second = times()
    assert second[0] == second[1] > first[0]
    vms.hypervisor.domains.destroy(vm_id)
    vms.wait(vm_id, lambda stats: stats.status == "Down")
    third = times()
    assert third[0] == third[1] == third[2] > second[0]
