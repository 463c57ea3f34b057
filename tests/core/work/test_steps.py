"""Steps of a task, with a daemon that is killed before, in and after each of them."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from vdsm_bridge.testing.polling import until
from vdsm_core.errors import Conflict, HypervisorUnavailable, NoSuchTask
from vdsm_core.events import EventBus
from vdsm_core.state import StateStore
from vdsm_core.work.engine import Engine
from vdsm_core.work.locks import LongWork
from vdsm_core.work.record import TaskAborted, TaskRecord
from vdsm_core.work.references import Reference, exclusive
from vdsm_core.work.steps import Again, Plan, Progress, Step, nothing

#: One daemon: it begins or goes on with a task of three steps, and is killed at a place of its choice.
DAEMON = textwrap.dedent("""
    import os, signal, sys, time
    from pathlib import Path
    from vdsm_core.events import EventBus, Journal
    from vdsm_core.state import MEMORY, StateStore
    from vdsm_core.work.engine import Engine
    from vdsm_core.work.steps import Plan, Step

    folder, kill, way = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

    def at(place):
        with (folder / "trace").open("a") as trace:
            trace.write(place + "\\n")
        if place == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    def step(number):
        def do(progress):
            at(f"before {number}")
            (folder / f"half {number}").touch()
            at(f"in {number}")
            (folder / f"done {number}").touch()
            at(f"after {number}")

        def undo(progress):
            at(f"undoing {number}")
            (folder / f"half {number}").unlink(missing_ok=True)
            (folder / f"done {number}").unlink(missing_ok=True)
            at(f"undone {number}")

        return Step(name=f"step {number}", do=do, undo=undo, repeatable=way == "repeat")

    plan = Plan(steps=tuple(step(number) for number in range(3)))
    state = StateStore(str(folder / "state.sqlite"))
    state.open()
    events = EventBus(Journal(MEMORY, max_bytes=10**6, keep=100.0))
    events.start()
    engine = Engine(state, events)
    engine.start()
    engine.resume(lambda record: plan)
    if not engine.tasks.all():
        engine.tasks.submit("Sample.do", "joe", "{}", plan)
    end = time.monotonic() + 20
    while not engine.tasks.all()[0].done and time.monotonic() < end:
        time.sleep(0.002)
    record = engine.tasks.all()[0]
    print(record.state, record.slug or "-", record.message, sep="|")
    engine.stop(1.0)
    events.stop()
    state.close()
""")
PLACES = [f"{where} {number}" for number in range(3) for where in ("before", "in", "after")]


def life(folder: Path, kill: str, way: str) -> tuple[int, str]:
    """Run one daemon to its end, natural or not. Return its exit status and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", DAEMON, str(folder), kill, way],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize("place", PLACES)
def test_killed_in_a_step_that_can_be_undone(tmp_path: Path, place: str) -> None:
    """The next daemon undoes the finished steps, last one first, and the task reports its step."""
    assert life(tmp_path, place, "undo")[0] == -signal.SIGKILL
    status, printed = life(tmp_path, "", "undo")
    assert status == 0
    number = int(place.split()[1])
    state, slug, message = printed.split("|")
    assert (state, slug) == ("failed", "task-interrupted")
    assert f"it stood in 'step {number}', step {number + 1} of 3" in message
    assert not [*tmp_path.glob("half *"), *tmp_path.glob("done *")]
    trace = (tmp_path / "trace").read_text().splitlines()
    undone = [line for line in trace if line.startswith("undone")]
    assert undone == [f"undone {each}" for each in range(number, -1, -1)]


@pytest.mark.parametrize("place", PLACES)
def test_killed_in_a_step_that_can_be_repeated(tmp_path: Path, place: str) -> None:
    """The next daemon does that step again, and none before it."""
    assert life(tmp_path, place, "repeat")[0] == -signal.SIGKILL
    status, printed = life(tmp_path, "", "repeat")
    assert (status, printed.split("|")[0]) == (0, "finished")
    number = int(place.split()[1])
    trace = (tmp_path / "trace").read_text().splitlines()
    begun = [int(line.split()[1]) for line in trace if line.startswith("before")]
    assert begun == sorted([*range(3), number])
    assert len([*tmp_path.glob("done *")]) == 3


@pytest.mark.parametrize("place", ["undoing 1", "undone 1", "undoing 0", "undone 0"])
def test_killed_while_undoing(tmp_path: Path, place: str) -> None:
    """Undoing goes on where it was; a step whose undoing was over is not undone again."""
    assert life(tmp_path, "in 1", "undo")[0] == -signal.SIGKILL
    assert life(tmp_path, place, "undo")[0] == -signal.SIGKILL
    status, printed = life(tmp_path, "", "undo")
    assert (status, printed.split("|")[:2]) == (0, ["failed", "task-interrupted"])
    assert not [*tmp_path.glob("half *"), *tmp_path.glob("done *")]
    trace = (tmp_path / "trace").read_text().splitlines()
    assert trace.count("undoing 1") == (1 if place.endswith("0") else 2)


