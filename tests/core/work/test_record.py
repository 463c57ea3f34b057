"""What is kept of a task: locks of one id and of several."""

from __future__ import annotations

import threading
import time

import msgspec
import pytest

from vdsm_bridge.testing.polling import until
from vdsm_core.errors import QueueDeadline
from vdsm_core.events import EventBus
from vdsm_core.state import StateStore
from vdsm_core.work.engine import Engine
from vdsm_core.work.record import TaskRecord, lock_of, stored_lock
from vdsm_core.work.references import Lock, Reference, exclusive, shared
from vdsm_core.work.steps import Plan, Progress, Step


class Volume(Reference):
    """A volume of an image in a domain."""


LOCKS = (exclusive(Volume("d", "i", "v")), shared(Reference.stored("domain", "d")))


@pytest.mark.parametrize(
    ("lock", "stored"),
    [
        (LOCKS[0], '["volume",["d","i","v"],true]'),
        (LOCKS[1], '["domain","d",false]'),
        (exclusive(Reference.stored("all")), '["all",[],true]'),
    ],
)
def test_stored_locks(lock: Lock, stored: str) -> None:
    """One id is a text, as earlier releases stored it and can read it; each lock is read as it was stored."""
    text = msgspec.json.encode(stored_lock(lock)).decode()
    assert text == stored
    record = msgspec.json.decode(
        f'{{"id":"1","verb":"v","owner":"o","locks":[{text}]}}'.encode(), type=TaskRecord
    )
    assert [lock_of(one) for one in record.locks] == [lock]


def test_locks_after_a_restart(store: StateStore, bus: EventBus) -> None:
    """A resumed task holds the objects by all their ids; no other task has them meanwhile."""
    gate = threading.Event()

    def do(progress: Progress) -> str:
        while not gate.wait(0.01):
            progress.check()
        return "1"

    plan = Plan(steps=(Step(name="copy", do=do, repeatable=True),), locks=LOCKS)
    first = Engine(store, bus)
    first.start()
    first.resume(lambda _: None)
    task_id = first.tasks.submit("Volume.copy", "o", "{}", plan)
    until(lambda: first.tasks.get(task_id).state == "running")
    first.stop(4.0)
    second = Engine(store, bus)
    second.start()
    # The plan of the next release locks nothing; what was stored counts.
    second.resume(lambda _: msgspec.structs.replace(plan, locks=()))
    with (
        pytest.raises(QueueDeadline, match="volume d/i/v"),
        second.locks.holding([exclusive(Volume("d", "i", "v"))], "other", deadline=time.monotonic()),
    ):
        pass
    gate.set()
    until(lambda: second.tasks.get(task_id).state == "finished")
    second.stop(4.0)
