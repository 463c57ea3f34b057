"""What can be done with a machine, and what cannot in its state."""

from __future__ import annotations

import uuid
from types import SimpleNamespace

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_core.errors import Conflict, InvalidArgument, NotFound, OperationFailed
from vdsm_core.hooks import hookimpl
from vdsm_virt.errors import BalloonError, ForeignDefinition, NoSuchVM, VMIsDown

ACTIONS = {
    "VM.pause": {},
    "VM.cont": {},
    "VM.reset": {},
    "VM.shutdown": {},
    "VM.setNumberOfCpus": {"numberOfCpus": 1},
    "VM.setBalloonTarget": {"target": 1024},
}


def test_pause_and_cont(vms):
    """A paused machine is shown as such, with a pause code, until it goes on."""
    vm_id = vms.create()
    vms.call("VM.pause", vmID=vm_id)
    assert (vms.stats(vm_id).status, vms.stats(vm_id).pause_code) == ("Paused", "NOERR")
    vms.call("VM.cont", vmID=vm_id)
    assert vms.status(vm_id) == "Up"


def test_pausing_twice_and_continuing_twice_is_no_error(vms):
    """The caller wants a state, and has it."""
    vm_id = vms.create()
    for verb, status in (("VM.pause", "Paused"), ("VM.cont", "Up")):
        vms.call(verb, vmID=vm_id)
        vms.call(verb, vmID=vm_id)
        assert status == vms.status(vm_id)


def test_reset_leaves_a_machine_up(vms):
    """A reset machine runs on."""
    vm_id = vms.create()
    vms.call("VM.reset", vmID=vm_id)
    assert vms.status(vm_id) == "Up"


def test_processors_are_switched_on_and_off(vms):
    """Within the room that the machine was created with."""
    vm_id = vms.create(smp=1, maxVCpus=4)
    assert vms.call("VM.setNumberOfCpus", vmID=vm_id, numberOfCpus=3).smp == 3
    assert vms.call("VM.getInfo", vmID=vm_id).smp == 3
    with pytest.raises(InvalidArgument, match="room for 4"):
        vms.call("VM.setNumberOfCpus", vmID=vm_id, numberOfCpus=5)


def test_the_balloon_is_moved(vms):
    """Up to the memory that the machine has."""
    vm_id = vms.create(memSize=64)
    vms.call("VM.setBalloonTarget", vmID=vm_id, target=32 * 1024)
    assert "<currentMemory unit='KiB'>32768</currentMemory>" in vms.call("Host.dumpxmls")[vm_id]
    with pytest.raises(BalloonError, match="65536 KiB"):
        vms.call("VM.setBalloonTarget", vmID=vm_id, target=65 * 1024)


def test_a_machine_that_was_shut_down_stays_listed(vms):
    """Down, with the reason, until it is destroyed."""
    vm_id = vms.create()
    vms.call("VM.shutdown", vmID=vm_id)
    stats = vms.wait(vm_id, lambda stats: stats.status == "Down")
    assert (stats.exit_code, stats.exit_reason) == (0, 6)
    assert [vm_id] == vms.ids()
    vms.call("VM.destroy", vmID=vm_id)
    assert vms.ids() == []


def test_a_delayed_shutdown_comes_later(vms):
    """Until the delay is over the machine is up."""
    vm_id = vms.create()
    vms.call("VM.shutdown", vmID=vm_id, delay=1, message="maintenance")
    assert vms.status(vm_id) == "Up"
    vms.wait(vm_id, lambda stats: stats.status == "Down")


def test_a_delayed_shutdown_of_a_machine_that_is_gone(vms, caplog):
    """It was destroyed in the meantime: no warning."""
    caplog.set_level("INFO", "vdsm_virt.machine.power")
    vm_id = vms.create()
    vms.call("VM.shutdown", vmID=vm_id, delay=1)
    vms.call("VM.destroy", vmID=vm_id)
    until(lambda: "is gone already" in caplog.text)
    assert [r.levelname for r in caplog.records if "gone already" in r.getMessage()] == ["INFO"]


def test_a_guest_that_does_not_reboot_counts_as_up_again(make_machines):
    """The test driver's guests never report a reboot."""
    vms = make_machines(config={"plugin": {"virt": {"shutdown_timeout": 0.3}}})
    vm_id = vms.create()
    vms.call("VM.shutdown", vmID=vm_id, reboot=True)
    assert vms.status(vm_id) == "RebootInProgress"
    vms.wait(vm_id, lambda stats: stats.status == "Up")


