"""`VM.create`: what it takes, what it refuses, and how the launch goes on without its caller."""

from __future__ import annotations

import threading
import uuid
from types import SimpleNamespace

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_core.errors import Conflict, InvalidArgument, InvalidRequest, MissingArgument, OperationFailed
from vdsm_core.hooks import hookimpl
from vdsm_core.hooks.manager import Hooks
from vdsm_core.volumes import DiskId, PreparedDisk
from vdsm_virt.errors import CannotCreateVM, NoSuchVM, VMExists

ID = "9b6f7d32-0c3f-4a0d-8c7e-0f2f6b1c7f55"
XML = """<domain type='kvm'><name>x</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64'>hvm</type></os>{}</domain>"""


def test_a_name_and_memory_are_enough(vms):
    """A new machine waits for its launch, then it is up, under an id of its own."""
    created = vms.call("VM.create", vmParams={"vmName": "a", "memSize": 512})
    assert (created.status, created.vm_name, created.mem_size) == ("WaitForLaunch", "a", 512)
    assert str(uuid.UUID(created.vm_id)) == created.vm_id
    vms.wait(created.vm_id, lambda stats: stats.status == "Up")


def test_numbers_and_truth_values_may_be_text(vms):
    """An engine's spelling and a script's mean the same."""
    vm_id = vms.create(memSize="128", smp="2", maxVCpus="4", launchPaused="true", kvmEnable="True")
    info = vms.call("VM.getInfo", vmID=vm_id)
    assert (info.mem_size, info.smp, info.max_v_cpus, info.status) == (128, 2, 4, "Paused")


@pytest.mark.parametrize("place", ["argument", "vmParams", "both", "upper case"])
def test_the_id_may_stand_in_either_place(vms, place):
    """JSON-RPC names the id beside the parameters, XML-RPC within."""
    arguments = {"vmParams": {"vmName": "a", "memSize": 64}}
    if place in ("argument", "both", "upper case"):
        arguments["vmID"] = ID.upper() if place == "upper case" else ID
    if place in ("vmParams", "both", "upper case"):
        arguments["vmParams"]["vmId"] = ID
    assert vms.call("VM.create", **arguments).vm_id == ID


def test_ids_that_contradict_each_other_are_refused(vms):
    """Two different ids are an error."""
    with pytest.raises(InvalidArgument) as refusal:
        vms.call("VM.create", vmID=ID, vmParams={"vmName": "a", "memSize": 64, "vmId": str(uuid.uuid4())})
    assert refusal.value.facts["argument"] == "vmParams.vmId"
    assert vms.ids() == []


def test_a_ready_document_brings_its_own_id_and_name(vms):
    """Of `xml`, the id and the name count; on the test driver the domain's type does not."""
    vm_id = vms.create(xml=XML.format(f"<uuid>{ID}</uuid>"))
    info = vms.call("VM.getInfo", vmID=vm_id)
    assert (info.vm_id, info.vm_name, info.mem_size, info.status) == (ID, "x", 64, "Up")


def test_an_engines_custom_properties_are_read_from_its_document(make_machines):
    """oVirt puts them into the metadata of the domain, where only those that the option names remain."""
    vms = make_machines(config={"plugin": {"virt": {"kept_custom": ["sap", "o*"]}}})
    ours = "http://ovirt.org/vm/1.0"
    properties = "<o:custom><o:sap>yes</o:sap><o:key>x-secret</o:key></o:custom>"
    metadata = f"<metadata><o:vm xmlns:o='{ours}'>{properties}</o:vm></metadata>"
    vm_id = vms.create(xml=XML.format(metadata), custom={"own": "1"})
    assert vms.call("VM.getInfo", vmID=vm_id).custom == {"sap": "yes", "own": "1"}
    assert "x-secret" not in vms.call("Host.dumpxmls")[vm_id]


