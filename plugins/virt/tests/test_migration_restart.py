"""A migration is a task: another daemon goes on with it wherever the last one ended."""

from __future__ import annotations

import json
import sqlite3
import threading

import libvirt
import msgspec
import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_core.errors import NoSuchTask
from vdsm_core.work.record import TaskRecord
from vdsm_core.work.references import exclusive
from vdsm_virt import Virt
from vdsm_virt.errors import AlreadyMigrating, MigrationCancelFailed, MigrationFailed, MigrationInProgress
from vdsm_virt.jobs.migration.outgoing import VERB
from vdsm_virt.machine.references import Machine

REFUSED = libvirt.VIR_ERR_OPERATION_FAILED
STEPS = ("prepare", "hand over to libvirt", "watch", "settle")
#: Where a daemon may be killed: before a step has begun, and within it. Behind one is before the next.
PLACES = [(number, phase) for number in range(len(STEPS)) for phase in ("before", "do")]


class Lives:
    """A host whose daemon ends and is started again on the same state and the same libvirt."""

    def __init__(self, folder, moving, machines_of) -> None:
        self.folder = folder
        self.moving = moving
        self.machines_of = machines_of
        self.host = None

    def start(self, **options):
        """Start the daemon; its machines."""
        config = {
            "daemon": {"state_dir": str(self.folder)},
            "plugin": {"virt": options},
            "audit": {"to": "file", "file": str(self.folder / "audit.log")},
        }
        self.host = TestHost(verbs={"virt": Virt}, connect=self.moving.connect, config=config)
        self.host.__enter__()
        return self.machines_of(self.host)

    def end(self) -> None:
        """End the daemon."""
        if self.host is not None:
            self.host.__exit__(None, None, None)
            self.host = None

    def kill_at(self, step, phase, **changes) -> None:
        """End the daemon, and leave what one leaves that is killed there: its last checkpoint."""
        self.end()
        with sqlite3.connect(self.folder / "state.sqlite") as state:
            ((task_id, blob),) = state.execute("SELECT id, record FROM tasks").fetchall()
            record = msgspec.json.decode(blob, type=TaskRecord)
            assert (record.verb, record.done) == (VERB, False)
            left = msgspec.structs.replace(record, step=step, phase=phase, **changes)
            state.execute("UPDATE tasks SET record = ? WHERE id = ?", (msgspec.json.encode(left), task_id))

    def audited(self):
        """The lines of the audit log about migrations."""
        lines = (self.folder / "audit.log").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["verb"] == VERB]


@pytest.fixture
def lives(tmp_path, moving, machines_of):
    lives = Lives(tmp_path, moving, machines_of)
    yield lives
    for journey in list(moving.journeys.values()):
        journey.settle(REFUSED, "the test is over")
    lives.end()


def begin(lives, **params):
    """A machine that is being migrated; it, and the machines of its host."""
    vms = lives.start()
    vm_id = vms.create()
    vms.call("VM.migrate", vmID=vm_id, params={"dst": "there", **params})
    lives.moving.journey(vm_id)
    until(lambda: vms.call("VM.getMigrationStatus", vmID=vm_id).data_total)
    return vms, vm_id


def outcome(vms, vm_id):
    """How the migration ended, None while it has not."""
    try:
        return "done" if vms.call("VM.getMigrationStatus", vmID=vm_id).status == "done" else None
    except MigrationFailed as failure:
        return failure.facts["reason"]


def record_of(vms):
    (record,) = vms.host.host.runtime.work.tasks.all()
    return record


