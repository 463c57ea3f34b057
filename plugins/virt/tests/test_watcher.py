"""The inventory follows libvirt, whatever client makes a change, and over every gap."""

from __future__ import annotations

import uuid

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.blocking import BlockingDriver
from vdsm_bridge.testing.polling import until
from vdsm_core.errors import HypervisorUnavailable
from vdsm_core.hypervisor import DomainIOError, DomainLifecycle, DomainReboot, EventsLost
from vdsm_virt import Virt
from vdsm_virt.domain import run
from vdsm_virt.domain.elements import parse, to_text
from vdsm_virt.errors import NoSuchVM, Recovering
from vdsm_virt.machine.listing import Listing
from vdsm_virt.machine.watcher import Watcher

XML = """<domain type='test'><name>{name}</name><uuid>{id}</uuid><memory>65536</memory>
<os><type>hvm</type></os></domain>"""


@pytest.fixture
def driver():
    with BlockingDriver() as driver:
        yield driver


def define(vms, name="own"):
    """A domain of another client."""
    return vms.hypervisor.definitions.define(XML.format(name=name, id=uuid.uuid4()))


def status(vms, vm_id):
    """The status in the list, None if it is not there."""
    return next((vm.status for vm in vms.call("Host.getVMList") if vm.vm_id == vm_id), None)


def test_the_machine_that_the_driver_is_born_with_is_there(vms):
    """A daemon lists what it finds."""
    assert [(vm.vm_name, vm.status) for vm in vms.call("Host.getVMList")] == [("test", "Up")]


def test_what_others_do_shows_in_the_list(vms):
    """Defined, started, paused, resumed, shut down, undefined with another client of libvirt."""
    vm_id = define(vms)
    until(lambda: status(vms, vm_id) == "Down")
    for act, expected in (
        (vms.hypervisor.domains.start, "Up"),
        (vms.hypervisor.domains.suspend, "Paused"),
        (vms.hypervisor.domains.resume, "Up"),
        (vms.hypervisor.domains.shutdown, "Down"),
        (vms.hypervisor.definitions.undefine, None),
    ):
        act(vm_id)
        until(lambda expected=expected: status(vms, vm_id) == expected)


def test_a_guest_that_powers_off_is_told_from_one_that_was_asked_to(vms):
    """Reason 7 is the user's own doing."""
    vm_id = vms.create()
    vms.hypervisor.domains.shutdown(vm_id)
    stats = vms.wait(vm_id, lambda stats: stats.status == "Down")
    assert (stats.exit_code, stats.exit_reason) == (0, 7)


def test_a_machine_that_others_destroyed_stays_listed(vms):
    """Down, and not by a call of ours."""
    vm_id = vms.create()
    vms.hypervisor.domains.destroy(vm_id)
    stats = vms.wait(vm_id, lambda stats: stats.status == "Down")
    assert "another client" in stats.exit_message


def test_a_machine_that_others_undefined_while_it_ran_ends_as_missing(vms):
    """Its exit is shown until destroy."""
    vm_id = vms.create()
    vms.hypervisor.definitions.undefine(vm_id)
    vms.hypervisor.domains.destroy(vm_id)
    vms.wait(vm_id, lambda stats: stats.status == "Down")
    assert [vm_id] == vms.ids()
    vms.call("VM.destroy", vmID=vm_id)
    assert vms.ids() == []


def test_a_running_machine_that_is_undefined_goes_when_it_ends(vms):
    """One of another client leaves nothing behind."""
    vm_id = define(vms)
    vms.hypervisor.domains.start(vm_id)
    until(lambda: status(vms, vm_id) == "Up")
    vms.hypervisor.definitions.undefine(vm_id)
    assert status(vms, vm_id) == "Up"
    vms.hypervisor.domains.destroy(vm_id)
    until(lambda: status(vms, vm_id) is None)


