"""The facts put together, on a made-up host."""

import threading

import msgspec
import pytest
from msgspec import UNSET

from vdsm_core.errors import HypervisorUnavailable
from vdsm_core.types import builtins
from vdsm_virt.host import Capabilities, HostFacts, HostStats, Machines, Promises

#: Members that VDSM's newest schema does not call optional, and that 3.1 clients read besides.
CAPABILITIES = """
    bondings autoNumaBalancing netConfigDirty nics emulatedMachines cpuFlags reservedMem onlineCpus
    cpuTopology cpuSpeed software_version vdsmToCpusAffinity vmTypes hostdevPassthrough rngSources
    version_name numaNodes memSize supportedENGINEs cpuModel selinux networks kvmEnabled
    ISCSIInitiatorName cpuThreads software_revision bridges guestOverhead HBAInventory clusterLevels
    cpuCores cpuSockets lastClientIface operatingSystem vlans supportsIPv6 nameservers numaNodeDistance
    kdumpStatus packages2 additionalFeatures vncEncrypted supportedRHEVMs supportedProtocols lastClient
    uuid hooks management_ip
"""
STATS = """
    cpuUserVdsmd swapTotal incomingVmMigrations cpuLoad ksmPages memUsed cpuIdle txDropped ksmState
    elapsedTime netConfigDirty vmActive vmMigrating network outgoingVmMigrations cpuSys dateTime
    cpuStatistics swapFree cpuUser ksmCpu numaNodeMemFree momStatus memFree memShared storageDomains
    vmCount diskStats cpuSysVdsmd haStats thpState rxDropped anonHugePages ksmMergeAcrossNodes rxRate
    txRate statsAge memAvailable memCommitted generationID
"""


@pytest.mark.parametrize(("record", "names"), [(Capabilities, CAPABILITIES), (HostStats, STATS)])
def test_members_are_vdsms(record, names):
    """Every member that clients of VDSM rely on is there, by VDSM's spelling."""
    assert set(names.split()) - {field.encode_name for field in msgspec.structs.fields(record)} == set()


@pytest.fixture
def facts(tree, documents):
    host = tree(
        {
            "proc/cpuinfo": "model name : Xeon\ncpu MHz : 2000.5\nflags : fpu vmx\n",
            "proc/meminfo": "MemTotal: 4194304 kB\n",
            "sys/devices/system/cpu/online": "0",
        }
    )
    return HostFacts(documents(), host, addresses=dict)


def test_flags_end_with_models(facts):
    """Engines read the models that a guest can be given from the list of flags."""
    assert facts.capabilities().cpu_flags == "fpu,vmx,model_Nehalem,model_qemu64"


def test_kvm_needs_more_than_libvirts_word(facts):
    """libvirt offers it; without a device that answers, it is not enabled."""
    assert facts.capabilities().kvm_enabled is False


def test_memory_is_in_mib(facts):
    """4 GiB, less what VDSM keeps for the host."""
    capabilities = facts.capabilities()
    assert (capabilities.mem_size, capabilities.reserved_mem, capabilities.guest_overhead) == (4096, 321, 65)


def test_promises_are_the_callers(tree, documents):
    """What an engine can expect is configured on the host."""
    promises = Promises(host_reserve=512, extra_reserve=0, guest_overhead=100, cluster_levels=("4.7",))
    capabilities = HostFacts(documents(), tree({}), addresses=dict, promises=promises).capabilities()
    assert (capabilities.reserved_mem, capabilities.guest_overhead) == (512, 100)
    assert capabilities.cluster_levels == ["4.7"]


def test_client_is_told_back(facts):
    """A caller over a unix socket has no address."""
    assert facts.capabilities("127.0.0.1").last_client == "127.0.0.1"
    assert facts.capabilities("127.0.0.1").last_client_iface == "lo"
    assert (facts.capabilities().last_client, facts.capabilities().last_client_iface) == ("", "")


