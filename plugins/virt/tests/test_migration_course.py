"""What happens on the way: post-copy, errors, and the codes that a migration ends with."""

from __future__ import annotations

import libvirt
import msgspec
import pytest

from vdsm_bridge.testing.polling import until
from vdsm_core.hypervisor import DomainIOError, DomainLifecycle, OperationInvalid
from vdsm_virt.errors import MigrationCancelFailed, MigrationFailed, MigrationInProgress, PausedByIOError

from .migrating import REFUSED, feed, migrate, outcome, progress

POSTCOPY = {
    "init": [],
    "stalling": [
        {"limit": 1, "action": {"name": "postcopy", "params": []}},
        {"limit": -1, "action": {"name": "abort", "params": []}},
    ],
}


def test_the_guest_continues_there(movers, moving):
    """In post-copy the machine is Paused here, no further action is taken, and nothing can cancel it."""
    vm_id = movers.create()
    published = movers.listen(f"|virt|VM_migration_status|{vm_id}")
    migrate(movers, vm_id, convergenceSchedule=POSTCOPY)
    journey = moving.journey(vm_id)
    until(lambda: progress(movers, vm_id).iteration == 1)
    journey.iteration = 3
    until(lambda: ("postcopy", 1) in moving.settings)
    feed(movers, DomainLifecycle(vm_id, "a", "suspended", "postcopy"))
    movers.wait(vm_id, lambda stats: stats.status == "Paused")
    assert movers.stats(vm_id).pause_code == "POSTCOPY"
    journey.iteration = 9
    until(lambda: progress(movers, vm_id).iteration == 9)
    with pytest.raises(MigrationCancelFailed, match="continues on the destination"):
        movers.call("VM.migrateCancel", vmID=vm_id)
    with pytest.raises(MigrationInProgress):
        movers.call("VM.cont", vmID=vm_id)
    assert not journey.over.is_set()
    assert [event["postcopy"] for event in movers.received(published)][-1] is True
    journey.settle()
    movers.wait(vm_id, lambda stats: stats.status == "Down")
    until(lambda: outcome(movers, vm_id) == "done")
    assert (movers.stats(vm_id).exit_code, movers.stats(vm_id).exit_reason) == (0, 4)
    published.close()


def test_post_copy_fails(movers, moving, monkeypatch):
    """Neither host has the whole memory of the guest: it is Down, with VDSM's reason."""
    vm_id = movers.create()
    migrate(movers, vm_id, convergenceSchedule=POSTCOPY)
    journey = moving.journey(vm_id)
    until(lambda: progress(movers, vm_id).iteration == 1)
    journey.iteration = 3
    until(lambda: ("postcopy", 1) in moving.settings)
    feed(movers, DomainLifecycle(vm_id, "a", "suspended", "postcopy"))
    read = movers.hypervisor.domains.get

    def split(uuid):
        return msgspec.structs.replace(read(uuid), state="paused", reason="postcopy-failed")

    monkeypatch.setattr(movers.hypervisor.domains, "get", split)
    journey.settle(REFUSED, "the connection broke")
    movers.wait(vm_id, lambda stats: stats.status == "Down")
    stats = movers.stats(vm_id)
    assert (stats.exit_code, stats.exit_reason) == (1, 12)
    until(lambda: outcome(movers, vm_id) == "the connection broke")


def test_post_copy_that_libvirt_refuses(movers, moving, monkeypatch):
    """The migration goes on as before, and can be cancelled."""

    def refuse(uuid):
        raise OperationInvalid(operation="start_postcopy", reason="not supported", libvirt_code=1)

    vm_id = movers.create()
    monkeypatch.setattr(movers.hypervisor.migrations, "start_postcopy", refuse)
    migrate(movers, vm_id, convergenceSchedule=POSTCOPY)
    journey = moving.journey(vm_id)
    until(lambda: progress(movers, vm_id).iteration == 1)
    journey.iteration = 3
    until(lambda: progress(movers, vm_id).iteration == 3)
    movers.call("VM.migrateCancel", vmID=vm_id)
    assert movers.status(vm_id) == "Up"


@pytest.mark.parametrize(
    ("error", "code"),
    [((libvirt.VIR_ERR_OPERATION_FAILED, "no room"), 102), (None, 47)],
)
def test_the_code_of_a_migration_that_failed(movers, moving, error, code):
    """VDSM's: 102 for an error of libvirt, 47 for a cancellation."""
    vm_id = movers.create()
    migrate(movers, vm_id)
    journey = moving.journey(vm_id)
    if error:
        journey.settle(*error)
    else:
        movers.call("VM.migrateCancel", vmID=vm_id)
    until(lambda: outcome(movers, vm_id))
    for _ in range(2):
        with pytest.raises(MigrationFailed) as failure:
            progress(movers, vm_id)
        assert failure.value.code == code


def test_a_machine_whose_disk_fails_does_not_move(movers, moving):
    """It would fail there, too; other errors of a disk may be gone there."""
    vm_id = movers.create(launchPaused=True)
    for code, reason in (("EIO", "eio"), ("ENOSPC", "enospc"), ("EOTHER", "eother")):
        feed(
            movers,
            DomainIOError(vm_id, "a", path="/d", alias="d", action="pause", reason=reason),
            DomainLifecycle(vm_id, "a", "resumed", "unpaused"),
            DomainIOError(vm_id, "a", path="/d", alias="d", action="pause", reason=reason),
            DomainLifecycle(vm_id, "a", "suspended", "ioerror"),
        )
        movers.wait(vm_id, lambda stats, code=code: stats.pause_code == code)
        if code == "EIO":
            with pytest.raises(PausedByIOError) as refusal:
                migrate(movers, vm_id)
            assert refusal.value.code == 100
            continue
        migrate(movers, vm_id)
        moving.journey(vm_id).settle(REFUSED, "no room")
        movers.wait(vm_id, lambda stats: stats.status == "Paused" and bool(stats.migration_error))
