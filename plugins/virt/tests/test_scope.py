"""What a caller that is limited to machines may do and see: those that carry its tag, those of its ids."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from vdsm_bridge.call.context import Identity
from vdsm_bridge.call.scope import ObjectScope, Scope
from vdsm_core.errors import OutOfScope
from vdsm_core.types import BLANK_UUID

ABSENT = "cccccccc-0000-4000-8000-000000000004"
#: Arguments of verbs of machines, beside the id.
ARGUMENTS: dict[str, Any] = {
    "numberOfCpus": 1,
    "target": 1024,
    "quota": 5000,
    "period": 5000,
    "tunables": [{"name": "vda", "ioTune": {}}],
    "keySequence": "a",
    "command": "info status",
    "VM.updateVmPolicy": {"vcpuLimit": 5},
    "password": "x",
    "ttl": 60,
    "driveSpec": "",
    "driveSpecs": {"path": "/a"},
    "newSize": "1",
    "disk": {"path": "/a"},
    "hibernationVolHandle": "x",
    "drive": {},
    "lease": {"sd_id": ABSENT, "lease_id": ABSENT},
    "snapDrives": [],
    "baseVolUUID": BLANK_UUID,
    "topVolUUID": BLANK_UUID,
    "srcDisk": {},
    "dstDisk": {},
    "config": {"backup_id": BLANK_UUID, "disks": []},
    "backup_id": BLANK_UUID,
    "checkpoint_id": "first",
    "checkpoint_ids": ["first"],
    "checkpoints": [],
    "job_id": BLANK_UUID,
    "sp_id": BLANK_UUID,
    "images": [{"sd_id": BLANK_UUID, "img_id": BLANK_UUID, "vol_id": BLANK_UUID}],
    "devices": ["pci_0000_05_00_0"],
    "domain": "",
    "username": "joe",
    "message": "echo",
    "enabled": True,
    "xml": "<domain/>",
    "name": "x",
    "VM.migrate": {"dst": "192.0.2.1", "mode": "remote"},
    "VM.migrateChangeParams": {"maxBandwidth": 5},
}


def caller(**limits: Any) -> Identity:
    """An admin that is limited to some machines."""
    return Identity("joe", "admin", "token", scope=Scope(objects=(ObjectScope(of="VM", **limits),)))


WEB = caller(tags=("web",))


def test_lists_and_statistics(vms):
    """Every list of machines has those of the scope only, also where others are asked for by id."""
    mine = vms.create(vmName="mine", custom={"tags": "db, web"})
    theirs = vms.create(vmName="theirs", custom={"tags": "website"})
    assert {vm.vm_id for vm in vms.call("Host.getVMList")} == {mine, theirs, vms.born_with}
    for identity in (WEB, caller(ids=(mine.upper(),))):
        asked = [theirs, mine.upper(), vms.born_with]
        for arguments in ({}, {"vmList": asked}, {"fullStatus": True}, {"fullStatus": True, "vmList": asked}):
            listed = vms.call("Host.getVMList", identity=identity, **arguments)
            assert [vm.vm_id for vm in listed] == [mine]
        for arguments in ({}, {"vmList": asked}):
            assert vms.call("Host.getVMList", identity=identity, onlyUUID=True, **arguments) == [mine]
            full = vms.call("Host.getVMFullList", identity=identity, **arguments)
            assert [vm.vm_id for vm in full] == [mine]
            assert list(vms.call("Host.dumpxmls", identity=identity, **arguments)) == [mine]
        assert vms.call("Host.getVMList", identity=identity, vmList=[theirs]) == []
        assert [one.vm_id for one in vms.call("Host.getAllVmStats", identity=identity)] == [mine]
        assert vms.call("VM.getStats", identity=identity, vmID=mine.upper())[0].vm_id == mine
        for verb in ("Host.getStats", "Host.getCapabilities", "Host.getQueues"):
            with pytest.raises(OutOfScope):
                vms.call(verb, identity=identity)


def test_every_verb_on_another_machine(vms):
    """Is refused, whether there is such a machine or not; nothing has become of the machine."""
    theirs = vms.create(custom={"tags": "website"})
    verbs = [verb for verb in vms.host.bridge.verbs.values() if verb.namespace.name == "VM"]
    assert len(verbs) >= 15
    for verb in verbs:
        for vm_id in (theirs, theirs.upper(), ABSENT, BLANK_UUID):
            given = {"vmID": vm_id, "vmParams": {"vmId": vm_id, "vmName": "x", "memSize": 64}, **ARGUMENTS}
            given["params"] = ARGUMENTS.get(verb.name, {})
            known = {param.name for param in verb.params if param.required}
            with pytest.raises(OutOfScope):
                vms.call(verb.name, identity=WEB, **{key: given[key] for key in known})
    assert vms.status(theirs) == "Up"


def test_a_machine_cannot_be_created_into_the_scope(vms):
    """Neither under an id of it nor with its tag: the description may name the disks of any machine."""
    wanted = {"vmName": "x", "memSize": 64, "vmId": ABSENT, "custom": {"tags": "web"}}
    for identity in (WEB, caller(ids=(ABSENT,))):
        for verb, arguments in (
            ("VM.create", {"vmParams": wanted}),
            ("VM.create", {"vmParams": wanted, "vmID": ABSENT}),
            ("VM.migrationCreate", {"vmID": ABSENT, "params": wanted}),
        ):
            with pytest.raises(OutOfScope):
                vms.call(verb, identity=identity, **arguments)
    assert vms.ids() == []


def test_another_id_in_a_structure_of_the_arguments(vms):
    """Both ids of a call are checked, not only the one in its place."""
    mine = vms.create(custom={"tags": "web"})
    inside = {"vmId": ABSENT, "dst": "192.0.2.1", "mode": "remote"}
    with pytest.raises(OutOfScope, match=ABSENT):
        vms.call("VM.migrate", identity=WEB, vmID=mine, params=inside)


def test_events_of_machines(vms):
    """Only of those in the scope, to the last one; what is about the host is left out."""
    with closing(vms.host.bridge.subscribe("", identity=WEB)) as live:
        mine = vms.create(vmName="mine", custom={"tags": "web"})
        theirs = vms.create(vmName="theirs")
        vms.host.host.runtime.events.flush()
        seen = live.next(0.0, 1000)
        for vm_id in (mine, theirs):
            vms.call("VM.destroy", vmID=vm_id)
        vms.host.host.runtime.events.flush()
        seen += live.next(0.0, 1000)
    assert {event.id.rpartition("|")[2] for event in seen} == {mine}
    assert seen[-1].id == f"|virt|VM_gone|{mine}"
    states, subscription = vms.host.bridge.snapshot(identity=caller(ids=(vms.born_with,)))
    subscription.close()
    assert [event.id for event in states] == [f"|virt|VM_status|{vms.born_with}"]


def test_a_tag_is_kept_in_the_domain(vms):
    """As a custom property, so it is there after a restart of the daemon, and goes along in a migration."""
    mine = vms.create(custom={"tags": "web"})
    assert "web" in vms.call("Host.dumpxmls")[mine]
    assert vms.call("VM.getInfo", identity=WEB, vmID=mine).custom == {"tags": "web"}