def test_documents_are_read_once_until_refreshed(tree, documents):
    """Many callers at once ask libvirt once; after a refresh it is asked again."""
    source = documents()
    facts = HostFacts(source, tree({}), addresses=dict)
    threads = [threading.Thread(target=facts.capabilities) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.reads == 1
    source.capabilities = source.capabilities.replace("pc-q35-7.2", "pc-q35-8.0")
    facts.refresh()
    assert facts.capabilities().emulated_machines == ["pc", "pc-q35-8.0"]


def test_old_facts_serve_while_libvirt_is_slow(tree, documents):
    """A slow refresh delays no caller."""

    class Slow(documents):
        entered = threading.Event()
        answer = threading.Event()

        def libvirt_version(self):
            if self.reads > 1:
                self.entered.set()
                self.answer.wait(10)
            return super().libvirt_version()

    source = Slow()
    facts = HostFacts(source, tree({}), addresses=dict)
    old = facts.capabilities()
    source.capabilities = source.capabilities.replace("pc-q35-7.2", "pc-q35-8.0")
    refresh = threading.Thread(target=facts.refresh)
    refresh.start()
    assert source.entered.wait(10)
    assert facts.capabilities().emulated_machines == old.emulated_machines
    source.answer.set()
    refresh.join()
    assert facts.capabilities().emulated_machines == ["pc", "pc-q35-8.0"]


def test_old_facts_stay_when_libvirt_is_away(tree, documents):
    """A failed refresh is logged, and the old facts stay."""

    class Gone(documents):
        def libvirt_version(self):
            if self.reads > 1:
                raise HypervisorUnavailable(reason="stopped")
            return super().libvirt_version()

    facts = HostFacts(Gone(), tree({}), addresses=dict)
    old = facts.capabilities()
    with pytest.raises(HypervisorUnavailable):
        facts.refresh()
    assert facts.capabilities() == old


def test_what_changes_is_read_anew(facts, tree):
    """Memory and processors can be plugged in."""
    assert facts.capabilities().cpu_threads == 1
    tree({"proc/meminfo": "MemTotal: 8388608 kB\n", "sys/devices/system/cpu/online": "0-1"})
    assert (facts.capabilities().mem_size, facts.capabilities().cpu_threads) == (8192, 2)


def test_failure_is_not_kept(tree, documents):
    """The hypervisor is away at the first call, and there at the second."""

    class Away(documents):
        up = False

        def capabilities_xml(self, *, timeout=None):
            if not self.up:
                raise HypervisorUnavailable(reason="starting")
            return super().capabilities_xml(timeout=timeout)

    source = Away()
    facts = HostFacts(source, tree({}), addresses=dict)
    with pytest.raises(HypervisorUnavailable):
        facts.capabilities()
    source.up = True
    assert facts.capabilities().emulated_machines


def test_bare_host_has_no_invented_facts(tree, documents):
    """On a root without any file, everything is still answered, and what has no honest value is absent."""
    source = documents("<capabilities><host/></capabilities>", None)
    wire = builtins(HostFacts(source, tree({}), addresses=dict).capabilities())
    assert {"uuid", "boot_uuid", "kernelArgs", "tscFrequency"}.isdisjoint(wire)
    assert (wire["nics"], wire["numaNodes"], wire["emulatedMachines"]) == ({}, {}, [])
    assert (wire["hooks"], wire["management_ip"]) == ({}, "")
    assert wire["operatingSystem"]["name"] == "unknown"


def test_id_and_hardware(tree, documents):
    """Both are returned without the rest."""
    host = tree({"sys/class/dmi/id/product_uuid": "AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE"})
    facts = HostFacts(documents(), host, addresses=dict)
    assert facts.uuid() == "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
    assert facts.hardware().system_uuid == "AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE"
    assert facts.hardware().system_family is UNSET


def test_counts_default_to_none():
    """A host without machines."""
    assert Machines() == Machines(count=0, active=0, incoming=0, outgoing=0, committed=0, resident=0)