@pytest.mark.parametrize(
    ("params", "argument"),
    [
        ({"memSize": -1}, "vmParams.memSize"),
        ({"memSize": 0}, "vmParams.memSize"),
        ({"memSize": "much"}, "vmParams.memSize"),
        ({"smp": 0}, "vmParams.smp"),
        ({"smp": 4, "maxVCpus": 2}, "vmParams.maxVCpus"),
        ({"smp": 3, "smpCoresPerSocket": 2}, "vmParams.smpCoresPerSocket"),
        ({"maxMemSize": 32}, "vmParams.maxMemSize"),
        ({"cpuType": "qemu64,ssse3"}, "vmParams.cpuType"),
        ({"cpuPinning": {"7": "0"}}, "vmParams.cpuPinning.7"),
        ({"cpuShares": 1}, "vmParams.cpuShares"),
        ({"vmId": "not-one"}, "vmParams.vmId"),
        ({"vmName": "a/b"}, "vmParams.vmName"),
        ({"vmName": ""}, "vmParams.vmName"),
        ({"boot": "x"}, "vmParams.boot"),
        ({"kernel": "relative"}, "vmParams.kernel"),
        ({"display": "crt"}, "vmParams.display"),
        ({"macAddr": "nonsense", "bridge": "br0"}, "vmParams.macAddr"),
        ({"nicModel": "token-ring", "bridge": "br0"}, "vmParams.nicModel"),
        ({"devices": [{"type": "perpetuum mobile"}]}, "vmParams.devices[0].type"),
        ({"devices": [{"type": "disk"}]}, "vmParams.devices[0].path"),
        ({"devices": [{"type": "interface"}]}, "vmParams.devices[0].network"),
        (
            {
                "devices": [
                    {"type": "disk", "path": "/a", "index": 0},
                    {"type": "disk", "path": "/b", "index": 0},
                ]
            },
            "vmParams.devices[1].index",
        ),
        (
            {
                "devices": [
                    {"type": "graphics", "device": "spice", "specParams": {"spiceSecureChannels": "tin"}}
                ]
            },
            "vmParams.devices[0].specParams.spiceSecureChannels",
        ),
        ({"custom": {"a": 1}}, "vmParams.custom[...]"),
    ],
)
def test_a_bad_member_is_named_and_nothing_changes(vms, params, argument):
    """The error names the member; no machine is made, and no event published."""
    subscription = vms.listen("|virt|*|*")
    with pytest.raises(InvalidRequest) as refusal:
        vms.call("VM.create", vmParams={"vmName": "a", "memSize": 64, **params})
    assert refusal.value.facts["argument"] == argument
    assert vms.ids() == []
    assert vms.received(subscription) == []
    subscription.close()


def test_memory_must_be_given(vms):
    """There is no default that would be right."""
    with pytest.raises(MissingArgument) as refusal:
        vms.call("VM.create", vmParams={"vmName": "a"})
    assert refusal.value.facts["argument"] == "vmParams.memSize"


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "<domain>",
        "<network/>",
        "<domain><memory>1</memory></domain>",
        "<domain><name>a</name><uuid>x</uuid></domain>",
        "<!DOCTYPE domain [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><domain><name>&b;</name></domain>",
        "<domain><name>a</name></domain>",
        "<domain type='test'><name>a</name><memory>-5</memory><os><type>hvm</type></os></domain>",
    ],
)
def test_a_document_that_is_none_is_refused(vms, text):
    """Whether we or libvirt find the fault: a clear error, and nothing changed."""
    with pytest.raises(InvalidRequest):
        vms.call("VM.create", vmParams={"xml": text})
    assert vms.ids() == []
    assert [domain.name for domain in vms.hypervisor.domains.list_all()] == ["test"]


def test_libvirts_reason_is_passed_on(vms):
    """Who wrote the document needs to read what libvirt did not like."""
    with pytest.raises(CannotCreateVM, match="os"):
        vms.call(
            "VM.create", vmParams={"xml": "<domain type='test'><name>a</name><memory>1024</memory></domain>"}
        )


