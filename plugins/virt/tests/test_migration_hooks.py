"""The hook points of a migration: their moments, documents and properties, on both hosts, and refusals."""

from __future__ import annotations

import uuid
from types import SimpleNamespace

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_core.errors import OperationFailed
from vdsm_core.hooks import hookimpl
from vdsm_core.hypervisor import DomainLifecycle
from vdsm_core.types import builtins
from vdsm_virt.errors import MigrationFailed, NoSuchVM

from .migrating import REFUSED, migrate, outcome

KEPT = {"plugin": {"virt": {"kept_custom": ["*"]}}}
NIC = {"type": "interface", "device": "user", "macAddr": "52:54:00:00:00:07", "custom": {"queues": "4"}}
MACHINE = {"custom": {"a": "b"}, "devices": [NIC]}
POINTS = [f"{when}_{what}_migrate" for what in ("device", "vm") for when in ("before", "after")]


class Recorder:
    """Hooks that record what they get, and refuse on demand.

    :ivar calls: the point, the document's name or the device's tag, and the properties
    :ivar refused: points that refuse
    """

    def __init__(self, side: str) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.refused: set[str] = set()
        hooks = {f"{point}_{side}": self._hook(f"{point}_{side}") for point in POINTS}
        self.plugin = SimpleNamespace(**{f"vdsm_{name}": hookimpl(hook) for name, hook in hooks.items()})

    @property
    def names(self) -> list[object]:
        return [call[0] for call in self.calls]

    def _hook(self, name):
        def of_machine(vm_id, domain, custom):
            self._call(name, domain.findtext("uuid"), domain.findtext("name"), custom)
            assert domain.findtext("uuid") == vm_id

        def of_device(vm_id, device, custom, device_custom):
            self._call(name, vm_id, device.tag, custom, device_custom)

        return of_device if "device" in name else of_machine

    def _call(self, name, *rest):
        self.calls.append((name, *rest))
        if name in self.refused:
            raise OperationFailed(reason="not today")


@pytest.fixture
def source(make_machines, moving):
    """A host that machines leave, and what its hooks record."""
    recorder = Recorder("source")
    machines = make_machines(connect=moving.connect, hooks={"test": recorder.plugin}, config=KEPT)
    yield SimpleNamespace(vms=machines, hooks=recorder, moving=moving)
    for journey in list(moving.journeys.values()):
        journey.settle(REFUSED, "the test is over")


@pytest.fixture
def target(make_machines):
    """A host that machines arrive at, and what its hooks record."""
    recorder = Recorder("destination")
    return SimpleNamespace(vms=make_machines(hooks={"test": recorder.plugin}, config=KEPT), hooks=recorder)


def test_hooks_of_the_source(source):
    """Devices before the machine, and after its end in the other order, with the last known document."""
    vm_id = source.vms.create(**MACHINE)
    migrate(source.vms, vm_id)
    source.moving.journey(vm_id)
    machine, device = (vm_id, "a", {"a": "b"}), (vm_id, "interface", {"a": "b"}, {"queues": "4"})
    before = [("before_device_migrate_source", *device), ("before_vm_migrate_source", *machine)]
    assert source.hooks.calls == before
    source.moving.journey(vm_id).settle()
    after = [("after_vm_migrate_source", *machine), ("after_device_migrate_source", *device)]
    until(lambda: source.hooks.calls == [*before, *after], detail=lambda: source.hooks.calls)


def test_a_migration_that_fails_has_no_hooks_afterwards(source):
    """As in VDSM; the next attempt calls those before it again."""
    vm_id = source.vms.create(**MACHINE)
    before = ["before_device_migrate_source", "before_vm_migrate_source"]
    migrate(source.vms, vm_id)
    source.moving.journey(vm_id).settle(REFUSED, "no room")
    until(lambda: outcome(source.vms, vm_id) == "no room")
    assert source.hooks.names == before
    migrate(source.vms, vm_id)
    source.moving.journey(vm_id).settle()
    until(lambda: outcome(source.vms, vm_id) == "done")
    until(lambda: source.hooks.names[4:] == ["after_vm_migrate_source", "after_device_migrate_source"])
    assert source.hooks.names[:4] == before * 2


@pytest.mark.parametrize("point", ["before_device_migrate_source", "before_vm_migrate_source"])
def test_a_hook_of_the_source_refuses(source, point):
    """The machine stays, libvirt has begun nothing, and the status has the reason."""
    source.hooks.refused.add(point)
    vm_id = source.vms.create(**MACHINE)
    migrate(source.vms, vm_id)
    until(lambda: outcome(source.vms, vm_id))
    with pytest.raises(MigrationFailed, match="not today"):
        source.vms.call("VM.getMigrationStatus", vmID=vm_id)
    assert (source.moving.journeys, source.vms.status(vm_id)) == ({}, "Up")
    assert source.hooks.names[-1] == point