def feed(vms, *events):
    """Inject events that the test driver does not send."""
    for event in events:
        vms.host.host.runtime.hypervisor._dispatcher.announce(event)


@pytest.mark.parametrize(
    ("reason", "code"), [("enospc", "ENOSPC"), ("eperm", "EPERM"), ("eother", "EOTHER"), ("", "EOTHER")]
)
@pytest.mark.parametrize("error_first", [True, False])
def test_a_disk_error_is_the_pause_code(vms, reason, code, error_first):
    """Whichever of libvirt's two events arrives first."""
    vm_id = vms.create()
    subscription = vms.listen(f"|virt|VM_status|{vm_id}")
    events = [
        DomainIOError(vm_id, "a", "/dev/x", "vda", "pause", reason),
        DomainLifecycle(vm_id, "a", "suspended", "ioerror"),
    ]
    feed(vms, *(events if error_first else reversed(events)))
    vms.wait(vm_id, lambda stats: (stats.status, stats.pause_code) == ("Paused", code))
    assert vms.received(subscription)[-1]["pauseCode"] == code
    subscription.close()


def test_a_reboot_ends_when_the_guest_says_so(vms):
    """RebootInProgress, then up."""
    vm_id = vms.create()
    vms.call("VM.shutdown", vmID=vm_id, reboot=True)
    assert vms.status(vm_id) == "RebootInProgress"
    feed(vms, DomainReboot(vm_id, "a"))
    vms.wait(vm_id, lambda stats: stats.status == "Up")


@pytest.mark.parametrize(
    ("detail", "code", "reason"),
    [("crashed", 1, 2), ("failed", 1, 2), ("migrated", 0, 4), ("saved", 0, 5), ("unknown reason", 1, 1)],
)
def test_each_end_has_its_reason(vms, detail, code, reason):
    """VDSM's numbers for libvirt's words."""
    vm_id = vms.create()
    feed(vms, DomainLifecycle(vm_id, "a", "stopped", detail))
    stats = vms.wait(vm_id, lambda stats: stats.status == "Down")
    assert (code, reason) == (stats.exit_code, stats.exit_reason)


def test_a_lost_connection_is_survived(make_machines, driver):
    """What changed meanwhile is published when libvirt is back; until then the last values have their age."""
    options = {"hypervisor": {"sample_interval": 0.1, "reconnect_first": 0.05, "keepalive": 1}}
    vms = make_machines(connect=driver.connect, config=options)
    kept, ended = vms.create(vmName="kept"), vms.create(vmName="ended")
    subscription = vms.listen()
    other = make_machines(connect=BlockingDriver().connect)
    driver.break_connections(refuse=True)
    vms.wait(kept, lambda stats: stats.monitor_response == -1)
    assert vms.status(kept) == "Up"
    other.hypervisor.domains.destroy(ended)
    driver.accept()
    vms.wait(ended, lambda stats: stats.status == "Down")
    assert vms.wait(kept, lambda stats: stats.monitor_response == 0).status == "Up"
    assert [(reported["vmId"], reported["status"]) for reported in vms.received(subscription)] == [
        (ended, "Down")
    ]
    subscription.close()


def test_a_machine_that_ended_and_went_while_events_were_lost(make_machines, monkeypatch):
    """It is given up, though the one event about it does not end it: the other one was lost."""
    handle, handled, lost = Watcher.handle, [], set()

    def handle_or_lose(watcher, event):
        if isinstance(event, DomainLifecycle) and (event.uuid, event.event) in lost:
            return
        handle(watcher, event)
        handled.append(event)

    monkeypatch.setattr(Watcher, "handle", handle_or_lose)
    vms = make_machines()
    vm_id = define(vms)
    vms.hypervisor.domains.start(vm_id)
    until(lambda: status(vms, vm_id) == "Up")
    lost.add((vm_id, "stopped"))
    read = Listing.read

    def undefined_meanwhile(listing):
        """List the domains; the event is handled after that, and before the list is taken over."""
        domains = read(listing)
        vms.hypervisor.domains.destroy(vm_id)
        vms.hypervisor.definitions.undefine(vm_id)
        until(lambda: any(getattr(event, "event", "") == "undefined" for event in handled))
        return domains

    monkeypatch.setattr(Listing, "read", undefined_meanwhile)
    feed(vms, EventsLost(1))
    until(lambda: status(vms, vm_id) is None)


