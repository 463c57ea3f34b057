"""A libvirt that is slow to list its machines, or to look at its emulators, holds up nothing else."""

from __future__ import annotations

import threading
import time
import uuid

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_core.hypervisor import open_libvirt
from vdsm_virt import Virt, feature
from vdsm_virt.errors import NoSuchVM, Recovering
from vdsm_virt.machine import listing

XML = """<domain type='test'><name>{name}</name><uuid>{id}</uuid><memory>65536</memory>
<os><type>hvm</type></os></domain>"""
#: Far less than the listing takes.
LIMITS = {"daemon": {"start_timeout": 5.0}}


class Reluctant:
    """Libvirt's test driver, in which some calls do not return before `goes_on` is set.

    They have read by then what they return. Give `connect` to a host.
    """

    def __init__(self, *methods: str) -> None:
        self.methods = frozenset(methods)
        self.goes_on = threading.Event()
        #: The calls that wait.
        self.waiting: list[str] = []
        self._keeper = open_libvirt("test:///default")

    def connect(self, uri):
        return _Connection(self, open_libvirt(uri))

    def close(self):
        self.goes_on.set()
        self._keeper.close()

    def hold(self, name):
        self.waiting.append(name)
        self.goes_on.wait(60)
        self.waiting.remove(name)


