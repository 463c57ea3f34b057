"""Hooks at their moments, with their documents and custom properties."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_core.errors import OperationFailed
from vdsm_core.hooks import hookimpl
from vdsm_core.types import builtins
from vdsm_virt.errors import SetTicketFailed

MAC = "52:54:00:00:00:07"
NIC = {"type": "interface", "device": "user", "macAddr": MAC, "custom": {"queues": "4"}}
KEPT = {"plugin": {"virt": {"kept_custom": ["*"]}}}


@pytest.fixture
def host_with(make_machines):
    """A function that starts a host with a hook plugin, of functions by hook."""

    def make(config=KEPT, **functions):
        hooks = {f"vdsm_{name}": hookimpl(function) for name, function in functions.items()}
        return make_machines(hooks={"test": SimpleNamespace(**hooks)}, config=config)

    return make


def _recorded(calls, name):
    """A hook about a machine that records what it gets."""

    def hook(vm_id, domain, custom):
        calls.append((name, vm_id, domain.findtext("name"), custom))

    return hook


def _of_device(calls, name):
    def hook(vm_id, device, custom, device_custom):
        calls.append((name, vm_id, device.tag, custom, device_custom))

    return hook


def _without_document(calls, name):
    def hook(vm_id, custom):
        calls.append((name, vm_id, custom))

    return hook


def test_a_life_in_hooks(host_with):
    """Each point gets document and properties, in VDSM's order; after the end, the last known document."""
    calls = []
    about_vm = [f"{when}_vm_{what}" for what in ("pause", "cont") for when in ("before", "after")]
    about_vm += ["after_vm_start", "after_vm_destroy"]
    about_device = ("after_device_create", "before_device_destroy", "after_device_destroy")
    plain = ("before_vm_destroy", "before_set_num_of_cpus", "after_set_num_of_cpus")
    vms = host_with(
        **{name: _recorded(calls, name) for name in about_vm},
        **{name: _of_device(calls, name) for name in about_device},
        **{name: _without_document(calls, name) for name in plain},
    )
    vm_id = vms.create(custom={"a": "b"}, devices=[NIC], maxVCpus=2)
    vms.call("VM.pause", vmID=vm_id)
    vms.call("VM.cont", vmID=vm_id)
    vms.call("VM.setNumberOfCpus", vmID=vm_id, numberOfCpus=2)
    vms.call("VM.destroy", vmID=vm_id)
    machine, device = (vm_id, "a", {"a": "b"}), (vm_id, "interface", {"a": "b"}, {"queues": "4"})
    assert calls == [
        ("after_vm_start", *machine),
        ("after_device_create", *device),
        ("before_vm_pause", *machine),
        ("after_vm_pause", *machine),
        ("before_vm_cont", *machine),
        ("after_vm_cont", *machine),
        ("before_set_num_of_cpus", vm_id, {"a": "b"}),
        ("after_set_num_of_cpus", vm_id, {"a": "b"}),
        ("before_device_destroy", *device),
        ("before_vm_destroy", vm_id, {"a": "b"}),
        ("after_vm_destroy", *machine),
        ("after_device_destroy", *device),
    ]


def test_a_device_is_edited_before_the_machine(host_with):
    """Devices with properties alone, disks not; what is left of the device is in the machine's document."""
    calls = []

    def before_device_create(device, vm_id, custom, device_custom):
        calls.append((device.tag, custom, device_custom))
        device.find("model").set("type", "e1000")

    def before_vm_start(domain):
        calls.append(domain.find("devices/interface/model").get("type"))

    vms = host_with(before_device_create=before_device_create, before_vm_start=before_vm_start)
    disk = {"type": "disk", "path": "/a", "custom": {"x": "y"}}
    plain = {"type": "interface", "device": "user"}
    vm_id = vms.create(custom={"a": "b"}, devices=[NIC, disk, plain])
    assert calls == [("interface", {"a": "b"}, {"queues": "4"}), "e1000"]
    models = [d.nic_model for d in vms.call("VM.getInfo", vmID=vm_id).devices if d.type == "interface"]
    assert models == ["e1000", "pv"]


def test_a_device_hook_refuses(host_with):
    """A start fails with its error; so does the destruction, and the machine runs on."""
    refused = []

    def refuse(device):
        if refused:
            raise OperationFailed(reason="no such device today")

    vms = host_with(before_device_create=refuse, before_device_destroy=refuse)
    vm_id = vms.create(vmName="runs", devices=[NIC])
    refused.append(True)
    with pytest.raises(OperationFailed, match="no such device today"):
        vms.call("VM.destroy", vmID=vm_id)
    assert vms.status(vm_id) == "Up"
    other = vms.create(vmName="other", devices=[{**NIC, "macAddr": "52:54:00:00:00:08"}])
    assert "no such device today" in vms.stats(other).exit_message
    refused.clear()