@pytest.mark.parametrize("twin", ["id", "name", "name of a machine of another client"])
def test_an_id_or_name_is_given_once(vms, twin):
    """A second machine of the same id or name is refused, and the first stays as it is."""
    first = vms.create(vmName="a", vmId=ID)
    params = {"id": {"vmName": "b", "vmId": ID}, "name": {"vmName": "a"}}.get(twin, {"vmName": "test"})
    with pytest.raises(VMExists) as refusal:
        vms.begin(**params)
    assert isinstance(refusal.value, Conflict)
    assert [first] == vms.ids()
    assert vms.status(first) == "Up"


def test_the_id_of_a_domain_that_nobody_told_us_of_is_taken_too(vms):
    """libvirt would replace the definition without a word."""
    vms.hypervisor.definitions.define(
        XML.replace("kvm", "test").format(f"<uuid>{ID}</uuid>").replace(" arch='x86_64'", "")
    )
    with pytest.raises(VMExists):
        vms.begin(vmName="x", vmId=ID)


def test_members_of_a_list_are_kept(vms):
    """VDSM's clients send unknown members; those on the list are kept, in their shape, and nothing else."""
    listed = {"tdf": "true", "nice": "5", "displayNetwork": "ovirtmgmt", "guestIPs": "192.0.2.1 ::1"}
    misshapen = {"serial": {"apiKey": "x-secret"}, "clientIp": "x-secret", "spiceMonitors": ["x-secret"]}
    others = {"apiKey": "x-secret", "auth": {"passwd": "x-secret"}, "_X_notes": "x-secret"}
    vm_id = vms.create(custom={"password": "x-secret"}, **listed, **misshapen, **others)
    info = vms.call("VM.getInfo", vmID=vm_id)
    assert info.kept == listed
    assert info.custom == {}
    assert "x-secret" not in vms.call("Host.dumpxmls")[vm_id]


class Hook(SimpleNamespace):
    """Hook implementations that are given as functions."""


def _host_with(make_machines, **functions):
    hook = Hook(**{f"vdsm_{name}": hookimpl(function) for name, function in functions.items()})
    return make_machines(hooks={"test": hook})


def test_a_hook_may_change_the_document(make_machines):
    """What a hook writes into the domain is what runs; the machine's identity stays."""
    seen = []

    def before_vm_start(vm_id, domain, custom):
        seen.append((vm_id, custom))
        domain.find("name").text = "another"
        domain.find("vcpu").text = "3"

    vms = _host_with(make_machines, before_vm_start=before_vm_start)
    vm_id = vms.create(custom={"a": "b"})
    info = vms.call("VM.getInfo", vmID=vm_id)
    assert (info.vm_name, info.smp) == ("a", 3)
    assert seen == [(vm_id, {"a": "b"})]


@pytest.mark.parametrize("bug", [False, True])
def test_a_hook_that_refuses_ends_the_machine(make_machines, bug):
    """The launch fails visibly: statistics and an event show how and why; create and destroy work on."""

    def before_vm_start():
        if bug:
            raise ZeroDivisionError
        raise OperationFailed(reason="no licence")

    vms = _host_with(make_machines, before_vm_start=before_vm_start)
    subscription = vms.listen()
    vm_id = vms.create()
    stats = vms.stats(vm_id)
    assert (stats.status, stats.exit_code, stats.exit_reason) == ("Down", 1, 3)
    assert ("the log has the details under incident" if bug else "no licence") in stats.exit_message
    reported = vms.received(subscription)
    assert [event["status"] for event in reported] == ["WaitForLaunch", "Down"]
    assert reported[-1]["exitMessage"] == stats.exit_message
    vms.call("VM.destroy", vmID=vm_id)
    assert vms.ids() == []
    subscription.close()


