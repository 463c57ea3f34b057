"""The real host, on libvirt's test driver: are the facts plausible, compared with other ways to ask?"""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vdsm_core.config import HypervisorOptions
from vdsm_core.hypervisor import Hypervisor
from vdsm_core.types import builtins, convert
from vdsm_virt.host import HostFacts, HostSampler, Machines, Tree
from vdsm_virt.host.system.hypervisor import HypervisorFacts


@pytest.fixture(scope="module")
def capabilities():
    hypervisor = Hypervisor(HypervisorOptions(uri="test:///default"))
    hypervisor.start()
    source: HypervisorFacts = hypervisor.node
    try:
        yield HostFacts(source, Tree()).capabilities("127.0.0.1")
    finally:
        hypervisor.stop(5.0)


@pytest.fixture(scope="module")
def stats():
    sampler = HostSampler(Tree(), interval=60)
    sampler.start()
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        pass  # Processor time that must show up as this process's.
    sampler.sample()
    sampler.stop()
    return sampler.stats(Machines(count=1))


def meminfo(key):
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def test_memory(capabilities, stats):
    """Within one percent of the C library's and the kernel's figures, in MiB."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    assert capabilities.mem_size == pytest.approx(physical, rel=0.01)
    assert stats.mem_free == pytest.approx(meminfo("MemAvailable") >> 10, rel=0.05)
    assert 0 <= stats.mem_used <= 100


def test_processors(capabilities):
    """As many as the C library counts."""
    assert capabilities.cpu_threads == os.sysconf("SC_NPROCESSORS_ONLN")
    assert 1 <= capabilities.cpu_sockets <= capabilities.cpu_cores <= capabilities.cpu_threads
    assert set(capabilities.vdsm_to_cpus_affinity) == os.sched_getaffinity(0)
    assert capabilities.cpu_flags


def test_nics(capabilities, stats):
    """The uplinks are there, with addresses that the machine really has; loopback is not."""
    assert "lo" not in capabilities.nics
    assert capabilities.nics.keys() <= {path.name for path in Path("/sys/class/net").iterdir()}
    assert capabilities.nics.keys() <= stats.network.keys()
    for name, nic in capabilities.nics.items():
        assert nic.hwaddr == Path(f"/sys/class/net/{name}/address").read_text().strip()
    assert capabilities.last_client_iface == "lo"


def test_shares_of_processor_time(stats):
    """They sum up to one hundred, together and each."""
    for share in (stats, *stats.cpu_statistics.values()):
        assert share.cpu_user + share.cpu_sys + share.cpu_idle == pytest.approx(100, abs=0.01)
        assert min(share.cpu_user, share.cpu_sys, share.cpu_idle) >= 0


def test_own_time_is_seen(stats):
    """A busy loop of a tenth of a second is processor time of this process."""
    assert stats.cpu_user_vdsmd + stats.cpu_sys_vdsmd > 5


def test_time(stats):
    """The date is now, in UTC; the boot was before."""
    published = datetime.strptime(stats.date_time, "%Y-%m-%dT%H:%M:%S GMT").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - published).total_seconds()) < 60
    assert stats.boot_time == pytest.approx(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME), abs=5)


def test_test_driver_is_no_kvm(capabilities):
    """Whatever /dev/kvm suggests: a hypervisor that does not offer KVM has it not enabled."""
    assert capabilities.kvm_enabled is False
    assert capabilities.emulated_machines == []
    assert "libvirt" in capabilities.packages2


def test_facts_survive_the_wire(capabilities, stats):
    """The values fit their own types, ranges included."""
    for record in (capabilities, stats):
        assert convert(builtins(record), type(record)) == record