def test_destroy_ends_and_forgets(vms):
    """The machine, its definition and its name are gone."""
    vm_id = vms.create()
    subscription = vms.listen(f"|virt|VM_status|{vm_id}")
    vms.call("VM.destroy", vmID=vm_id)
    assert vms.ids() == []
    assert [domain.name for domain in vms.hypervisor.domains.list_all()] == ["test"]
    (reported,) = vms.received(subscription)
    assert (reported["status"], reported["exitCode"], reported["exitReason"]) == ("Down", 0, 6)
    assert vms.create(vmName="a") != vm_id
    subscription.close()


@pytest.mark.parametrize("verb", [*ACTIONS, "VM.destroy", "VM.getInfo", "VM.getStats"])
def test_an_unknown_id_is_not_found(vms, verb):
    """Each verb on a machine raises it."""
    with pytest.raises(NoSuchVM) as refusal:
        vms.call(verb, vmID=str(uuid.uuid4()), **ACTIONS.get(verb, {}))
    assert isinstance(refusal.value, NotFound)
    assert refusal.value.code == 1


@pytest.mark.parametrize("verb", ACTIONS)
def test_a_machine_that_is_down_cannot_be_acted_on(vms, verb):
    """Wrong state is a conflict, with VDSM's code, and changes nothing."""
    vm_id = vms.create()
    vms.call("VM.shutdown", vmID=vm_id)
    vms.wait(vm_id, lambda stats: stats.status == "Down")
    with pytest.raises(VMIsDown) as refusal:
        vms.call(verb, vmID=vm_id, **ACTIONS[verb])
    assert isinstance(refusal.value, Conflict)
    assert refusal.value.code == 6
    assert vms.status(vm_id) == "Down"


@pytest.mark.parametrize(
    ("verb", "arguments", "argument"),
    [
        ("VM.pause", {"vmID": "x"}, "vmID"),
        ("VM.destroy", {"vmID": str(uuid.uuid4()), "gracefulAttempts": -1}, "gracefulAttempts"),
        ("VM.shutdown", {"vmID": str(uuid.uuid4()), "delay": "soon"}, "delay"),
        ("Host.getVMList", {"vmList": ["x"]}, "vmList[0]"),
    ],
)
def test_an_ill_typed_argument_is_named(vms, verb, arguments, argument):
    """Before anything is looked up."""
    with pytest.raises(InvalidArgument) as refusal:
        vms.call(verb, **arguments)
    assert refusal.value.facts["argument"] == argument


def test_a_machine_of_somebody_else_keeps_its_definition(vms):
    """Destroy ends it, as an administrator would with virsh; a second time there is nothing to end."""
    vms.call("VM.destroy", vmID=vms.born_with)
    assert vms.status(vms.born_with) == "Down"
    with pytest.raises(ForeignDefinition):
        vms.call("VM.destroy", vmID=vms.born_with)
    assert [domain.name for domain in vms.hypervisor.domains.list_all()] == ["test"]


def test_ids_are_the_same_in_upper_case(vms):
    """Engines differ in this."""
    vm_id = vms.create()
    vms.call("VM.pause", vmID=vm_id.upper())
    assert vms.status(vm_id.upper()) == "Paused"


def test_hooks_are_called_before_and_after(make_machines):
    """A plugin may refuse a pause; it learns of what was done."""
    published, refuse = [], []

    def before_vm_pause():
        if refuse:
            raise OperationFailed(reason="not now")

    names = ("after_vm_pause", "before_vm_cont", "after_vm_cont", "before_vm_destroy", "after_vm_destroy")
    functions = {f"vdsm_{name}": hookimpl(_teller(published, name)) for name in names}
    hook = SimpleNamespace(vdsm_before_vm_pause=hookimpl(before_vm_pause), **functions)
    vms = make_machines(hooks={"test": hook})
    vm_id = vms.create()
    refuse.append(True)
    with pytest.raises(OperationFailed, match="not now"):
        vms.call("VM.pause", vmID=vm_id)
    assert vms.status(vm_id) == "Up"
    refuse.clear()
    for verb in ("VM.pause", "VM.cont", "VM.destroy"):
        vms.call(verb, vmID=vm_id)
    assert [(name, vm_id) for name in names] == published


def _teller(published, name):
    return lambda vm_id: published.append((name, vm_id))
