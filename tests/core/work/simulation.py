"""The engine for work under a clock, threads, a store and crashes that this module decides about.

One seed is one schedule: which tasks and calls there are, in which order their pieces run, when the daemon is
killed, when the disk is full, who stops what. After each piece the rules are checked. Replay a seed:

    python -m tests.core.work.simulation SEED

Without one, it runs seeds for a minute and prints their number.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from vdsm_core.errors import Conflict, ResourceExhausted, StateUnavailable, TaskStateError
from vdsm_core.work.locks import Hold, Locks, LongWork
from vdsm_core.work.queues import Queue
from vdsm_core.work.record import TaskAborted, TaskRecord
from vdsm_core.work.references import Lock, Reference
from vdsm_core.work.scheduler import Scheduler
from vdsm_core.work.steps import Again, Plan, Progress, Step, nothing
from vdsm_core.work.table import TaskTable
from vdsm_core.work.tasks import Tasks


class Crash(BaseException):
    """The daemon is killed."""


class Broken(BaseException):
    """A rule does not hold. Nothing that the engine does with errors hides it."""


class Box(Reference):
    """What tasks and calls work on."""


class Disk:
    """The store: it keeps what was written, unless it refuses; the daemon may be killed around a write.

    :param chance: kills the daemon, perhaps
    :param refuses: whether it refuses a write though it is not full
    """

    def __init__(self, chance: Callable[[str], None], refuses: Callable[[], bool]) -> None:
        self.rows_by_id: dict[str, bytes] = {}
        self.full = False
        self._chance = chance
        self._refuses = refuses

    def declare(self, _part: str, _steps: object) -> None:
        """There is nothing to refuse."""

    def migrate(self, _part: str, _steps: object) -> None:
        """Need no tables."""

    def rows(self, _sql: str) -> list[tuple[bytes]]:
        """Return all records."""
        return [(blob,) for blob in self.rows_by_id.values()]

    def write(self, sql: str, *values: Any) -> None:
        """Write or delete a record."""
        self._chance("before a write")
        if self.full or self._refuses():
            raise StateUnavailable(file="disk", reason="full")
        if sql.startswith("DELETE"):
            self.rows_by_id.pop(values[0], None)
        else:
            self.rows_by_id[values[0]] = values[1]
        self._chance("after a write")

    write_soon = write


class Events:
    """Take events, and do nothing with them."""

    def provide(self, *_: object) -> None:
        """Take a provider."""

    def publish(self, *_: object) -> None:
        """Take an event."""


class World:
    """What is there beside the daemon: the disk, and what the steps of tasks have done.

    :param seed: decides everything
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1_000.0
        self.kills_left = self.random.choice((0, 0, 1, 1, 2, 4))
        self.calm = False
        self.disk = Disk(self.chance, lambda: not self.calm and self.random.random() < 0.02)
        self.plans = {f"v{number}": self._sample() for number in range(4)}
        #: Effects of steps that stand now, and how often each step was done and undone.
        self.effects: Counter[tuple[str, int]] = Counter()
        self.begun: Counter[tuple[str, int]] = Counter()
        #: Steps whose undoing is over, since that of an earlier one has begun.
        self.settled: set[tuple[str, int]] = set()
        #: Tasks that this daemon was requested to stop.
        self.aborted: set[str] = set()
        self.plugins_off: set[str] = set()
        self.trace: list[str] = []

    def _sample(self) -> dict[str, Any]:
        pick = self.random
        return {
            "steps": [self._sample_step() for _ in range(pick.randint(1, 4))],
            "locks": sorted(
                {(str(pick.randint(0, 2)), pick.random() < 0.7) for _ in range(pick.randint(0, 3))}
            ),
            "queue": pick.choice(("short", "long")),
        }

    def _sample_step(self) -> dict[str, Any]:
        pick = self.random
        repeatable = pick.random() < 0.4
        return {
            "undo": pick.choice(("undo", "undo", "nothing", "none")),
            "repeatable": repeatable,
            "fails": pick.random() < 0.1,
            # A step that watches what others do: called several times, and not stopped from outside.
            "looks": pick.choice((0, 0, 0, 1, 3)),
            "defers": repeatable and pick.random() < 0.5,
            "undo_looks": pick.choice((0, 0, 0, 2)),
        }

    def chance(self, where: str) -> None:
        """Kill the daemon here, perhaps."""
        if self.kills_left and self.random.random() < 0.03:
            self.kills_left -= 1
            self.trace.append(f"killed {where}")
            raise Crash


