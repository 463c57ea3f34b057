"""Tasks: states, progress, stopping, reverting, and what a crash leaves."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vdsm_bridge.testing.polling import until
from vdsm_core.errors import (
    Conflict,
    InvalidArgument,
    NoSuchTask,
    ResourceExhausted,
    StateUnavailable,
    TaskStateError,
)
from vdsm_core.events import EventBus, Journal, Subscription
from vdsm_core.state import MEMORY, StateStore
from vdsm_core.work.engine import Engine
from vdsm_core.work.record import FINAL, TaskRecord
from vdsm_core.work.steps import Plan, Progress, Step
from vdsm_core.work.table import PROGRESS_INTERVAL
from vdsm_core.work.tasks import Tasks


class Maker:
    """Makes `Tasks` on one store, as one daemon after the other would."""

    def __init__(self, store: StateStore, bus: EventBus) -> None:
        self.store = store
        self.bus = bus
        self.made: dict[int, Engine] = {}

    def __call__(
        self, plan_of: Callable[[TaskRecord], Plan | None] = lambda _: None, **options: float
    ) -> Tasks:
        engine = Engine(self.store, self.bus, **options)  # type: ignore[arg-type]
        engine.start()
        engine.resume(plan_of)
        self.made[id(engine.tasks)] = engine
        return engine.tasks

    def stop(self, tasks: Tasks, grace: float = 4.0) -> None:
        """End a daemon."""
        self.made.pop(id(tasks)).stop(grace)


@pytest.fixture
def make(store: StateStore, bus: EventBus) -> Iterator[Maker]:
    """The maker; everything it made is stopped at the end."""
    maker = Maker(store, bus)
    yield maker
    for engine in maker.made.values():
        engine.stop(4.0)


def job(
    run: Callable[[Progress], object], *, resumable: bool = False, revert: Callable[[], None] | None = None
) -> Plan:
    """A plan of one step that returns a plain value."""
    step = Step(
        name="run", do=lambda progress: msgspec.json.encode(run(progress)).decode(), repeatable=resumable
    )
    return Plan(steps=(step,), revert=revert)


def ended(tasks: Tasks, task_id: str) -> TaskRecord:
    """Return the record of a task once it has ended."""
    until(lambda: tasks.get(task_id).done)
    return tasks.get(task_id)


def stored(store: StateStore) -> dict[str, str]:
    """State by id, as the store has it."""
    records = [
        msgspec.json.decode(blob, type=TaskRecord) for (blob,) in store.rows("SELECT record FROM tasks")
    ]
    return {record.id: record.state for record in records}


def test_a_task_that_succeeds(make: Maker, store: StateStore) -> None:
    """It has an owner, a verb, a start and an end, a result, and is finished in the store, too."""
    tasks = make()
    task_id = tasks.submit("Lamp.burn", "joe", '{"a":1}', job(lambda _: {"hours": 3}))
    record = ended(tasks, task_id)
    assert (record.state, record.progress, record.code) == ("finished", 100, 0)
    assert (record.verb, record.owner, record.arguments) == ("Lamp.burn", "joe", '{"a":1}')
    assert (record.message, record.result) == ("1 jobs completed successfully", '{"hours":3}')
    assert 0 < record.started <= record.ended
    assert stored(store) == {task_id: "finished"}
    assert tasks.all() == [record]


def received(subscription: Subscription) -> list[dict[str, Any]]:
    """Return the events of a task, to its end."""
    reports: list[dict[str, Any]] = []
    while not reports or reports[-1]["state"] not in FINAL:
        reports += [event.params for event in subscription.next(10)]
    return reports


def test_progress_is_published(make: Maker, bus: EventBus) -> None:
    """Reports reach the record and the subscribers, held between 0 and 100; no text keeps the last one."""
    tasks = make()
    subscription = bus.subscribe("|task|status")

    def run(progress: Progress) -> None:
        for percent, message in ((-5, "begins"), (40, ""), (500, "ends")):
            time.sleep(PROGRESS_INTERVAL)
            progress.report(percent, message)

    record = ended(tasks, tasks.submit("v", "o", "{}", job(run)))
    reports = received(subscription)
    assert record.progress == 100
    assert [(p["state"], p["progress"], p["message"]) for p in reports] == [
        ("queued", 0, "Task is initializing"),
        ("running", 0, "Task is initializing"),
        ("running", 0, "begins"),
        ("running", 40, "begins"),
        ("running", 100, "ends"),
        ("finished", 100, "1 jobs completed successfully"),
    ]


def test_progress_is_published_five_times_a_second_at_most(make: Maker, bus: EventBus) -> None:
    """Frequent reports of progress are limited; each change of state is published all the same."""
    tasks = make()
    subscription = bus.subscribe("|task|status")

    def run(progress: Progress) -> float:
        began = time.monotonic()
        while (took := time.monotonic() - began) < 0.5:
            progress.report(50)
        return took

    record = ended(tasks, tasks.submit("v", "o", "{}", job(run)))
    states = [params["state"] for params in received(subscription)]
    assert states[:2] + states[-1:] == ["queued", "running", "finished"]
    assert states.count("running") <= 2 + float(record.result) / PROGRESS_INTERVAL


def test_the_last_progress_is_published(make: Maker, bus: EventBus) -> None:
    """A report too soon after another is published a little later, unless a newer one replaces it."""
    tasks, gate = make(), threading.Event()
    subscription = bus.subscribe("|task|status")

    def run(progress: Progress) -> None:
        for percent in (10, 20, 90):
            progress.report(percent)
        gate.wait(20)

    task = tasks.submit("v", "o", "{}", job(run))
    reports: list[int] = []
    end = time.monotonic() + 10
    while 90 not in reports and time.monotonic() < end:
        reports += [event.params["progress"] for event in subscription.next(1)]
    gate.set()
    assert reports[-1] == 90
    assert len(reports) <= 4
    last_reports = received(subscription)
    assert [params["state"] for params in last_reports] == ["finished"]
    ended(tasks, task)


def test_a_snapshot_shows_what_is_not_over(make: Maker, bus: EventBus) -> None:
    """A snapshot has the running tasks, and no finished ones."""
    tasks, gate = make(), threading.Event()
    ended(tasks, tasks.submit("v", "o", "{}", job(lambda _: None)))
    subscription = bus.subscribe("|task|status")

    def run(progress: Progress) -> None:
        progress.report(40, "waits")
        gate.wait(10)

    running = tasks.submit("v", "o", "{}", job(run))
    while not any(event.params["message"] == "waits" for event in subscription.next(0.05)):
        if tasks.get(running).message == "waits":  # held back: it came right behind another event
            break
    known_seq, states = bus.snapshot("|task")
    gate.set()
    ended(tasks, running)
    assert [(state.id, state.params["progress"]) for state in states] == [(f"|task|status|{running}", 40)]
    later = bus.subscribe("|task", after=min(known_seq.values()), known_seq=known_seq)
    assert [params["state"] for params in received(later)] == ["finished"]
    assert bus.snapshot("|task")[1] == []


def test_a_task_that_fails(make: Maker) -> None:
    """Its record has the slug, the code and the message of the error."""

    def run(_: Progress) -> None:
        raise Conflict(reason="it is raining")

    tasks = make()
    record = ended(tasks, tasks.submit("v", "o", "{}", job(run)))
    assert (record.state, record.slug, record.code) == ("failed", "conflict", 100)
    assert record.message == "Cannot carry out the request: it is raining"


def test_a_bug_in_a_task(make: Maker, caplog: pytest.LogCaptureFixture) -> None:
    """The record has an incident, and the log has the traceback under it."""
    tasks = make()
    record = ended(tasks, tasks.submit("Lamp.burn", "o", "{}", job(lambda _: 1 / 0)))
    assert (record.state, record.code) == ("failed", 16)
    assert record.message.startswith("Lamp.burn failed unexpectedly")
    assert record.message.split()[-1] in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_stopping(make: Maker) -> None:
    """A running task is stopped, ends as recovered, and cannot be stopped again."""
    tasks = make()
    task_id = tasks.submit("v", "o", "{}", job(lambda progress: progress.sleep(10)))
    until(lambda: tasks.get(task_id).state == "running")
    tasks.abort(task_id)
    record = ended(tasks, task_id)
    assert (record.state, record.code, record.slug) == ("recovered", 411, "task-aborted")
    with pytest.raises(TaskStateError, match=r"Cannot stop task .* in state recovered: it is over"):
        tasks.abort(task_id)


def test_stopping_one_that_waits(make: Maker) -> None:
    """A task that has not begun never begins."""
    tasks = make(short=1)
    goes_on, began = threading.Event(), threading.Event()
    first = tasks.submit("v", "o", "{}", job(lambda _: goes_on.wait(10)))
    second = tasks.submit("v", "o", "{}", job(lambda _: began.set()))
    tasks.abort(second)
    assert tasks.get(second).state == "aborting"
    goes_on.set()
    assert ended(tasks, second).state == "recovered"
    assert ended(tasks, first).state == "finished"
    assert not began.is_set()


def test_reverting(make: Maker) -> None:
    """A finished task is rolled back once, and its state reports it."""
    undone: list[int] = []
    plan = job(lambda _: None, revert=lambda: undone.append(1))
    tasks = make(lambda _: plan)
    task_id = tasks.submit("v", "o", "{}", plan)
    ended(tasks, task_id)
    tasks.revert(task_id)
    assert (tasks.get(task_id).state, undone) == ("recovered", [1])
    with pytest.raises(TaskStateError, match="only a finished task"):
        tasks.revert(task_id)


def test_what_cannot_be_reverted(make: Maker) -> None:
    """Not a task that runs, and not one whose verb has no roll-back."""
    goes_on = threading.Event()
    plan = job(lambda _: goes_on.wait(10))
    tasks = make(lambda _: plan)
    task_id = tasks.submit("Lamp.burn", "o", "{}", plan)
    with pytest.raises(TaskStateError, match="only a finished task"):
        tasks.revert(task_id)
    goes_on.set()
    ended(tasks, task_id)
    with pytest.raises(TaskStateError, match=r"Lamp\.burn offers no roll-back"):
        tasks.revert(task_id)


def test_clearing(make: Maker, store: StateStore) -> None:
    """A finished task is forgotten, in the store, too; a running one is not."""
    tasks = make()
    goes_on = threading.Event()
    task_id = tasks.submit("v", "o", "{}", job(lambda _: goes_on.wait(10)))
    with pytest.raises(TaskStateError, match="it is not over yet"):
        tasks.clear(task_id)
    goes_on.set()
    ended(tasks, task_id)
    tasks.clear(task_id)
    assert stored(store) == {}
    for action in (tasks.get, tasks.clear, tasks.abort, tasks.revert):
        with pytest.raises(NoSuchTask):
            action(task_id)


def test_clearing_at_the_moment_of_the_end(make: Maker, store: StateStore) -> None:
    """However close a clear follows the end, nothing of the task comes back."""
    tasks = make()
    for _ in range(20):
        task_id = tasks.submit("v", "o", "{}", job(lambda _: None))
        while not tasks.get(task_id).done:
            pass
        tasks.clear(task_id)
    make.stop(tasks)
    assert stored(store) == {}


def test_the_limit(make: Maker) -> None:
    """The oldest finished tasks make room; if none is finished, the new one is refused."""
    tasks = make(limit=2)
    goes_on = threading.Event()
    old = tasks.submit("v", "o", "{}", job(lambda _: None))
    ended(tasks, old)
    running = [tasks.submit("v", "o", "{}", job(lambda _: goes_on.wait(10))) for _ in range(2)]
    assert [record.id for record in tasks.all()] == running
    with pytest.raises(ResourceExhausted, match="2 tasks are unfinished"):
        tasks.submit("v", "o", "{}", job(lambda _: None))
    goes_on.set()
    ended(tasks, running[0])


def test_keeping(make: Maker) -> None:
    """Finished tasks that are older than they are kept are forgotten with the next one."""
    tasks = make(keep=0.01)
    old = tasks.submit("v", "o", "{}", job(lambda _: None))
    ended(tasks, old)
    time.sleep(0.02)
    new = tasks.submit("v", "o", "{}", job(lambda _: None))
    assert [record.id for record in tasks.all()] == [new]


def leave(store: StateStore, **facts: object) -> None:
    """Put a task into the store as a daemon that was killed has left it."""
    record = TaskRecord(**{"id": "t", "verb": "v", "owner": "o", "started": 1.0, **facts})  # type: ignore[arg-type]
    store.write("INSERT INTO tasks VALUES (?, ?)", record.id, msgspec.json.encode(record))


def test_after_a_crash_a_task_fails_and_says_what_was_left(make: Maker, store: StateStore) -> None:
    """A task that was running ends as failed, with how far it had got."""
    make()
    leave(store, state="running", progress=30)
    record = make(lambda _: job(lambda _: None)).get("t")
    assert (record.state, record.code, record.slug) == ("failed", 411, "task-interrupted")
    assert "it stood at 30 %" in record.message
    assert stored(store) == {"t": "failed"}


def test_tasks_of_the_release_before(make: Maker, store: StateStore) -> None:
    """What a daemon without steps has stored is read, and goes on or ends as it would have then."""
    make()
    before = (
        '{"id":"%s","verb":"Lamp.burn","owner":"joe","state":"%s","progress":40,"message":"burns","code":0,'
        '"slug":"","arguments":"{}","result":"","started":1795900000.5,"ended":0.0}'
    )
    for task_id, state in (("a", "queued"), ("b", "running"), ("c", "finished"), ("d", "aborting")):
        store.write("INSERT INTO tasks VALUES (?, ?)", task_id, (before % (task_id, state)).encode())
    tasks = make(lambda _: job(lambda _: 1))
    assert ended(tasks, "a").state == "finished"
    assert (tasks.get("b").state, tasks.get("b").slug) == ("failed", "task-interrupted")
    assert "it stood at 40 %" in tasks.get("b").message
    assert (tasks.get("c").state, tasks.get("c").owner) == ("finished", "joe")
    assert tasks.get("d").state == "failed"


@pytest.mark.parametrize("state", ["queued", "running"])
def test_after_a_crash_a_resumable_task_starts_again(make: Maker, store: StateStore, state: str) -> None:
    """With the arguments that it was given first."""
    make()
    leave(store, state=state, arguments='{"n":7}')
    given: list[tuple[str, str]] = []

    def plan_of(record: TaskRecord) -> Plan:
        given.append((record.verb, record.arguments))
        return job(lambda _: "again", resumable=True)

    tasks = make(plan_of)
    assert ended(tasks, "t").result == '"again"'
    assert given == [("v", '{"n":7}')]


def test_after_a_crash_a_task_that_had_not_begun_starts(make: Maker, store: StateStore) -> None:
    """Whether resumable or not: nothing of it has happened yet."""
    make()
    leave(store, state="queued")
    tasks = make(lambda _: job(lambda _: 1))
    assert ended(tasks, "t").state == "finished"


def test_after_a_crash_a_task_that_was_being_stopped_does_not_start(make: Maker, store: StateStore) -> None:
    """Its end was requested."""
    make()
    leave(store, state="aborting")
    assert make(lambda _: job(lambda _: 1, resumable=True)).get("t").state == "failed"


def test_a_task_waits_for_its_plugin(make: Maker, store: StateStore) -> None:
    """As long as its plugin is off, nothing carries a task on; it is not lost, and can be stopped."""
    make()
    leave(store, state="queued")
    leave(store, id="other", state="queued")
    plans: list[Plan] = []
    tasks = make(lambda _: plans[0] if plans else None)
    assert tasks.get("t").state == "queued"
    tasks.abort("other")
    assert tasks.get("other").state == "recovered"
    plans.append(job(lambda _: 1))
    tasks.plugins_changed()
    assert ended(tasks, "t").state == "finished"


def test_a_task_whose_verb_has_changed_fails(make: Maker, store: StateStore) -> None:
    """A verb that does not take the arguments any more cannot carry it on."""
    make()
    leave(store, state="queued")

    def plan_of(_: TaskRecord) -> Plan:
        raise InvalidArgument(argument="n", reason="there is no such argument")

    record = make(plan_of).get("t")
    assert (record.state, record.slug) == ("failed", "task-interrupted")
    assert "there is no such argument" in record.message


def test_after_a_restart_finished_tasks_are_known(make: Maker, store: StateStore) -> None:
    """With their results, and what they did can still be reverted."""
    first = make()
    task_id = first.submit("v", "o", "{}", job(lambda _: 5))
    record = ended(first, task_id)
    make.stop(first)
    undone: list[int] = []
    second = make(lambda _: job(lambda _: None, revert=lambda: undone.append(1)))
    assert second.get(task_id) == record
    second.revert(task_id)
    assert undone == [1]


def test_the_end_of_the_daemon_interrupts_resumable_tasks_only_for_now(
    make: Maker, store: StateStore
) -> None:
    """At the next start a resumable one goes on, one that had not begun begins, another one was stopped."""
    first = make(short=2)
    kinds = {
        "resumable": job(lambda progress: progress.sleep(10), resumable=True),
        "plain": job(lambda progress: progress.sleep(10)),
        "waiting": job(lambda _: 1),
    }
    ids = {kind: first.submit(kind, "o", "{}", made) for kind, made in kinds.items()}
    until(lambda: [record.state for record in first.all()] == ["running", "running", "queued"])
    make.stop(first)
    states = stored(store)
    assert {kind: states[ids[kind]] for kind in ids} == {
        "resumable": "running",
        "plain": "recovered",
        "waiting": "queued",
    }
    second = make(lambda record: job(lambda _: record.verb, resumable=record.verb == "resumable"))
    assert ended(second, ids["resumable"]).state == "finished"
    assert ended(second, ids["waiting"]).state == "finished"


def test_stopping_the_daemon_is_bounded(make: Maker, caplog: pytest.LogCaptureFixture) -> None:
    """A task that does not listen does not hold the daemon."""
    goes_on = threading.Event()
    tasks = make()
    task_id = tasks.submit("v", "o", "{}", job(lambda _: goes_on.wait(10)))
    until(lambda: tasks.get(task_id).state == "running")
    began = time.monotonic()
    make.stop(tasks, grace=0.1)
    assert time.monotonic() - began < 5
    assert "1 tasks did not stop" in caplog.text
    goes_on.set()
    ended(tasks, task_id)


def test_a_store_that_refuses_fails_the_submission_only(tmp_path: Path) -> None:
    """A task that cannot be stored does not begin; one that runs meanwhile ends as usual."""
    folder = tmp_path / "folder"
    state = StateStore(str(folder / "state.sqlite"))
    state.open()
    events = EventBus(Journal(MEMORY, max_bytes=10**6, keep=100.0))
    events.start()
    engine = Engine(state, events)
    tasks = engine.tasks
    engine.start()
    engine.resume(lambda _: None)
    goes_on = threading.Event()

    def wait(progress: Progress) -> str:
        assert goes_on.wait(10)
        return "1"

    running = tasks.submit("Lamp.wait", "joe", "{}", Plan(steps=(Step(name="run", do=wait),)))
    until(lambda: tasks.get(running).state == "running")
    shutil.rmtree(folder)
    folder.touch()
    with pytest.raises(StateUnavailable):
        tasks.submit("Lamp.more", "joe", "{}", Plan(steps=(Step(name="run", do=wait),)))
    assert [record.id for record in tasks.all()] == [running]
    goes_on.set()
    until(lambda: tasks.get(running).state == "finished")
    engine.stop(4.0)
    events.stop()
    state.close()