def _document(vm_id: str, name: str = "a", custom: str = '{"a": "b"}') -> str:
    metadata = (
        '<metadata><m:machine xmlns:m="urn:vdsm:machine:1">'
        f"<m:custom>{custom}</m:custom>"
        '<m:device_custom>{"mac:52:54:00:00:00:07": {"queues": "4"}}</m:device_custom>'
        "</m:machine></metadata>"
    )
    nic = '<interface type="user"><mac address="52:54:00:00:00:07"/></interface>'
    head = f'<domain type="test"><name>{name}</name><uuid>{vm_id}</uuid>'
    return f"{head}{metadata}<devices>{nic}</devices></domain>"


def _announce(target, vm_id, **members):
    params = {"vmId": vm_id, "vmName": "a", "devices": [], **members}
    return target.vms.call("VM.migrationCreate", vmID=vm_id, params=params)


def _happen(target, vm_id, *events):
    for event in events:
        target.vms.hypervisor._dispatcher.announce(DomainLifecycle(vm_id, "a", *event))


def test_hooks_of_the_destination(target, monkeypatch):
    """Before the reply of `VM.migrationCreate` with the source's document; afterwards once the guest runs."""
    vm_id = str(uuid.uuid4())
    _announce(target, vm_id, _srcDomXML=_document(vm_id))
    assert target.hooks.calls == [
        ("before_device_migrate_destination", vm_id, "interface", {"a": "b"}, {"queues": "4"}),
        ("before_vm_migrate_destination", vm_id, "a", {"a": "b"}),
    ]
    # What libvirt has when the machine arrives. A domain of the test driver would report a start of its own.
    document = _whole(vm_id)
    monkeypatch.setattr(target.vms.hypervisor.definitions, "xml", lambda *_, **__: document)
    _happen(target, vm_id, ("started", "migrated"))
    assert len(target.hooks.calls) == 2
    _happen(target, vm_id, ("resumed", "migrated"))
    target.vms.wait(vm_id, lambda stats: stats.status == "Up")
    until(lambda: len(target.hooks.calls) == 4, detail=lambda: target.hooks.calls)
    assert target.hooks.calls[2:] == [
        ("after_vm_migrate_destination", vm_id, "a", {"a": "b"}),
        ("after_device_migrate_destination", vm_id, "interface", {"a": "b"}, {"queues": "4"}),
    ]
    # It runs here: what happens to it later is no arrival.
    _happen(target, vm_id, ("suspended", "paused"), ("resumed", "migrated"))
    target.vms.wait(vm_id, lambda stats: stats.status == "Up")
    assert len(target.hooks.calls) == 4


def _whole(vm_id: str) -> str:
    """The document as libvirt's test driver takes it."""
    return _document(vm_id).replace(
        "<devices>", "<memory unit='MiB'>64</memory><os><type>hvm</type></os><devices>"
    )


def test_an_announcement_without_a_document(target):
    """The hooks get id and name, and the properties of the description, as engines send it."""
    vm_id = str(uuid.uuid4())
    _announce(target, vm_id, custom={"c": "d"})
    assert target.hooks.calls == [("before_vm_migrate_destination", vm_id, "a", {"c": "d"})]


@pytest.mark.parametrize("point", ["before_device_migrate_destination", "before_vm_migrate_destination"])
def test_a_hook_of_the_destination_refuses(target, point):
    """The caller gets its error, and no place is kept."""
    target.hooks.refused.add(point)
    vm_id = str(uuid.uuid4())
    with pytest.raises(OperationFailed, match="not today"):
        _announce(target, vm_id, _srcDomXML=_document(vm_id))
    with pytest.raises(NoSuchVM):
        target.vms.status(vm_id)
    target.hooks.refused.clear()
    assert builtins(_announce(target, vm_id))["params"]["status"] == "Migration Destination"


def test_a_machine_that_does_not_arrive(target):
    """No hook is called for it afterwards."""
    vm_id = str(uuid.uuid4())
    _announce(target, vm_id)
    _happen(target, vm_id, ("started", "migrated"), ("stopped", "failed"))
    target.vms.wait(vm_id, lambda stats: stats.status == "Down")
    assert target.hooks.names == ["before_vm_migrate_destination"]