class SampleStep:
    """One step of a sample task, in one life of the daemon, as specified by its sample."""

    def __init__(self, world: World, key: str, number: int, sample: dict[str, Any]) -> None:
        self.world = world
        self.key = key
        self.number = number
        self.sample = sample
        #: Calls so far. A step that is done or undone again in another life begins anew.
        self.looks = {"do": 0, "undo": 0}

    @property
    def effect(self) -> tuple[str, int]:
        """The name of what the step does."""
        return self.key, self.number

    def do(self, progress: Progress) -> Again | None:
        """Do the step, or the next part of it."""
        world, key, number = self.world, self.key, self.number
        self._check_order(progress)
        world.begun[self.effect] += not self.looks["do"]
        if world.begun[self.effect] > 1 and not self.sample["repeatable"]:
            raise Broken(f"step {number} of {key} is done twice")
        world.chance(f"in step {number} of {key}")
        progress.check()
        if (again := self._look("do", self.sample["looks"])) is not None:
            return again
        if progress.stopping and world.random.random() < 0.5:
            raise TaskAborted(task_id=progress.task_id)
        if self.sample["fails"]:
            raise Conflict(reason="the step fails")
        world.effects[self.effect] = 1
        world.chance(f"behind step {number} of {key}")
        progress.memory["seen"] = [*range(number + 1)]
        return None

    def undo(self, _progress: Progress) -> Again | None:
        """Undo the step, or the next part of it."""
        world, key, number = self.world, self.key, self.number
        if self.effect in world.settled:
            raise Broken(f"step {number} of {key} is undone again")
        if (again := self._look("undo", self.sample["undo_looks"])) is not None:
            return again
        world.settled |= {(key, later) for later in range(number + 1, 4)}
        world.chance(f"undoing step {number} of {key}")
        world.effects[self.effect] = 0
        world.chance(f"behind undoing step {number} of {key}")
        return None

    def _look(self, what: str, most: int) -> Again | None:
        self.looks[what] += 1
        wait = self.world.random.choice((0.0, 0.5, 2.0))
        return Again(after=wait) if self.looks[what] <= most else None

    def _check_order(self, progress: Progress) -> None:
        world, key, number = self.world, self.key, self.number
        if progress.memory.get("seen", []) != list(range(number)):
            raise Broken(f"step {number} of {key} finds {progress.memory}")
        for earlier in range(number):
            if not world.effects[key, earlier]:
                raise Broken(f"step {number} of {key} begins, but step {earlier} was not done")
        if key in world.aborted and not self.sample["defers"]:
            raise Broken(f"step {number} of {key} begins, but the task was stopped")
        if key in world.aborted and not progress.stopping:
            raise Broken(f"step {number} of {key} does not see that the task was stopped")