@pytest.mark.parametrize(("step", "phase"), PLACES[3:6])
def test_it_is_attached_to(lives, step, phase):
    """Its progress goes on, what is refused is refused, it can be cancelled, and its owner stays."""
    _, vm_id = begin(lives)
    journey = lives.moving.journey(vm_id)
    lives.kill_at(step, phase, progress=0)
    journey.remaining = 30
    vms = lives.start()
    vms.wait(vm_id, lambda stats: stats.status == "Migration Source")
    until(lambda: vms.call("VM.getMigrationStatus", vmID=vm_id).progress == 70)
    assert vms.call("VM.getMigrationStatus", vmID=vm_id).destination == "qemu+tls://there/system"
    with pytest.raises(AlreadyMigrating):
        vms.call("VM.migrate", vmID=vm_id, params={"dst": "there"})
    with pytest.raises(MigrationInProgress):
        vms.call("VM.pause", vmID=vm_id)
    vms.call("VM.migrateChangeParams", vmID=vm_id, params={"maxBandwidth": 5})
    assert lives.moving.settings[-1] == ("bandwidth", 5)
    vms.call("VM.migrateCancel", vmID=vm_id)
    assert (outcome(vms, vm_id), vms.status(vm_id)) == ("it was cancelled on request", "Up")
    assert record_of(vms).state == "recovered"
    lives.end()
    begun, replied, *_refused, ended = lives.audited()
    assert (begun["outcome"], replied["outcome"]) == ("begun", "done")
    assert (ended["outcome"], ended["who"], ended["object"]) == ("task-aborted", begun["who"], vm_id)
    assert ended["task"]


@pytest.mark.parametrize(("step", "phase"), PLACES[3:])
@pytest.mark.parametrize("ours", [True, False])
def test_it_moved_while_no_daemon_ran(lives, step, phase, ours):
    """The outcome is recorded and shown until `VM.destroy`; libvirt has nothing of it any more."""
    vms = lives.start()
    vm_id = vms.create() if ours else vms.born_with
    vms.call("VM.migrate", vmID=vm_id, params={"dst": "there"})
    journey = lives.moving.journey(vm_id)
    lives.kill_at(step, phase)
    journey.settle()
    until(lambda: vm_id not in lives.moving.journeys)
    until(lambda: not lives.moving.has(vm_id))
    vms = lives.start()
    until(lambda: record_of(vms).state == "finished")
    if not ours:
        assert vms.call("Host.getVMList", onlyUUID=True) == []
        return
    until(lambda: outcome(vms, vm_id) == "done")
    stats = vms.stats(vm_id)
    assert (stats.status, stats.exit_code, stats.exit_reason) == ("Down", 0, 4)
    vms.call("VM.destroy", vmID=vm_id)
    assert vms.ids() == []


@pytest.mark.parametrize(("step", "phase"), PLACES[4:6])
def test_it_failed_while_no_daemon_ran(lives, step, phase):
    """The machine runs on; the reason is one that libvirt does not report twice."""
    _, vm_id = begin(lives)
    journey = lives.moving.journey(vm_id)
    lives.kill_at(step, phase)
    journey.settle(REFUSED, "no room")
    until(lambda: vm_id not in lives.moving.journeys)
    vms = lives.start()
    until(lambda: outcome(vms, vm_id) == "libvirt ended it and does not say why")
    vms.wait(vm_id, lambda stats: stats.status == "Up")
    assert record_of(vms).state == "failed"
    vms.call("VM.pause", vmID=vm_id)


@pytest.mark.parametrize(("step", "phase"), PLACES[:4])
def test_libvirt_had_not_begun(lives, step, phase):
    """The request was accepted, so it is carried out."""
    _, vm_id = begin(lives)
    first = lives.moving.journey(vm_id)
    lives.kill_at(step, phase)
    first.settle(REFUSED, "it was never begun")
    until(lambda: vm_id not in lives.moving.journeys)
    vms = lives.start()
    second = lives.moving.journey(vm_id)
    assert second is not first
    vms.wait(vm_id, lambda stats: stats.status == "Migration Source")
    second.settle()
    until(lambda: outcome(vms, vm_id) == "done")


@pytest.mark.parametrize("step", [0, 1, 2])
def test_it_was_being_cancelled(lives, step):
    """The next daemon has it end, too."""
    _, vm_id = begin(lives)
    lives.kill_at(step, "do", state="aborting")
    if not step:
        lives.moving.journey(vm_id).settle(REFUSED, "it was never begun")
    vms = lives.start()
    until(lambda: record_of(vms).done)
    vms.wait(vm_id, lambda stats: stats.status == "Up")
    until(lambda: vm_id not in lives.moving.journeys)
    assert outcome(vms, vm_id) == "it was cancelled on request"
    with pytest.raises(MigrationCancelFailed):
        vms.call("VM.migrateCancel", vmID=vm_id)


