"""Machines and a plugin whose hooks do not return."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_core.hooks import hookimpl
from vdsm_core.hooks.errors import HookDeadline, HookUnavailable

#: Seconds for a hook that hangs; one that does not has as many on a busy machine.
SHORT = 1.0
LONG = 30.0


@pytest.fixture
def gate():
    """An event that a hanging hook waits for; set at the end of the test."""
    made = threading.Event()
    yield made
    made.set()


@pytest.fixture
def host_with(make_machines):
    """A function that starts a host with hook plugins: by plugin, functions by hook."""

    def make(deadline=SHORT, **plugins):
        hooks = {
            plugin: SimpleNamespace(
                **{f"vdsm_{hook}": hookimpl(function) for hook, function in functions.items()}
            )
            for plugin, functions in plugins.items()
        }
        return make_machines(hooks=hooks, config={"hooks": {"deadline": deadline}})

    return make


def trouble(vms, plugin):
    (found,) = (each for each in vms.call("Host.getPlugins") if each.name == plugin)
    return found.error


def test_a_launch_does_not_wait_for_ever(host_with, gate):
    """The machine goes Down with the reason; what the hook writes later is nowhere; destroy works."""
    late = threading.Event()

    def before_vm_start(domain):
        domain.find("vcpu").text = "2"
        gate.wait(LONG)
        domain.find("vcpu").text = "3"
        late.set()

    vms = host_with(slow={"before_vm_start": before_vm_start})
    vm_id = vms.begin()
    stats = vms.wait(vm_id, lambda stats: stats.status == "Down", LONG)
    assert stats.exit_message == "Hook vdsm_before_vm_start of plugin 'slow' did not return within 1 s"
    assert "degraded: vdsm_before_vm_start has not returned" in trouble(vms, "slow")
    second = vms.begin(vmName="b")
    stats = vms.wait(second, lambda stats: stats.status == "Down", LONG)
    assert "an earlier call has not returned" in stats.exit_message
    gate.set()
    assert late.wait(LONG)
    until(lambda: trouble(vms, "slow") == "", LONG)
    assert vms.call("VM.getInfo", vmID=vm_id).smp == 1
    for each in (vm_id, second):
        vms.call("VM.destroy", vmID=each)
    assert vms.ids() == []


def test_a_pause_ends_in_an_error_and_holds_the_machine_no_longer(host_with, gate):
    """Other verbs on the machine go on, and so do hooks of the plugin that does not hang."""
    seen = []
    vms = host_with(
        slow={"before_vm_pause": lambda vm_id: gate.wait(LONG)},
        well={"after_vm_pause": lambda vm_id: seen.append(vm_id), "before_vm_pause": lambda vm_id: None},
    )
    vm_id = vms.create()
    with pytest.raises(HookDeadline):
        vms.call("VM.pause", vmID=vm_id)
    assert vms.status(vm_id) == "Up"
    assert vms.call("Host.getQueues") == []
    vms.call("VM.setBalloonTarget", vmID=vm_id, target=1024)
    with pytest.raises(HookUnavailable):
        vms.call("VM.pause", vmID=vm_id)
    gate.set()
    until(lambda: trouble(vms, "slow") == "", LONG)
    vms.call("VM.pause", vmID=vm_id)
    assert (vms.status(vm_id), seen) == ("Paused", [vm_id])


def test_after_hooks_that_hang_cost_their_deadline_once(host_with, gate, caplog):
    """The verbs succeed; the log names the plugin; its hung hook is not called for the second machine."""
    calls, seen = [], []

    def after_vm_pause(vm_id):
        calls.append(vm_id)
        gate.wait(LONG)

    vms = host_with(
        slow={"after_vm_pause": after_vm_pause}, well={"after_vm_pause": lambda vm_id: seen.append(vm_id)}
    )
    machines = [vms.create(vmName=name) for name in "ab"]
    for vm_id in machines:
        vms.call("VM.pause", vmID=vm_id)
        assert vms.status(vm_id) == "Paused"
    assert (calls, seen) == (machines[:1], machines)
    assert "Hook vdsm_after_vm_pause of plugin 'slow' did not return within 1 s" in caplog.text
    assert "Cannot call hook vdsm_after_vm_pause of plugin 'slow'" in caplog.text


def test_destroy_goes_on(host_with, gate):
    """Nothing can prevent it, not even a hook that hangs before and after it."""
    hang = lambda vm_id: gate.wait(LONG)  # noqa: E731
    vms = host_with(slow={"before_vm_destroy": hang, "after_vm_destroy": hang})
    vm_id = vms.create()
    vms.call("VM.destroy", vmID=vm_id)
    assert vms.ids() == []


def test_two_edits_of_one_document(host_with):
    """The second plugin edits what the first one has left, and libvirt gets both."""

    def first(domain):
        domain.find("vcpu").text = "2"

    def second(domain):
        domain.find("vcpu").text += "0"

    vms = host_with(a={"before_vm_start": first}, b={"before_vm_start": second}, deadline=LONG)
    assert vms.call("VM.getInfo", vmID=vms.create()).smp == 20
