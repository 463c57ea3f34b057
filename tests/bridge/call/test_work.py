"""Verbs and the work they start: what they lock, who goes on beside them, and what a restart keeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vdsm_bridge import Feature, Namespace, Progress, action, task
from vdsm_bridge.call.context import Context, Identity
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_bridge.work import Lock, Reference, exclusive, no_locks, shared
from vdsm_core import config as configuration
from vdsm_core.errors import Conflict, VdsmError

JOE = Context(identity=Identity("joe", "operator", "token"), binding="rest", address="192.0.2.1", flow_id="f")
GATE = threading.Event()
SEEN: list[str] = []


class Shelf(Reference):
    """A shelf."""


def both_shelves(arguments: Mapping[str, Any]) -> list[Lock]:
    """Lock where a box comes from, and where it goes to."""
    return [exclusive(Shelf(arguments["box_id"])), shared(Shelf(arguments["target"]))]


def moving(arguments: Mapping[str, Any], verb: str) -> VdsmError | None:
    """Refuse to open a box that moves; let other verbs wait."""
    return Conflict(reason=f"box {arguments['box_id']} moves") if verb == "Box.open" else None


class Box(Namespace, key="boxID", plural="boxes", reference=Shelf):
    """A box on a shelf."""

    @task(since="1.0", locks=both_shelves, long=True, beside=("Box.label",), refuses=moving, resumable=True)
    def move(self, box_id: str, target: str, progress: Progress, context: Context) -> str:
        """Move it."""
        SEEN.append(f"{context.identity.name} {context.binding} {context.flow_id}")
        while not GATE.wait(0.01):
            progress.check()
        return target

    @action(since="1.0", preempts=True)
    def burn(self, box_id: str) -> None:
        """Burn it."""

    @action(since="1.0")
    def open(self, box_id: str) -> None:
        """Open it."""

    @action(since="1.0")
    def weigh(self, box_id: str) -> None:
        """Weigh it."""

    @action(since="1.0")
    def label(self, box_id: str) -> None:
        """Put a label on it."""

    @action(since="1.0", locks=no_locks)
    def look(self, box_id: str) -> None:
        """Look at it."""


class Store(Feature):
    """Boxes."""

    def namespaces(self) -> Sequence[Namespace]:
        """Boxes."""
        return [Box()]


@pytest.fixture(autouse=True)
def closed() -> None:
    """The gate that moving boxes wait at."""
    GATE.clear()
    SEEN.clear()


def host_with(**config: Any) -> TestHost:
    """A host with boxes."""
    return TestHost(verbs={"store": Store}, config=config)


def task_of(host: TestHost, **arguments: str) -> str:
    """Begin to move a box; return the id of the task once it runs."""
    task_id: str = host.bridge.call("Box.move", arguments, JOE).task_id
    until(lambda: SEEN)
    return task_id


def state(host: TestHost, task_id: str) -> str:
    """The state of a task."""
    return host.host.runtime.work.tasks.get(task_id).state


def soon(seconds: float = 0.05) -> Context:
    """A context that waits no longer."""
    return Context(deadline=time.monotonic() + seconds)


def test_verbs_while_a_task_holds_its_objects() -> None:
    """One is refused, one waits, some go on beside it, and each object that it locks is locked."""
    with host_with() as host:
        task_id = task_of(host, boxID="a", target="b")
        with pytest.raises(Conflict, match="box a moves"):
            host.call("Box.open", boxID="a")
        for box in "ab":
            with pytest.raises(VdsmError, match=f"in the queue of shelf {box}, at position 1; 'Box.move'"):
                host.bridge.call("Box.weigh", {"boxID": box}, soon())
        host.call("Box.label", boxID="a")
        host.call("Box.look", boxID="a")
        host.call("Box.weigh", boxID="c")
        GATE.set()
        until(lambda: state(host, task_id) == "finished")
        host.call("Box.weigh", boxID="a")


def test_a_verb_that_preempts_ends_the_task() -> None:
    """It asks the task to stop, and goes on when that has ended."""
    with host_with() as host:
        task_id = task_of(host, boxID="a", target="b")
        host.call("Box.burn", boxID="a")
        assert state(host, task_id) == "recovered"


def test_two_tasks_on_one_object_run_one_after_the_other() -> None:
    """The second one waits for the first, and can be stopped meanwhile."""
    with host_with() as host:
        first = task_of(host, boxID="a", target="b")
        second, third = (
            host.bridge.call("Box.move", {"boxID": "a", "target": "c"}, JOE).task_id for _ in range(2)
        )
        assert state(host, second) == state(host, third) == "queued"
        host.call("Task.stop", taskID=third)
        assert state(host, third) == "recovered"
        GATE.set()
        until(lambda: state(host, second) == "finished")
        assert state(host, first) == "finished"


def test_the_owner_of_a_task_after_a_restart(tmp_path: Path) -> None:
    """The daemon that resumes a task records the identity that began it."""
    config = {"daemon": {"state_dir": str(tmp_path)}}
    with host_with(**config) as first:
        task_of(first, boxID="a", target="b")
    SEEN.clear()
    with host_with(**config) as second:
        until(lambda: SEEN)
        (record,) = second.host.runtime.work.tasks.all()
        with pytest.raises(VdsmError, match=r"'Box\.move'"):
            second.bridge.call("Box.weigh", {"boxID": "a"}, soon())
        GATE.set()
        until(lambda: state(second, record.id) == "finished")
    assert SEEN == ["joe rest f"]
    lines = [msgspec.json.decode(line) for line in (tmp_path / "audit.log").read_bytes().splitlines()]
    assert {line["who"] for line in lines if line["verb"] == "Box.move"} == {"joe"}


def test_a_task_waits_for_its_plugin(tmp_path: Path) -> None:
    """A task of a plugin that is switched off goes on once it is switched on again."""
    config = {"daemon": {"state_dir": str(tmp_path)}}
    with host_with(**config) as first:
        task_id = task_of(first, boxID="a", target="b")
    SEEN.clear()
    GATE.set()
    off = {**config, "plugin": {"store": {"enabled": False}}}
    with host_with(**off) as second:
        assert state(second, task_id) == "running"
        second.host.reload(configuration.merge([("changed", {"plugin": {"store": {"enabled": True}}})]))
        until(lambda: state(second, task_id) == "finished")