class Daemon:
    """One life of the engine."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pending: list[tuple[str, Callable[[], None]]] = []
        self.locks = Locks(lambda: world.now)
        self.scheduler = Scheduler(lambda work: self.submit("short", work), lambda: world.now)
        table = TaskTable(
            world.disk,  # type: ignore[arg-type]
            Events(),  # type: ignore[arg-type]
            self.scheduler,
            limit=30,
            keep=10.0**9,
            clock=lambda: world.now,
        )
        self.tasks = Tasks(table, locks=self.locks, background=self, scheduler=self.scheduler)
        world.aborted = set()

    def submit(self, _queue: Queue, work: Callable[[], None]) -> None:
        """Let a piece of work run some time."""
        self.pending.append(("work", work))

    def start(self) -> None:
        """Go on with what the last life left."""
        self.tasks.start(self._plan_of)

    def _plan_of(self, record: TaskRecord) -> Plan | None:
        return None if record.verb in self.world.plugins_off else self.plan(record.verb, record.arguments)

    def plan(self, verb: str, key: str) -> Plan:
        """Return the plan of a sample task."""
        sample = self.world.plans[verb]
        return Plan(
            steps=tuple(self._step(key, number, each) for number, each in enumerate(sample["steps"])),
            locks=tuple(Lock(Box(name), alone) for name, alone in sample["locks"]),
            others=LongWork(beside=frozenset({"beside"})),
            queue=sample["queue"],
        )

    def _step(self, key: str, number: int, sample: dict[str, Any]) -> Step:
        acted = SampleStep(self.world, key, number, sample)
        return Step(
            name=str(number),
            do=acted.do,
            undo={"undo": acted.undo, "nothing": nothing, "none": None}[sample["undo"]],
            repeatable=sample["repeatable"],
            defers_stop=sample["defers"],
        )

    def call(self, number: int) -> None:
        """Begin a short call that wants some objects, sometimes beside others or before them."""
        pick = self.world.random
        locks = [Lock(Box(str(pick.randint(0, 2))), pick.random() < 0.6) for _ in range(pick.randint(1, 3))]
        verb = pick.choice(("call", "call", "beside"))
        preempts = pick.random() < 0.1
        name = f"call {number}"

        def granted(hold: Hold) -> None:
            self.pending.append((name, lambda: self.locks.release(hold)))

        self.locks.request(locks, verb, preempts=preempts, on_grant=granted)


class Simulation:
    """One schedule.

    :param seed: decides everything
    """

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.daemon = Daemon(self.world)
        self.keys: list[str] = []
        self.calls = 0

    def run(self) -> None:
        """Run the schedule to its end.

        :raises Broken: a rule does not hold
        """
        world, pick = self.world, self.world.random
        self._guard(self.daemon.start)
        for _ in range(pick.randint(10, 40)):
            self._guard(self._something)
            self._check_holders()
        world.kills_left = 0
        world.calm = True
        world.disk.full = False
        world.now += 10.0
        world.plugins_off = set()
        self._guard(self.daemon.tasks.plugins_changed)
        for _ in range(2_000):
            if not self._piece():
                world.now += 2.0
                self.daemon.scheduler.look()
                if not self.daemon.pending:
                    break
            self._check_holders()
        self._check_end()

    def _guard(self, what: Callable[[], Any]) -> None:
        """Do something; if the daemon is killed meanwhile, start the next one."""
        try:
            what()
        except Crash:
            self._restart()

    def _restart(self) -> None:
        while True:
            self.daemon = Daemon(self.world)
            try:
                self.daemon.start()
            except Crash:
                continue
            return

    def _something(self) -> None:
        world, pick = self.world, self.world.random
        draw = pick.random()
        if draw < 0.60:
            self._piece()
        elif draw < 0.72:
            self._submit()
        elif draw < 0.82:
            self.calls += 1
            self.daemon.call(self.calls)
        elif draw < 0.87:
            self._abort()
        elif draw < 0.89:
            self._wake()
        elif draw < 0.92:
            world.now += pick.choice((0.1, 1.0, 5.0))
            self.daemon.scheduler.look()
        elif draw < 0.95:
            world.disk.full = not world.disk.full
        elif draw < 0.98:
            world.plugins_off = {verb for verb in world.plans if pick.random() < 0.3}
            self.daemon.tasks.plugins_changed()
        elif world.kills_left:
            world.kills_left -= 1
            world.trace.append("killed at rest")
            raise Crash

    def _piece(self) -> bool:
        pending = self.daemon.pending
        if not pending:
            return False
        name, work = pending.pop(self.world.random.randrange(len(pending)))
        self.world.trace.append(name)
        work()
        return True

    def _submit(self) -> None:
        verb = self.world.random.choice([*self.world.plans])
        key = f'"{verb} {len(self.keys)}"'
        self.keys.append(key)
        with suppress(StateUnavailable, ResourceExhausted):
            self.daemon.tasks.submit(verb, "o", key, self.daemon.plan(verb, key))

    def _abort(self) -> None:
        records = self.daemon.tasks.all()
        if records:
            record = self.world.random.choice(records)
            with suppress(TaskStateError):
                self.daemon.tasks.abort(record.id)
                self.world.aborted.add(record.arguments)

    def _wake(self) -> None:
        records = self.daemon.tasks.all()
        if records:
            self.daemon.tasks.wake(self.world.random.choice(records).id)

    # The rules.

    def _check_holders(self) -> None:
        for reference, queue in self.daemon.locks._queues.items():
            alone = [
                hold for hold, exclusive in queue.holders if exclusive and not _aside(hold, queue.holders)
            ]
            if len(alone) > 1 or (
                alone and len([h for h, _ in queue.holders if not _aside(h, queue.holders)]) > 1
            ):
                raise Broken(f"{reference} has {[hold.label for hold, _ in queue.holders]}")
            if queue.waiting and not queue.holders and len(queue.waiting[0][0].locks) == 1:
                raise Broken(f"{reference} is free, and {queue.waiting[0][0].label} waits for it")

    def _check_end(self) -> None:
        if self.daemon.locks._queues:
            raise Broken(f"locks are left: {self.daemon.locks.snapshot()}")
        records = self.daemon.tasks.all()
        for record in records:
            if not record.done:
                raise Broken(f"task {record.arguments} does not end: {record}")
            self._check_task(record)
        stored = {
            record.id: record
            for record in (msgspec.json.decode(blob, type=TaskRecord) for (blob,) in self.world.disk.rows(""))
        }
        for record in records:
            kept = stored.get(record.id)
            if kept != record:
                raise Broken(f"the store has {kept} for {record}")

    def _check_task(self, record: TaskRecord) -> None:
        key, steps = record.arguments, self.world.plans[record.verb]["steps"]
        standing = [number for number in range(len(steps)) if self.world.effects[key, number]]
        if record.state == "finished":
            if standing != [*range(len(steps))]:
                raise Broken(f"{key} is finished with the effects {standing}")
            return
        for number in standing:
            named = str(number) in record.left or len(steps) == 1 or steps[number]["undo"] == "nothing"
            if not named:
                raise Broken(
                    f"{key} ended as {record.state}: step {number} stands, and is not named: {record}"
                )


def _aside(hold: Hold, holders: list[tuple[Hold, bool]]) -> bool:
    """Return whether a work may hold an object beside others: it preempts, or they let it pass."""
    return hold.preempts or any(other.lets_pass(hold) for other, _ in holders if other is not hold)


def simulate(seed: int) -> None:
    """Run one schedule.

    :raises Broken: a rule does not hold; its text has the command to replay it
    """
    simulation = Simulation(seed)
    try:
        simulation.run()
    except (Broken, Exception) as error:
        tail = "; ".join(simulation.world.trace[-30:])
        raise Broken(
            f"seed {seed}: {error}. Replay: python -m tests.core.work.simulation {seed}. {tail}"
        ) from error


def main() -> None:
    """Replay a seed, or run seeds for a minute."""
    if len(sys.argv) > 1:
        simulate(int(sys.argv[1]))
        print("the rules hold")  # noqa: T201 - output of a replay
        return
    begun, seed = time.monotonic(), int(time.time())
    first = seed
    while time.monotonic() - begun < 60:
        simulate(seed)
        seed += 1
    seconds = time.monotonic() - begun
    print(f"{seed - first} schedules in {seconds:.0f} s, seeds {first} to {seed - 1}")  # noqa: T201


if __name__ == "__main__":
    main()
