"""Counters and what becomes of them between two samples."""

import os
import threading

import pytest

from vdsm_core.types import builtins
from vdsm_virt.host import HostSampler, Machines, load

TICKS = load.TICKS
NET = "sys/class/net"


def stat(*rows):
    return (
        "\n".join(f"{name} {user} 0 {system} {idle} 0 0 0 0 0 0" for name, user, system, idle in rows) + "\n"
    )


def net_dev(**traffic):
    rows = [f"{name:>6}: {rx} 1 2 3 0 0 0 0 {tx} 1 4 5 0 0 0 0" for name, (rx, tx) in traffic.items()]
    return "Inter-|\n face |\n" + "\n".join(rows) + "\n"


def process(user, system, start=0):
    return f"77 (vdsmd (main) x) S 1 77 77 0 -1 0 0 0 0 0 {user} {system} 0 0 20 0 9 0 {start} 0 0\n"


HOST = {
    "proc/stat": stat(("cpu", 100, 100, 800), ("cpu0", 50, 50, 400), ("cpu1", 50, 50, 400))
    + "btime 1700000000\n",
    "proc/loadavg": "0.1 0.2 0.3 1/1 1",
    "proc/meminfo": "MemTotal: 4194304 kB\nMemAvailable: 2097152 kB\nAnonHugePages: 2048 kB\n"
    "SwapTotal: 1048576 kB\nSwapFree: 524288 kB\n",
    "proc/net/dev": net_dev(lo=(5, 5), eth0=(1000, 2000), br0=(7, 7)),
    "proc/self/stat": process(10, 20),
    "proc/9/comm": "ksmd\n",
    "proc/9/stat": process(0, 30, start=1),
    "sys/devices/system/cpu/online": "0-1",
    "sys/devices/system/cpu/cpu1/node1/x": "",
    f"{NET}/eth0/type": "1",
    f"{NET}/eth0/device/uevent": "",
    f"{NET}/eth0/speed": "1000",
    f"{NET}/eth0/operstate": "up",
    f"{NET}/eth0/address": "52:54:00:00:00:01",
    f"{NET}/br0/bridge/stp_state": "0",
    "data/file": "",
}


class Clock:
    def __init__(self):
        self.now = 10.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sampler(tree, clock):
    return HostSampler(tree(HOST), paths=["/data", "/absent"], reserve=300, clock=clock)