def ended(engine: Engine, task_id: str) -> TaskRecord:
    """Return the record of a task once it has ended."""
    until(lambda: engine.tasks.get(task_id).done)
    return engine.tasks.get(task_id)


def test_a_step_that_fails(store: StateStore, bus: EventBus) -> None:
    """What was done before is undone, the failed step included; what cannot be is named."""
    calls: list[str] = []

    def undo(name: str) -> object:
        def run(_: Progress) -> None:
            calls.append(name)
            if name == "c":
                raise Conflict(reason="stuck")

        return run

    def fail(_: Progress) -> None:
        raise Conflict(reason="the last step fails")

    steps = (
        Step(name="a", do=nothing, undo=undo("a")),  # type: ignore[arg-type]
        Step(name="b", do=nothing),
        Step(name="c", do=nothing, undo=undo("c")),  # type: ignore[arg-type]
        Step(name="look", do=nothing, undo=nothing),
        Step(name="d", do=fail, undo=undo("d")),  # type: ignore[arg-type]
    )
    engine = Engine(store, bus)
    engine.start()
    engine.resume(lambda _: None)
    record = ended(engine, engine.tasks.submit("v", "o", "{}", Plan(steps=steps)))
    engine.stop(4.0)
    assert calls == ["d", "c", "a"]
    assert (record.state, record.slug, record.left) == ("failed", "conflict", ("c", "b"))
    assert record.message == "Cannot carry out the request: the last step fails. Not undone: 'c', 'b'"


class Lamp(Reference):
    """A lamp."""


def test_a_task_holds_its_locks(store: StateStore, bus: EventBus) -> None:
    """From its start to its end; a second task on the object waits, verbs that go on beside it do not."""
    engine = Engine(store, bus)
    engine.start()
    engine.resume(lambda _: None)
    order: list[str] = []

    def plan(name: str) -> Plan:
        def do(progress: Progress) -> str:
            order.append(f"{name} begins")
            progress.sleep(0.05)
            order.append(f"{name} ends")
            return "null"

        return Plan(
            steps=(Step(name="one", do=do), Step(name="two", do=do)),
            locks=(exclusive(Lamp("1")),),
            others=LongWork(beside=frozenset({"Lamp.dim"})),
        )

    first = engine.tasks.submit("Lamp.burn", "o", "{}", plan("first"))
    second = engine.tasks.submit("Lamp.burn", "o", "{}", plan("second"))
    with engine.locks.holding([exclusive(Lamp("1"))], "Lamp.dim"):
        assert engine.tasks.get(second).state == "queued"
    stopped = engine.tasks.submit("Lamp.burn", "o", "{}", plan("third"))
    engine.tasks.abort(stopped)
    assert engine.tasks.get(stopped).state == "recovered", "it waited for its turn, and is over at once"
    for task_id in (first, second):
        assert ended(engine, task_id).state == "finished"
    assert order == [f"{name} {what}" for name in ("first", "second") for what in ("begins", "ends") * 2]
    until(lambda: not engine.locks.snapshot())
    engine.stop(4.0)


def test_what_a_step_remembers(store: StateStore, bus: EventBus) -> None:
    """Later steps find it, and it is kept with the task."""

    def first(progress: Progress) -> None:
        progress.memory["size"] = 7

    def second(progress: Progress) -> str:
        return msgspec.json.encode(progress.memory["size"] + 1).decode()

    engine = Engine(store, bus)
    engine.start()
    engine.resume(lambda _: None)
    steps = (Step(name="a", do=first), Step(name="b", do=second))
    assert ended(engine, engine.tasks.submit("v", "o", "{}", Plan(steps=steps))).result == "8"
    engine.stop(4.0)


def test_long_work_delays_no_short_work(store: StateStore, bus: EventBus) -> None:
    """Ten tasks of hours leave a task of a second its thread."""
    engine = Engine(store, bus, short=2, long=2)
    engine.start()
    engine.resume(lambda _: None)
    long = Plan(steps=(Step(name="copy", do=lambda progress: progress.sleep(30)),), queue="long")
    copies = [engine.tasks.submit("Volume.copy", "o", "{}", long) for _ in range(10)]
    quick = engine.tasks.submit("v", "o", "{}", Plan(steps=(Step(name="quick", do=lambda _: "1"),)))
    assert ended(engine, quick).state == "finished"
    for task_id in copies:
        engine.tasks.abort(task_id)
    assert {ended(engine, task_id).state for task_id in copies} == {"recovered"}
    engine.stop(4.0)