class _Connection:
    def __init__(self, driver, real):
        self._driver = driver
        self._real = real

    def __getattr__(self, name):
        method = getattr(self._real, name)
        if name not in self._driver.methods:
            return method

        def reluctant(*arguments):
            result = method(*arguments)
            self._driver.hold(name)
            return result

        return reluctant


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(listing, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(listing, "MAX_PAUSE", 0.1)


@pytest.fixture
def impatient(monkeypatch):
    """The first listing is given up soon. (A short `call_deadline` would hit every other call, too.)"""
    monkeypatch.setattr(feature, "Listing", lambda hypervisor, _: listing.Listing(hypervisor, 0.1))


@pytest.fixture
def reluctant():
    """A function that makes a driver."""
    made = []

    def make(*methods):
        made.append(Reluctant(*methods))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


def listed(vms):
    """The ids of the machines; None while they are not known yet."""
    try:
        return vms.call("Host.getVMList", onlyUUID=True)
    except Recovering:
        return None


def published(vms):
    """The state of the plugin, and its health."""
    return next((p.state, p.error) for p in vms.call("Host.getPlugins") if p.name == "virt")


@pytest.mark.usefixtures("impatient")
def test_listing_that_takes_longer_than_it_may(make_machines, reluctant, caplog):
    """The plugin runs, its verbs raise what is waited for, and they work once libvirt answers: no restart."""
    driver = reluctant("listAllDomains")
    vms = make_machines(connect=driver.connect, config=LIMITS)
    for verb in ("Host.getVMList", "Host.getVMFullList", "Host.getAllVmStats", "Host.dumpxmls"):
        with pytest.raises(Recovering, match=r"not been read since the daemon started: .*list.*; try again"):
            vms.call(verb)
    with pytest.raises(Recovering):
        vms.call("VM.getStats", vmID=vms.born_with)
    state, error = published(vms)
    assert state == "running"
    assert error.startswith("degraded: not all machines are known: ")
    assert int(vms.call("Host.getStats").vm_count) == 0
    until(lambda: "Cannot compare the machines with libvirt's" in caplog.text, 30)
    driver.goes_on.set()
    until(lambda: listed(vms) == [vms.born_with], 30)
    with pytest.raises(NoSuchVM):
        vms.call("VM.pause", vmID=str(uuid.uuid4()))
    assert published(vms) == ("running", "")
    assert vms.status(vms.create()) == "Up"


def test_the_start_does_not_wait_for_the_list(make_machines, reluctant, caplog):
    """It returns while libvirt lists, however long that takes, and the log has what is waited for."""
    driver = reluctant("listAllDomains")
    vms = make_machines(connect=driver.connect, config=LIMITS)
    until(lambda: driver.waiting == ["listAllDomains"])
    assert published(vms)[0] == "running"
    assert "Not all machines are known yet: libvirt has been listing them for" in caplog.text
    with pytest.raises(Recovering, match="libvirt has been listing them for"):
        vms.call("Host.getVMList")
    driver.goes_on.set()
    until(lambda: listed(vms) == [vms.born_with], 30)


@pytest.mark.usefixtures("impatient")
def test_a_libvirt_that_does_not_list_is_not_asked_without_end(make_machines, reluctant):
    """A few listings wait for it, each of which holds one of its workers; the error has since when."""
    driver = reluctant("listAllDomains")
    vms = make_machines(connect=driver.connect, config=LIMITS)

    def reason():
        try:
            vms.call("Host.getVMList")
        except Recovering as error:
            return str(error)
        return ""

    until(lambda: "'(host)' does not respond: its call 'domains' has been running for" in reason(), 30)
    assert len(driver.waiting) == 3
    driver.goes_on.set()
    until(lambda: listed(vms) == [vms.born_with], 30)


def test_what_happens_while_libvirt_lists(make_machines, reluctant):
    """Events that arrive meanwhile are newer than the list: it does not undo them."""
    driver = reluctant("listAllDomains")
    driver.goes_on.set()
    vms = make_machines(connect=driver.connect)
    runs, paused, gone = (
        vms.hypervisor.definitions.define(XML.format(name=name, id=uuid.uuid4())) for name in ("b", "c", "d")
    )
    vms.hypervisor.domains.start(paused)
    until(lambda: len(listed(vms)) == 4)
    driver.goes_on.clear()
    virt = next(p.instance for p in vms.host.host._lifecycle._plugins if p.found.name == "virt")
    virt._watcher.compare_soon("events lost")
    until(lambda: driver.waiting == ["listAllDomains"])
    vms.hypervisor.domains.start(runs)
    vms.hypervisor.domains.suspend(paused)
    vms.hypervisor.definitions.undefine(gone)
    new = vms.hypervisor.definitions.define(XML.format(name="e", id=uuid.uuid4()))
    # The listing holds up no event.
    vms.wait(runs, lambda stats: stats.status == "Up")
    vms.wait(paused, lambda stats: stats.status == "Paused")
    until(lambda: new in listed(vms) and gone not in listed(vms))
    seen = vms.listen("|virt|*|*")
    driver.goes_on.set()
    (event,) = seen.next(timeout=10)
    seen.close()
    assert event.id == "|virt|reconciled|no_id"
    assert [event.params[name] for name in ("added", "changed", "gone")] == [[], [], []]
    assert [vms.status(vm_id) for vm_id in (runs, paused, new)] == ["Up", "Paused", "Down"]


def test_the_list_does_not_wait_for_the_emulators(make_machines, reluctant):
    """Asked about them first, libvirt examines each one for seconds; machines are listed meanwhile."""
    driver = reluctant("getCapabilities", "getDomainCapabilities", "getVersion")
    vms = make_machines(connect=driver.connect)
    assert listed(vms) == [vms.born_with]
    assert vms.status(vms.born_with) == "Up"
    until(lambda: driver.waiting == ["getCapabilities"])
    assert published(vms) == ("running", "")
    driver.goes_on.set()
    assert vms.call("Host.getCapabilities").emulated_machines == []


def test_a_list_that_comes_after_the_stop_is_used_by_nobody(machines_of, reluctant):
    """The plugin stops within its time, and publishes nothing any more."""
    driver = reluctant("listAllDomains")
    host = TestHost(verbs={"virt": Virt}, connect=driver.connect, config=LIMITS)
    with host:
        vms = machines_of(host)
        virt = next(p.instance for p in host.host._lifecycle._plugins if p.found.name == "virt")
        seen = vms.listen("|virt|*|*")
        began = time.monotonic()
        host.host.reload(host.host.config.__class__(plugin={"virt": {"enabled": False}}))
        assert time.monotonic() - began < 8
        driver.goes_on.set()
        until(lambda: not driver.waiting)
        until(lambda: not any(t.name == "vm-comparer" for t in threading.enumerate()))
        assert vms.received(seen) == []
        seen.close()
    assert not virt._inventory.is_complete