@pytest.fixture
def ten_seconds_later(tree, clock, sampler):
    """A first sample, then new counters ten seconds later, sampled; asked three seconds after that."""
    sampler.sample()
    clock.now += 10
    tree(
        {
            "proc/stat": stat(("cpu", 400, 200, 1400), ("cpu0", 350, 150, 500), ("cpu1", 50, 50, 900)),
            "proc/net/dev": net_dev(lo=(9, 9), eth0=(1000 + 125_000_000, 2000 + 12_500_000), br0=(9, 9)),
            "proc/self/stat": process(10 + TICKS, 20 + TICKS // 2),
        }
    )
    sampler.sample()
    clock.now += 3
    return sampler.stats(Machines(count=3, active=2, incoming=1, outgoing=2, committed=1000, resident=400))


def test_processors_together(ten_seconds_later):
    """300 ticks of user and 100 of system among 1,000."""
    stats = ten_seconds_later
    assert (stats.cpu_user, stats.cpu_sys, stats.cpu_idle) == (30.0, 10.0, 60.0)


def test_processors_each(ten_seconds_later):
    """One processor worked, the other idled; each has its node."""
    first, second = (ten_seconds_later.cpu_statistics[core] for core in ("0", "1"))
    assert (first.cpu_user, first.cpu_sys, first.cpu_idle, first.node_index) == (60.0, 20.0, 20.0, 0)
    assert (second.cpu_user, second.cpu_idle, second.node_index) == (0.0, 100.0, 1)


def test_own_share_is_of_one_processor(ten_seconds_later):
    """One second of user time and half of system time in ten."""
    assert (ten_seconds_later.cpu_user_vdsmd, ten_seconds_later.cpu_sys_vdsmd) == (10.0, 5.0)


def test_rates_of_an_interface(ten_seconds_later):
    """125 MB in ten seconds are 100 Mbit/s, a tenth of the link."""
    nic = ten_seconds_later.network["eth0"]
    assert (nic.rx_rate, nic.tx_rate) == (10.0, 1.0)
    assert (nic.rx, nic.rx_errors, nic.rx_dropped, nic.tx_errors, nic.tx_dropped) == (125001000, 2, 3, 4, 5)
    assert (nic.state, nic.speed, nic.mac_addr) == ("up", 1000, "52:54:00:00:00:01")


def test_totals_are_of_the_nics(ten_seconds_later):
    """Bridges and loopback carry the same packets again: they count for nothing and bridges are not shown."""
    stats = ten_seconds_later
    assert set(stats.network) == {"eth0"}
    assert (stats.rx_rate, stats.tx_rate, stats.rx_dropped, stats.tx_dropped) == (10.0, 1.0, 3, 5)


def test_memory(ten_seconds_later):
    """2,048 MiB can be had; less what is promised and not yet held, and the host's own part."""
    stats = ten_seconds_later
    assert (stats.mem_used, stats.mem_free, stats.anon_huge_pages) == (50, 2048, 2)
    assert stats.mem_available == 2048 + 400 - 1000 - 300
    assert (stats.mem_committed, stats.swap_total, stats.swap_free) == (1000, 1024, 512)


def test_counts_of_machines(ten_seconds_later):
    """As the caller gave them; migrating is either way."""
    stats = ten_seconds_later
    assert (stats.vm_count, stats.vm_active, stats.vm_migrating) == (3, 2, 3)
    assert (stats.incoming_vm_migrations, stats.outgoing_vm_migrations) == (1, 2)


def test_times(ten_seconds_later):
    """Age of the sample and time of the daemon, by the clock."""
    assert (ten_seconds_later.stats_age, ten_seconds_later.elapsed_time) == (3.0, 13)


def test_paths_that_are_absent_are_left_out(ten_seconds_later, tmp_path):
    """Free space of the others is that of their file system."""
    status = os.statvfs(tmp_path)
    free = status.f_bavail * status.f_frsize >> 20
    assert ten_seconds_later.disk_stats.keys() == {"/data"}
    assert ten_seconds_later.disk_stats["/data"].free == pytest.approx(free, abs=200)


def test_first_sample_is_the_average_since_boot(sampler):
    """Values are there at once: ten seconds after boot, 100 ticks of 1,000 each."""
    stats = sampler.stats(Machines())
    assert (stats.cpu_user, stats.cpu_sys, stats.cpu_idle) == (10.0, 10.0, 80.0)
    assert stats.network["eth0"].rx_rate == pytest.approx(100 * 8 * 1000 / (10 * 1e9))


def test_interface_that_began_anew(tree, clock, sampler):
    """Counters that fell count from zero: a rate is never negative."""
    sampler.sample()
    clock.now += 1
    tree({"proc/net/dev": net_dev(eth0=(500, 0))})
    sampler.sample()
    nic = sampler.stats(Machines()).network["eth0"]
    assert nic.rx_rate == pytest.approx(100 * 8 * 500 / 1e9)
    assert nic.tx_rate == 0


def test_samples_without_a_tick_between_them(sampler):
    """Two looks in the same moment divide by nothing."""
    sampler.sample()
    sampler.sample()
    stats = sampler.stats(Machines())
    assert stats.cpu_user + stats.cpu_sys + stats.cpu_idle == pytest.approx(100)


def test_ksmd_is_found(tree, clock):
    """The thread's share of one processor, since boot: 30 ticks in ten seconds."""
    sampler = HostSampler(tree(HOST), clock=clock)
    sampler.start()
    sampler.stop()
    assert sampler.stats(Machines()).ksm_cpu == round(100 * 30 / (10 * TICKS))


def test_thread_samples_and_ends(tree):
    """A short interval brings new samples without being asked; after stop the thread is gone."""
    sampler = HostSampler(tree(HOST), interval=0.01)
    threads = set(threading.enumerate())
    sampler.start()
    (thread,) = set(threading.enumerate()) - threads
    first = sampler.stats(Machines()).network["eth0"].sample_time
    pause = threading.Event()
    for _ in range(200):
        if sampler.stats(Machines()).network["eth0"].sample_time > first:
            break
        pause.wait(0.01)
    assert sampler.stats(Machines()).network["eth0"].sample_time > first
    sampler.stop()
    assert not thread.is_alive()


def test_broken_file_does_not_end_the_thread(tree, caplog):
    """The failure is in the log, the last values stay, and the next sample is taken."""
    host = tree(HOST)
    sampler = HostSampler(host, interval=0.01)
    sampler.start()
    tree({"proc/stat": "cpu a b c d e f g h\n"})
    pause = threading.Event()
    for _ in range(200):
        if "Cannot sample the host" in caplog.text:
            break
        pause.wait(0.01)
    assert "Cannot sample the host" in caplog.text
    tree({"proc/stat": stat(("cpu", 900, 0, 100))})
    for _ in range(200):
        if sampler.stats(Machines()).cpu_user == 90.0:
            break
        pause.wait(0.01)
    sampler.stop()
    assert not sampler.stats(Machines()).cpu_statistics


def test_each_start_is_another_generation(tree):
    """3.1 clients notice by it that the daemon was restarted."""
    ids = {HostSampler(tree(HOST)).stats(Machines()).generation_id for _ in range(2)}
    assert len(ids) == 2


def test_wire_names(ten_seconds_later):
    """Names that are not plain camel case, and the neutral values of what this host has not."""
    wire = builtins(ten_seconds_later)
    assert "generationID" in wire
    assert wire["storageDomains"] == {}
    assert wire["momStatus"] == "inactive"
    assert wire["haStats"]["configured"] is False
    assert wire["dateTime"].endswith(" GMT")