def test_an_engines_document_names_properties_of_devices(host_with):
    """By MAC address; the hooks of the launch get all of them."""
    calls = []
    vms = host_with(after_device_create=_of_device(calls, "created"))
    custom = "<o:custom><o:queues>4</o:queues></o:custom>"
    xml = f"""<domain type='test' xmlns:o='http://ovirt.org/vm/1.0'><name>x</name><memory>1024</memory>
        <metadata><o:vm><o:device mac_address='{MAC.upper()}'>{custom}</o:device></o:vm></metadata>
        <os><type>hvm</type></os>
        <devices><interface type='user'><mac address='{MAC}'/></interface></devices></domain>"""
    vm_id = vms.create(xml=xml)
    until(lambda: calls)
    assert calls == [("created", vm_id, "interface", {}, {"queues": "4"})]


def test_a_pause_by_another_client_is_reported(host_with):
    """The hooks that follow libvirt's events are called for it; for a pause by a verb only once."""
    paused, gate = [], threading.Event()

    def after_vm_pause(vm_id):
        paused.append(vm_id)
        gate.set()

    continued = []
    vms = host_with(after_vm_pause=after_vm_pause, after_vm_cont=lambda vm_id: continued.append(vm_id))
    vm_id = vms.create()
    vms.hypervisor.domains.suspend(vm_id)
    assert gate.wait(30)
    vms.hypervisor.domains.resume(vm_id)
    until(lambda: continued == [vm_id])
    vms.call("VM.pause", vmID=vm_id)
    vms.call("VM.cont", vmID=vm_id)
    # Jobs about one machine run in order: what an event had planned would have run before this destroy ends.
    vms.hypervisor.domains.suspend(vm_id)
    until(lambda: len(paused) == 3)
    assert (paused, continued) == ([vm_id] * 3, [vm_id] * 2)


def test_the_ticket_comes_with_its_parameters(host_with):
    """Before it; an error does not prevent it, and the password is not there."""
    seen = []

    def hook(vm_id, domain, params):
        seen.append((domain.find("devices/graphics").get("passwd"), params))
        raise OperationFailed(reason="no")

    vms = host_with(before_vm_set_ticket=hook)
    vm_id = vms.create(display="vnc")
    # libvirt's test driver cannot change displays: the error is its, and not that of the hook before it.
    with pytest.raises(SetTicketFailed, match="not supported by the connection driver"):
        vms.call("VM.setTicket", vmID=vm_id, password="x", ttl=60, params={"userName": "joe"})
    assert seen == [(None, {"userName": "joe"})]


@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        ("VM.getStats", "before_get_vm_stats", "after_get_vm_stats"),
        ("Host.getAllVmStats", "before_get_all_vm_stats", "after_get_all_vm_stats"),
        ("Host.getStats", "before_get_stats", "after_get_stats"),
        ("Host.getCapabilities", "before_get_caps", "after_get_caps"),
    ],
)
def test_answers_are_edited(host_with, verb, before, after):
    """A member that a hook adds reaches the caller, a changed one keeps its type, a bad edit is discarded."""
    asked, bad = [], []
    member, value = ("cpuCores", 77) if "caps" in after else ("memUsed", 77)
    if "Vm" in verb or verb.startswith("VM"):
        member, value = "memUsage", 77

    def edit(document):
        document["addedByHook"] = {"deep": [1]}
        document[member] = object() if "object" in bad else "x" if bad else value

    def of_caps(caps):
        edit(caps)

    def of_stats(stats):
        for each in stats if isinstance(stats, list) else [stats]:
            edit(each)

    vms = host_with(**{before: lambda: asked.append(verb), after: of_caps if "caps" in after else of_stats})
    vm_id = vms.create()
    arguments = {"vmID": vm_id} if verb.startswith("VM") else {}
    answer = builtins(vms.call(verb, **arguments))
    first = answer[0] if isinstance(answer, list) else answer
    assert (first["addedByHook"], first[member]) == ({"deep": [1]}, value)
    assert asked
    for kind in ("x", "object"):
        bad[:] = [kind]
        answer = builtins(vms.call(verb, **arguments))
        first = answer[0] if isinstance(answer, list) else answer
        assert "addedByHook" not in first
        assert first[member] != value


def test_a_query_is_refused(host_with):
    """The hook before it may; the caller gets its error."""

    def refuse():
        raise OperationFailed(reason="not today")

    vms = host_with(before_get_caps=refuse)
    with pytest.raises(OperationFailed, match="not today"):
        vms.call("Host.getCapabilities")