@pytest.fixture
def engine(store: StateStore, bus: EventBus) -> Iterator[Engine]:
    """An engine that runs."""
    engine = Engine(store, bus)
    engine.start()
    engine.resume(lambda _: None)
    yield engine
    engine.stop(4.0)


def test_a_step_that_is_called_again_occupies_no_thread(store: StateStore, bus: EventBus) -> None:
    """Fifty tasks that watch something get on with one thread; their memory lasts from call to call."""
    engine = Engine(store, bus, short=1)
    engine.start()
    engine.resume(lambda _: None)

    def do(progress: Progress) -> Again | str:
        progress.memory["calls"] = progress.memory.get("calls", 0) + 1
        return Again(after=0.001) if progress.memory["calls"] < 3 else str(progress.memory["calls"])

    plan = Plan(steps=(Step(name="watch", do=do),))
    records = [ended(engine, engine.tasks.submit("v", "o", "{}", plan)) for _ in range(50)]
    engine.stop(4.0)
    assert {(record.state, record.result) for record in records} == {("finished", "3")}


def test_waking_a_task_that_waits(engine: Engine) -> None:
    """Its step is called at once; a task that is over, or not known, is left alone."""
    calls: list[int] = []

    def do(_: Progress) -> Again | None:
        calls.append(1)
        return Again(after=3_600.0) if len(calls) < 3 else None

    task_id = engine.tasks.submit("v", "o", "{}", Plan(steps=(Step(name="watch", do=do),)))
    for count in (1, 2):
        until(lambda count=count: len(calls) == count)
        engine.tasks.wake(task_id)
    assert ended(engine, task_id).state == "finished"
    engine.tasks.wake(task_id)
    engine.tasks.wake("nobody")
    assert len(calls) == 3


@pytest.mark.parametrize("ends", ["aborted", "completed"])
def test_a_step_that_defers_a_stop(engine: Engine, ends: str) -> None:
    """It sees the request, and decides itself whether the task ends with success."""
    calls: list[bool] = []

    def do(progress: Progress) -> Again | None:
        progress.report(50)
        calls.append(progress.stopping)
        if not progress.stopping:
            return Again(after=3_600.0)
        if ends == "aborted":
            raise TaskAborted(task_id=progress.task_id)
        return None

    steps = (
        Step(name="watch", do=do, undo=nothing, repeatable=True, defers_stop=True),
        Step(name="settle", do=nothing, undo=nothing, repeatable=True, defers_stop=True),
    )
    task_id = engine.tasks.submit("v", "o", "{}", Plan(steps=steps))
    until(lambda: calls)
    engine.tasks.abort(task_id)
    assert ended(engine, task_id).state == {"aborted": "recovered", "completed": "finished"}[ends]
    assert calls == [False, True]
    with pytest.raises(ValueError, match="defers a stop and is not repeatable"):
        Step(name="x", do=nothing, defers_stop=True)


def test_undoing_may_take_several_looks(engine: Engine) -> None:
    """What it notes is there at the next look."""
    seen: list[int] = []

    def fail(_: Progress) -> None:
        raise Conflict(reason="no")

    def undo(progress: Progress) -> Again | None:
        seen.append(progress.memory.setdefault("looks", 0))
        progress.memory["looks"] += 1
        return Again(after=0.001) if len(seen) < 3 else None

    record = ended(
        engine, engine.tasks.submit("v", "o", "{}", Plan(steps=(Step(name="a", do=fail, undo=undo),)))
    )
    assert (record.state, record.left, seen) == ("failed", (), [0, 1, 2])