def test_its_settling_was_interrupted(lives):
    """A failure that was being settled is settled by the next daemon."""
    _, vm_id = begin(lives)
    memory = json.dumps({"reason": "no room", "cancelled": False, "over": True})
    lives.kill_at(0, "undo", state="aborting", ends_as="failed", memory=memory)
    lives.moving.journey(vm_id).settle(REFUSED, "no room")
    until(lambda: vm_id not in lives.moving.journeys)
    vms = lives.start()
    until(lambda: outcome(vms, vm_id) == "no room")
    vms.wait(vm_id, lambda stats: stats.status == "Up")


def test_the_plugin_is_switched_off_and_on(lives):
    """Libvirt carries on, and the plugin attaches again when it runs."""
    _, vm_id = begin(lives)
    server = lives.host.host
    for enabled in (False, True):
        tables = {**server.config.plugin, "virt": {"enabled": enabled}}
        server.reload(msgspec.structs.replace(server.config, plugin=tables))
        assert vm_id in lives.moving.journeys
    vms = lives.machines_of(lives.host)
    vms.wait(vm_id, lambda stats: stats.status == "Migration Source")
    vms.call("VM.migrateCancel", vmID=vm_id)
    assert vms.status(vm_id) == "Up"


def test_it_is_no_task_for_clients(lives):
    """VDSM's list of tasks has none of it, nor do its events: migrations have verbs of their own."""
    vms, vm_id = begin(lives)
    subscription = vms.listen("|task|*")
    record = record_of(vms)
    for verb in ("Host.getAllTasks", "Host.getAllTasksInfo", "Host.getAllTasksStatuses"):
        assert vms.call(verb) == {}
    for verb in ("Task.getInfo", "Task.getStatus", "Task.stop", "Task.revert", "Task.clear"):
        with pytest.raises(NoSuchTask):
            vms.call(verb, taskID=record.id)
    (holder,) = vms.call("Host.getQueues")
    assert (holder.call, holder.lane, holder.place) == (VERB, f"vm {vm_id}", 0)
    lives.moving.journey(vm_id).settle()
    until(lambda: record_of(vms).done)
    assert vms.received(subscription) == []
    subscription.close()


def test_a_call_that_waited_is_refused(lives):
    """A call that arrived before the migration began does not wait for its end."""
    vms = lives.start()
    vm_id = vms.create()
    work = vms.host.host.runtime.work
    blocker = work.locks.request([exclusive(Machine(vm_id))], "test")
    failures = []

    def pause():
        try:
            vms.call("VM.pause", vmID=vm_id)
        except MigrationInProgress as error:
            failures.append(error.code)

    migrating = threading.Thread(target=lambda: vms.call("VM.migrate", vmID=vm_id, params={"dst": "there"}))
    pausing = threading.Thread(target=pause)
    for number, thread in enumerate((migrating, pausing), 2):
        thread.start()
        until(lambda number=number: len(vms.call("Host.getQueues")) == number)
    work.locks.release(blocker)
    for thread in (migrating, pausing):
        thread.join()
    assert failures == [51]


def test_its_destruction_cancels_it_and_goes_on(lives):
    """Also if libvirt does not end the migration: QEMU is killed after a deadline."""
    vms, vm_id = begin(lives)
    lives.moving.journey(vm_id).abortable = False
    done = threading.Event()
    thread = threading.Thread(target=lambda: (vms.call("VM.destroy", vmID=vm_id), done.set()))
    thread.start()
    assert done.wait(30)
    thread.join()
    assert vms.ids() == []
    lives.moving.journey(vm_id).settle(REFUSED, "domain is not running")
    until(lambda: record_of(vms).done)
    assert record_of(vms).state == "recovered"
