"""The verbs of `Host` about hardware and machines."""

from __future__ import annotations

import uuid

import pytest

from vdsm_bridge.call.context import Context
from vdsm_core.types import builtins, convert

#: What VDSM always returned: the newest schema's members that are not optional, and those of 3.1.
ALWAYS = {
    "Host.getCapabilities": (
        "additionalFeatures autoNumaBalancing bondings bridges clusterLevels cpuCores cpuFlags cpuModel "
        "cpuSockets cpuSpeed cpuThreads cpuTopology emulatedMachines guestOverhead HBAInventory hooks "
        "hostdevPassthrough ISCSIInitiatorName kdumpStatus kvmEnabled lastClient lastClientIface "
        "management_ip memSize nameservers netConfigDirty networks nics numaNodeDistance numaNodes "
        "onlineCpus operatingSystem packages2 reservedMem rngSources selinux software_revision "
        "software_version supportedENGINEs supportedProtocols supportedRHEVMs supportsIPv6 uuid "
        "vdsmToCpusAffinity version_name vlans vmTypes vncEncrypted"
    ),
    "Host.getStats": (
        "anonHugePages cpuIdle cpuLoad cpuStatistics cpuSys cpuSysVdsmd cpuUser cpuUserVdsmd dateTime "
        "diskStats elapsedTime generationID haStats incomingVmMigrations ksmCpu ksmMergeAcrossNodes ksmPages "
        "ksmState memAvailable memCommitted memFree memShared memUsed momStatus netConfigDirty network "
        "numaNodeMemFree outgoingVmMigrations rxDropped rxRate statsAge storageDomains swapFree swapTotal "
        "thpState txDropped txRate vmActive vmCount vmMigrating"
    ),
}


@pytest.mark.parametrize("verb", ALWAYS)
def test_the_host_reports_all_members_of_vdsm(vms, verb):
    """Every member that clients may count on is there; nothing stands for "not known"."""
    published = builtins(vms.call(verb))
    assert set(ALWAYS[verb].split()) - set(published) == set()
    assert [name for name, value in published.items() if value is None] == []


def test_lists_in_their_three_forms(vms):
    """Ids, short records, full records; in full by either verb."""
    vm_id = vms.create(vmName="a", memSize=64)
    assert set(vms.call("Host.getVMList", onlyUUID=True)) == {vm_id, vms.born_with}
    shorts = {vm.vm_id: builtins(vm) for vm in vms.call("Host.getVMList")}
    assert shorts[vm_id].pop("statusTime") > 0
    assert shorts[vm_id] == {"vmId": vm_id, "vmName": "a", "status": "Up"}
    for verb, arguments in (("Host.getVMList", {"fullStatus": True}), ("Host.getVMFullList", {})):
        full = {vm.vm_id: vm for vm in vms.call(verb, **arguments)}
        assert (full[vm_id].mem_size, full[vms.born_with].mem_size) == (64, 8192)


@pytest.mark.parametrize("verb", ["Host.getVMList", "Host.getVMFullList", "Host.dumpxmls"])
def test_a_list_may_be_of_some_machines(vms, verb):
    """In any case of letters, twice or unknown: each machine once, no error."""
    found = vms.call(verb, vmList=[vms.born_with.upper(), vms.born_with, str(uuid.uuid4())])
    assert len(found) == 1


def test_documents_are_libvirts(vms):
    """The XML of each machine by its id."""
    vm_id = vms.create(vmName="a")
    assert f"<uuid>{vm_id}</uuid>" in vms.call("Host.dumpxmls")[vm_id]


def test_machines_count_in_the_hosts_statistics(vms):
    """What runs is committed, with what its emulator costs."""
    vms.call("Host.getVMFullList")  # by now the definition of the first machine is known
    before = vms.call("Host.getStats")
    vm_id = vms.create(memSize=100)
    vms.call("VM.pause", vmID=vm_id)
    after = vms.call("Host.getStats")
    assert (after.vm_count - before.vm_count, after.vm_active - before.vm_active) == (1, 1)
    assert after.mem_committed - before.mem_committed == 100 + 65


def test_the_host_tells_what_it_is(vms):
    """From libvirt, the kernel and the firmware: the facts have tests of their own."""
    capabilities = vms.call("Host.getCapabilities")
    assert capabilities.cpu_threads >= 1
    assert capabilities.kvm_enabled is False
    assert builtins(vms.call("Host.getHardwareInfo")) is not None


def test_the_callers_address_is_in_the_capabilities(vms):
    """An engine asks by which interface it is reached."""
    context = Context(address="127.0.0.1", binding="test")
    assert vms.host.bridge.call("Host.getCapabilities", {}, context).last_client == "127.0.0.1"


def test_the_address_of_the_creator_is_kept(vms):
    """VDSM's `clientIp`."""
    context = Context(address="192.0.2.7", binding="test")
    params = {"vmName": "a", "memSize": 64}
    assert vms.host.bridge.call("VM.create", {"vmParams": params}, context).client_ip == "192.0.2.7"


def test_results_have_the_types_that_they_declare(vms):
    """Each result of a verb is one that its schema accepts, so that any binding can carry it."""
    vm_id = vms.create(display="qxl", custom={"a": "b"}, devices=[{"type": "disk", "path": "/a"}])
    calls = {
        "Host.getVMFullList": {},
        "Host.getAllVmStats": {},
        "Host.getVMList": {},
        "Host.getStats": {},
        "Host.getCapabilities": {},
        "Host.dumpxmls": {},
        "VM.getInfo": {"vmID": vm_id},
        "VM.getStats": {"vmID": vm_id},
    }
    for name, arguments in calls.items():
        result = vms.call(name, **arguments)
        declared = vms.host.bridge.verbs[name].result
        assert builtins(convert(builtins(result), declared)) == builtins(result)