def test_a_disk_by_ids_is_prepared_by_a_plugin(make_machines):
    """The machine gets the path that a storage plugin returns."""
    requested = []

    def prepare_disk(disk):
        requested.append(disk)
        if disk.guid:
            return PreparedDisk(path="/dev/mapper/lun", kind="block")
        return PreparedDisk(path="/prepared/image", format="cow")

    vms = _host_with(make_machines, prepare_disk=prepare_disk)
    image = str(uuid.uuid4())
    vm_id = vms.create(
        devices=[{"type": "disk", "imageID": image, "volumeID": ID}, {"type": "disk", "GUID": "3600a"}]
    )
    devices = [
        device for device in vms.call("VM.getInfo", vmID=vm_id).devices if device.device_type == "disk"
    ]
    assert [device.path for device in devices] == ["/prepared/image", "/dev/mapper/lun"]
    assert (image, ID) == (devices[0].image_id, devices[0].volume_id)
    assert requested[0] == DiskId(image_id=image, volume_id=ID)
    assert [device.format for device in devices] == ["cow", "raw"]


def test_a_disk_that_no_plugin_knows_ends_the_machine(vms):
    """A machine does not start without one of its disks."""
    vm_id = vms.create(devices=[{"type": "disk", "GUID": "3600a"}])
    assert "3600a" in vms.stats(vm_id).exit_message


@pytest.fixture
def gate():
    """A hook that holds each launch until the test releases it."""
    arrived, leave = threading.Event(), threading.Event()

    def before_vm_start():
        arrived.set()
        assert leave.wait(10)

    yield SimpleNamespace(arrived=arrived, leave=leave, hook=before_vm_start)
    leave.set()


def test_a_call_on_a_machine_waits_for_its_launch(make_machines, gate):
    """What is asked while a machine is launched happens after that, and the queue shows it."""
    vms = _host_with(make_machines, before_vm_start=gate.hook)
    vm_id = vms.begin()
    assert gate.arrived.wait(5)
    assert vms.status(vm_id) == "WaitForLaunch"
    pause = threading.Thread(target=vms.call, args=("VM.pause",), kwargs={"vmID": vm_id})
    pause.start()
    until(lambda: len(vms.call("Host.getQueues")) == 2)
    places = {call.call: call.place for call in vms.call("Host.getQueues")}
    assert places == {"VM.create (launch)": 0, "VM.pause": 1}
    gate.leave.set()
    pause.join(5)
    assert vms.status(vm_id) == "Paused"


def test_a_machine_that_starts_paused_is_never_shown_as_up(vms):
    """Also if its id was another machine's a moment ago: events of that one are still on their way."""
    for _ in range(20):
        subscription = vms.listen(f"|virt|VM_status|{ID}")
        vms.create(vmId=ID, launchPaused=True)
        vms.call("VM.destroy", vmID=ID)
        assert [reported["status"] for reported in vms.received(subscription)] == [
            "WaitForLaunch",
            "Paused",
            "Down",
        ]
        subscription.close()


def test_destroy_does_not_wait_for_a_launch(make_machines, gate):
    """A machine that is destroyed while it is launched is gone at once, and stays so."""
    vms = _host_with(make_machines, before_vm_start=gate.hook)
    subscription = vms.listen()
    vm_id = vms.begin()
    assert gate.arrived.wait(5)
    vms.call("VM.destroy", vmID=vm_id)
    assert vms.ids() == []
    gate.leave.set()
    until(lambda: vms.call("Host.getQueues") == [])
    assert vms.ids() == []
    assert [domain.name for domain in vms.hypervisor.domains.list_all()] == ["test"]
    last = vms.received(subscription)[-1]
    assert (last["status"], last["exitReason"]) == ("Down", 10)
    with pytest.raises(NoSuchVM):
        vms.stats(vm_id)
    subscription.close()


def test_hooks_are_taken_by_their_owner():
    """The functions above are hooks that exist: a wrong name would be refused."""
    Hooks().register("test", Hook(vdsm_before_vm_start=hookimpl(lambda vm_id: None)))