def test_a_daemon_that_starts_again_finds_everything(machines_of, make_machines, driver):
    """Machines that run, machines that ended and why, custom properties and members that are kept."""
    config = {"plugin": {"virt": {"kept_custom": ["a"]}}}
    with TestHost(verbs={"virt": Virt}, connect=driver.connect, config=config) as host:
        first = machines_of(host)
        runs = first.create(vmName="runs", custom={"a": "b"}, tdf="true", apiKey="x")
        ended = first.create(vmName="ended")
        first.call("VM.shutdown", vmID=ended)
        first.wait(ended, lambda stats: stats.status == "Down")
        until(lambda: '"reason":6' in first.call("Host.dumpxmls")[ended].replace("&quot;", '"'))
    vms = make_machines(connect=driver.connect, config=config)
    until(lambda: vms.stats(ended).exit_reason == 6)
    info = vms.call("VM.getInfo", vmID=runs)
    assert (info.status, info.custom, info.kept) == ("Up", {"a": "b"}, {"tdf": "true"})
    for vm_id in (runs, ended):
        vms.call("VM.destroy", vmID=vm_id)
    assert vms.ids() == []
    assert [domain.name for domain in vms.hypervisor.domains.list_all()] == ["test"]


def test_a_machine_that_was_defined_but_never_started_says_so(make_machines, driver):
    """The daemon ended between the two: the next one finds a machine of ours that never ran."""
    vms = make_machines(connect=driver.connect)
    vm_id = vms.create()
    domain = parse(vms.hypervisor.definitions.xml(vm_id, inactive=True))
    run.drop(domain)
    xml = to_text(domain).replace(vm_id, str(uuid.uuid4())).replace("<name>a<", "<name>b<")
    never = vms.hypervisor.definitions.define(xml)
    until(lambda: status(vms, never) == "Down")
    vms.wait(never, lambda stats: stats.exit_code == 1)
    assert "was never started" in vms.stats(never).exit_message


def test_without_a_hypervisor_the_plugin_runs(make_machines, driver):
    """It may answer later; until then calls that need it fail with the reason."""
    driver.break_connections(refuse=True)
    options = {"hypervisor": {"reconnect_first": 0.05}}
    vms = make_machines(connect=driver.connect, config=options)
    assert next(p.state for p in vms.host.host.plugins() if p.name == "virt") == "running"
    with pytest.raises(HypervisorUnavailable):
        vms.begin()
    for verb in ("Host.getVMList", "Host.getVMFullList", "Host.getAllVmStats", "Host.dumpxmls"):
        with pytest.raises(Recovering):
            vms.call(verb)
    with pytest.raises(Recovering):
        vms.call("VM.pause", vmID=vms.born_with)
    subscription = vms.host.bridge.subscribe("|virt|VM_status|*")
    driver.accept()
    assert [event.params["vmId"] for event in subscription.next(10)] == [vms.born_with]
    subscription.close()
    until(lambda: listed(vms) == [vms.born_with])
    with pytest.raises(NoSuchVM):
        vms.call("VM.pause", vmID=str(uuid.uuid4()))
    assert vms.status(vms.create()) == "Up"
    driver.break_connections(refuse=True)
    until(lambda: not vms.hypervisor.connected)
    assert len(listed(vms)) == 2, "known machines are listed also while libvirt is away"


def listed(vms):
    """The ids of the machines; None while they are not known yet."""
    try:
        return vms.call("Host.getVMList", onlyUUID=True)
    except Recovering:
        return None
