"""The way of a call. What the contract suite shows through every binding is not repeated here."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from vdsm_bridge.api.declare import Namespace, action, query, task
from vdsm_bridge.call.context import Context, Identity
from vdsm_bridge.plugins.feature import Feature
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_core.errors import (
    Conflict,
    DeadlineExceeded,
    Forbidden,
    InvalidArgument,
    MissingArgument,
    NoSuchVerb,
    Unavailable,
    UnexpectedError,
)
from vdsm_core.work.references import Reference, exclusive
from vdsm_core.work.steps import Progress

LAMP = "11111111-2222-4333-8444-555555555555"
MONITOR = Identity("joe", "monitor", "token")


class Shed(Namespace, name="Shed"):
    """Verbs with problems of their own."""

    def __init__(self) -> None:
        self.calls = 0
        self.goes_on = threading.Event()

    @query(since="1.0")
    def whoami(self, context: Context) -> list[str]:
        """The context."""
        return [context.identity.name, context.binding, context.flow_id]

    @action(since="1.0")
    def flicker(self) -> int:
        """Fail the first time."""
        self.calls += 1
        if self.calls == 1:
            raise Unavailable(reason="warming up")
        return self.calls

    @action(since="1.0")
    def wait(self) -> int:
        """Wait for the signal."""
        self.calls += 1
        assert self.goes_on.wait(10)
        return self.calls

    @action(since="1.0")
    def unspeakable(self) -> Any:
        """Return what no protocol can carry."""
        self.calls += 1
        return object()

    @action(since="1.0")
    def exit(self) -> None:
        """Try to end the daemon."""
        raise KeyError("secret")

    @task(since="1.0")
    def build(self, progress: Progress, context: Context, what: str = "a shed") -> str:
        """A task that uses the identity of its caller."""
        progress.check()
        return f"{what} for {context.identity.name}"


class Door(Namespace, key="doorID"):
    """Objects whose ids are any text."""

    @action(since="1.0")
    def knock(self, door_id: str) -> None:
        """Do nothing."""


class Sheds(Feature):
    """The feature."""

    def namespaces(self) -> Sequence[Namespace]:
        """Two."""
        self.shed = Shed()
        return [self.shed, Door()]


@pytest.fixture
def host(make_vdsm_host: Callable[..., TestHost]) -> TestHost:
    """A host with the sample and the shed."""
    return make_vdsm_host(verbs={"sheds": Sheds})


@pytest.fixture
def shed(host: TestHost) -> Shed:
    """The namespace object behind the verbs."""
    return host.bridge.verbs["Shed.wait"].function.__self__  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("verb", "arguments", "error", "message"),
    [
        ("Room.add", {}, MissingArgument, "Argument 'left' is missing"),
        (
            "Room.add",
            {"left": "x"},
            InvalidArgument,
            "Argument 'left' is not acceptable: expected a whole number, got text",
        ),
        (
            "Room.add",
            {"left": 1, "middle": 1},
            InvalidArgument,
            "Argument 'middle' is not acceptable: there is no such argument",
        ),
        ("Lamp.create", {"lamp": {"name": "a"}}, MissingArgument, "Argument 'lamp.lampID' is missing"),
        (
            "Lamp.create",
            {"lamp": {"lampID": LAMP, "name": "a", "colour": "beige"}},
            InvalidArgument,
            "Argument 'lamp.colour' is not acceptable: 'beige' is not one of 'blue', 'green', 'red'",
        ),
        (
            "Lamp.getInfo",
            {"lampID": "x"},
            InvalidArgument,
            "Argument 'lampID' is not acceptable: expected a UUID, 8-4-4-4-12 hexadecimal digits",
        ),
        (
            "Lamp.burn",
            {"lampID": LAMP, "hours": 0},
            InvalidArgument,
            "Argument 'hours' is not acceptable: expected a whole number of at least 1",
        ),
        ("Room.polish", {}, NoSuchVerb, "There is no verb 'Room.polish'"),
    ],
)
def test_the_message_of_a_bad_call(
    host: TestHost, verb: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """The message has the wire name of the argument and what was expected."""
    with pytest.raises(error) as caught:
        host.call(verb, **arguments)
    assert str(caught.value) == message


def test_access_is_checked_before_the_arguments(host: TestHost) -> None:
    """Who may not call a verb learns nothing of it but that."""
    with pytest.raises(Forbidden, match=r"'joe' may not call Lamp\.create: it needs the role 'operator'"):
        host.call("Lamp.create", identity=MONITOR, nonsense=1)


def test_the_context_reaches_the_verb(host: TestHost) -> None:
    """Who asks, over what, and under which flow id; it is no argument that a caller could send."""
    context = Context(identity=MONITOR, binding="pigeon", flow_id="f")
    assert host.bridge.call("Shed.whoami", {}, context) == ["joe", "pigeon", "f"]
    with pytest.raises(InvalidArgument):
        host.bridge.call("Shed.whoami", {"context": {}}, context)


def test_a_task_has_its_caller(host: TestHost) -> None:
    """Its owner is recorded, and its function sees the context of the call that started it."""
    reference = host.call("Shed.build", identity=Identity("amy", "operator"), what="b")
    end = time.monotonic() + 10
    while (status := host.call("Task.getStatus", taskID=reference.task_id)).task_state != "finished":
        assert time.monotonic() < end
    assert status.result == "b for amy"
    assert host.call("Host.getAllTasks")[reference.task_id].owner == "amy"


@pytest.mark.parametrize(
    ("door", "shown"), [("back", "back"), ("a\nb", "'a\\nb'"), ("x" * 200, "x" * 64), ("", "")]
)
def test_an_action_is_a_line_of_the_log(
    host: TestHost, caplog: pytest.LogCaptureFixture, door: str, shown: str
) -> None:
    """It has verb, object and caller; no argument can break the line."""
    caplog.set_level("INFO")
    host.call("Door.knock", doorID=door, identity=Identity("amy", "admin"))
    messages = [r.getMessage() for r in caplog.records if r.name == "vdsm_bridge.call.bridge"]
    assert messages == [f"Door.knock {shown}".rstrip() + " by amy"]


def test_a_bug_is_logged_with_its_incident(host: TestHost, caplog: pytest.LogCaptureFixture) -> None:
    """The caller gets the id, the log the traceback."""
    with pytest.raises(UnexpectedError) as caught:
        host.call("Shed.exit")
    assert "secret" not in str(caught.value)
    assert caught.value.facts["incident"] in caplog.text
    assert "KeyError: 'secret'" in caplog.text


def test_a_result_that_cannot_be_remembered(host: TestHost, shed: Shed) -> None:
    """With a request id the answer is written down; if it cannot be, that is a bug, but not done twice."""
    for _ in range(2):
        with pytest.raises(UnexpectedError):
            host.call("Shed.unspeakable", request_id="r")
    assert shed.calls == 1


def test_a_request_that_may_pass_is_tried_again(host: TestHost) -> None:
    """An answer `later` is not the final one for its request id."""
    with pytest.raises(Unavailable):
        host.call("Shed.flicker", request_id="r")
    assert host.call("Shed.flicker", request_id="r") == 2
    assert host.call("Shed.flicker", request_id="r") == 2


def test_a_bug_is_the_answer_to_its_request(host: TestHost) -> None:
    """Sent again it has the same incident: it was not carried out again."""
    incidents = set()
    for _ in range(2):
        with pytest.raises(UnexpectedError) as caught:
            host.call("Room.breakDown", request_id="r")
        incidents.add(str(caught.value))
    assert len(incidents) == 1


def test_the_same_request_at_the_same_time(host: TestHost, shed: Shed) -> None:
    """Both calls have the answer of the one that is carried out."""
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(host.call, "Shed.wait", request_id="r") for _ in range(2)]
        shed.goes_on.set()
        assert [call.result(10) for call in calls] == [1, 1]
    assert shed.calls == 1


def test_the_same_request_while_the_first_one_hangs(host: TestHost, shed: Shed) -> None:
    """The second one waits until its deadline only."""
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(host.call, "Shed.wait", request_id="r")
        until(lambda: shed.calls)
        context = Context(request_id="r", deadline=time.monotonic() + 0.05)
        with pytest.raises(DeadlineExceeded, match="still runs"):
            host.bridge.call("Shed.wait", {}, context)
        shed.goes_on.set()
        call.result(10)


def test_a_request_id_outlives_the_daemon(make_vdsm_host: Callable[..., TestHost], tmp_path: Any) -> None:
    """A restarted daemon gives the first answer, typed as the first one was."""
    config = {"daemon": {"state_dir": str(tmp_path)}}
    request_id = str(uuid.uuid4())
    lamp = {"lampID": LAMP, "name": "a", "holder": {"x": 1}}
    with TestHost(config=config) as first:
        made = first.call("Lamp.create", request_id=request_id, lamp=lamp)
        task_id = first.call("Lamp.burn", request_id="t", lampID=LAMP, hours=1).task_id
        first.host.runtime.work.tasks.stop(5)
    second = make_vdsm_host(config=config)
    assert second.call("Lamp.create", request_id=request_id, lamp=lamp) == made
    assert second.call("Lamp.list") == []
    assert second.call("Lamp.burn", request_id="t", lampID=LAMP, hours=1).task_id == task_id
    assert second.call("Task.getInfo", taskID=task_id).verb == "Lamp.burn"


def test_queries_have_no_request_ids(host: TestHost) -> None:
    """A query is safe to repeat, and answers anew."""
    assert host.call("Lamp.list", request_id="r") == []
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "a"})
    assert len(host.call("Lamp.list", request_id="r")) == 1


def test_ids_are_the_same_lane_in_any_case(host: TestHost) -> None:
    """A UUID in capitals is the same object."""
    lamp = LAMP.replace("1", "a")
    host.call("Lamp.create", lamp={"lampID": lamp, "name": "a"})
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(host.call, "Lamp.engrave", lampID=lamp, text="x", pause=0.3)
        until(lambda: host.call("Host.getQueues"))
        with pytest.raises(DeadlineExceeded, match="position 1"):
            host.bridge.call(
                "Lamp.remove", {"lampID": lamp.upper()}, Context(deadline=time.monotonic() + 0.05)
            )
        call.result(10)


def test_a_condition_is_looked_at_when_the_turn_has_come(host: TestHost) -> None:
    """Nothing can change the object between the condition and the verb; what it raises ends the call."""
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "a"})
    seen: list[str] = []

    def condition() -> None:
        seen.append("condition")
        raise Conflict(reason="it has changed")

    def call() -> None:
        with pytest.raises(Conflict):
            host.bridge.call("Lamp.switch", {"lampID": LAMP, "lit": True}, Context(), condition=condition)

    with ThreadPoolExecutor(1) as pool:
        with host.host.runtime.work.locks.holding([exclusive(Reference.stored("lamp", LAMP))], "test"):
            refused = pool.submit(call)
            until(lambda: any(call.place for call in host.host.runtime.work.locks.snapshot()))
            seen.append("turn ends")
        refused.result(10)
    assert seen == ["turn ends", "condition"]
    assert host.call("Lamp.getInfo", lampID=LAMP).lit is False


def test_text_is_taken_for_numbers_only_where_it_may(host: TestHost) -> None:
    """A binding of a text protocol sets a flag for this."""
    assert host.bridge.call("Room.add", {"left": "2", "right": "3"}, Context(), text=True) == 5
    with pytest.raises(InvalidArgument):
        host.bridge.call("Room.add", {"left": "2"}, Context())