@pytest.mark.parametrize("where", ["undo", "settle", "do"])
def test_the_hypervisor_is_away(engine: Engine, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """What has to be done is done once it is back; a step that nothing depends on yet fails at once."""
    monkeypatch.setattr("vdsm_core.work.run._AWAY", 0.001)
    seen: list[str] = []

    def away(name: str) -> object:
        def call(_: Progress) -> None:
            seen.append(name)
            if name == where and len(seen) < 4:
                raise HypervisorUnavailable(uri="x", reason="it restarts")

        return call

    def end(_: Progress) -> None:
        if where == "undo":
            raise Conflict(reason="no")

    steps = (
        Step(name="a", do=away("do"), undo=away("undo")),  # type: ignore[arg-type]
        Step(name="b", do=away("settle"), undo=nothing, repeatable=True, defers_stop=True),  # type: ignore[arg-type]
        Step(name="c", do=end, undo=nothing),
    )
    record = ended(engine, engine.tasks.submit("v", "o", "{}", Plan(steps=steps)))
    assert record.left == ()
    assert (record.state, seen) == {
        "undo": ("failed", ["do", "settle", "undo", "undo"]),
        "settle": ("finished", ["do", "settle", "settle", "settle"]),
        "do": ("failed", ["do", "undo"]),
    }[where]


def test_a_task_with_another_face_is_not_listed(engine: Engine, bus: EventBus) -> None:
    """Neither among the tasks nor in events; its end is reported to its plan, when its locks are free."""
    subscription = bus.subscribe("|task|*")
    over: list[tuple[str, int]] = []
    plan = Plan(
        steps=(Step(name="a", do=lambda progress: progress.report(50)),),
        locks=(exclusive(Lamp("1")),),
        listed=False,
        ended=lambda record: over.append((record.state, len(engine.locks.snapshot()))),
    )
    task_id = engine.tasks.submit("v", "o", "{}", plan)
    until(lambda: over)
    assert over == [("finished", 0)]
    assert (engine.tasks.listed(), [record.id for record in engine.tasks.all()]) == ([], [task_id])
    with pytest.raises(NoSuchTask):
        engine.tasks.get_listed(task_id)
    bus.flush()
    assert subscription.next(0) == []
    subscription.close()


def test_the_end_is_reported_of_a_task_that_was_never_begun(engine: Engine) -> None:
    """It was stopped while it waited for its locks; who listens fails without harm."""
    over: list[str] = []

    def report(record: TaskRecord) -> None:
        over.append(record.state)
        raise RuntimeError("the listener fails")

    with engine.locks.holding([exclusive(Lamp("1"))], "Lamp.dim"):
        plan = Plan(steps=(Step(name="a", do=nothing),), locks=(exclusive(Lamp("1")),), ended=report)
        engine.tasks.abort(engine.tasks.submit("v", "o", "{}", plan))
    assert over == ["recovered"]


def test_a_plugin_plans_its_own_tasks(store: StateStore, bus: EventBus) -> None:
    """They are left when it stops, wait until it runs again, and go on with their memory."""
    calls: list[str] = []
    release = False

    def plan_of(life: str) -> Callable[[TaskRecord], Plan]:
        def do(progress: Progress) -> Again | None:
            progress.memory["lives"] = progress.memory.get("lives", "") + life
            calls.append(progress.memory["lives"])
            return None if release else Again(after=3_600.0)

        step = Step(name="watch", do=do, repeatable=True, defers_stop=True)
        return lambda _: Plan(steps=(step,), locks=(exclusive(Lamp("1")),), preempts=True)

    engine = Engine(store, bus)
    engine.start()
    withdraw = engine.tasks.offer("Lamp.watch", plan_of("a"))
    engine.resume(lambda _: None)
    task_id = engine.tasks.submit("Lamp.watch", "o", "{}", plan_of("a")(engine))  # type: ignore[arg-type]
    until(lambda: calls)
    withdraw(4.0)
    assert (engine.tasks.get(task_id).state, engine.locks.snapshot()) == ("running", [])
    engine.tasks.plugins_changed()
    assert calls == ["a"]
    withdraw = engine.tasks.offer("Lamp.watch", plan_of("b"))
    engine.tasks.plugins_changed()
    until(lambda: len(calls) == 2)
    # The next start offers before the last one has gone.
    engine.tasks.offer("Lamp.watch", plan_of("c"))
    release = True
    withdraw(4.0)
    assert ended(engine, task_id).state == "finished"
    assert calls == ["a", "ab", "abc"]
    engine.stop(4.0)


def test_the_end_of_the_daemon_is_no_request_to_stop(store: StateStore, bus: EventBus) -> None:
    """A step that watches what others do does not see it, and is left to the next daemon."""
    seen: list[bool] = []
    begun, leaving = threading.Event(), threading.Event()

    def do(progress: Progress) -> Again:
        begun.set()
        assert leaving.wait(10)
        seen.append(progress.stopping)
        return Again(after=0.0)

    engine = Engine(store, bus)
    engine.start()
    engine.resume(lambda _: None)
    step = Step(name="watch", do=do, repeatable=True, defers_stop=True)
    task_id = engine.tasks.submit("v", "o", "{}", Plan(steps=(step,)))
    assert begun.wait(10)
    stopping = threading.Thread(target=engine.stop, args=(10.0,))
    stopping.start()
    (run,) = engine.tasks._runs.values()
    until(run.stop.is_set)
    leaving.set()
    stopping.join()
    assert seen == [False]
    assert engine.tasks.get(task_id).state == "running"
