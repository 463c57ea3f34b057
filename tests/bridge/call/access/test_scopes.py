"""What a caller with a limited token may call, and what it sees: everything else is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest

from vdsm_bridge import Feature, Marks
from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_bridge.api.verb import Kind
from vdsm_bridge.call.context import Context, Identity
from vdsm_bridge.call.scope import ObjectScope, Scope
from vdsm_bridge.testing.host import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_core.errors import Forbidden, InvalidArgument, NoSuchTask, NotFound, OutOfScope, VdsmError

MINE = "aaaaaaaa-0000-4000-8000-000000000001"
TAGGED = "aaaaaaaa-0000-4000-8000-000000000002"
THEIRS = "bbbbbbbb-0000-4000-8000-000000000003"
ABSENT = "cccccccc-0000-4000-8000-000000000004"


def limited(role: Any = "operator", name: str = "joe", **members: Any) -> Identity:
    """A caller with limits, by default to one lamp by id and to others by tag."""
    objects = (ObjectScope(of="Lamp", ids=(MINE,), tags=("web",)),)
    return Identity(name, role, "token", scope=Scope(**{"objects": objects, **members}))


JOE = limited()


@pytest.fixture
def host() -> Iterator[TestHost]:
    """A host with three lamps, of which two are within the scope."""
    with TestHost() as started:
        for lamp, tags in ((MINE, ""), (TAGGED, "db web"), (THEIRS, "webby")):
            started.call("Lamp.create", lamp={"lampID": lamp, "name": lamp, "tags": tags})
        yield started


# -- verbs


@pytest.mark.parametrize(
    ("pattern", "verb", "permitted"),
    [
        ("*", "VM.pause", True),
        ("VM.*", "VM.pause", True),
        ("VM.*", "VMX.pause", False),
        ("VM.*", "vm.pause", False),
        ("*.getStats", "VM.getStats", True),
        ("*.getStats", "VM.getStatsX", False),
        ("Host.getVM*", "Host.getVMList", True),
        ("Host.getVM*", "Host.getStats", False),
        ("V.pause", "V-pause", False),
    ],
)
def test_patterns(pattern: str, verb: str, permitted: bool) -> None:
    """A `*` stands for any text on one side of the dot, and nothing else is special."""
    assert Scope(verbs=(pattern,)).permits(verb) is permitted


def test_limited_to_verbs(host: TestHost) -> None:
    """Others are refused before their arguments are looked at; `Host.whoAmI` alone is always there."""
    caller = limited(verbs=("Lamp.get*",), objects=())
    assert host.call("Lamp.getInfo", identity=caller, lampID=THEIRS).name == THEIRS
    with pytest.raises(OutOfScope, match="limited to the verbs Lamp"):
        host.call("Lamp.remove", identity=caller, lampID=1)
    assert host.call("Host.whoAmI", identity=caller).verbs == ["Lamp.get*"]
    with pytest.raises(OutOfScope):
        host.bridge.subscribe(identity=caller)


def test_a_scope_does_not_raise_a_role(host: TestHost) -> None:
    """The role is checked first."""
    with pytest.raises(Forbidden, match="needs the role 'operator'"):
        host.call("Lamp.remove", identity=limited("monitor"), lampID=MINE)


# -- objects


@pytest.mark.parametrize("lamp", [MINE, MINE.upper(), TAGGED, TAGGED.upper()])
def test_an_object_of_the_scope(host: TestHost, lamp: str) -> None:
    """By its id or by its tag, in whichever case the id is spelled: it is let in, and the verb decides."""
    try:
        assert host.call("Lamp.getInfo", identity=JOE, lampID=lamp).lamp_id == lamp
    except NotFound:
        assert lamp != lamp.lower()  # the sample knows one spelling only


@pytest.mark.parametrize("lamp", [THEIRS, THEIRS.upper(), ABSENT])
def test_every_verb_on_another_object_is_refused(host: TestHost, lamp: str) -> None:
    """Whether there is such an object or not: the refusal is the same, so it reveals nothing."""
    verbs = [verb for verb in host.bridge.verbs.values() if verb.namespace.name == "Lamp" and verb.on_object]
    assert len(verbs) == 9
    for verb in verbs:
        arguments: dict[str, Any] = {"lampID": lamp, "lit": True, "text": "x", "pin": "1", "code": "1"}
        given = {param.name: arguments[param.name] for param in verb.params if param.required}
        with pytest.raises(OutOfScope, match=f"Lamp {lamp} is not within the scope of the caller"):
            host.call(verb.name, identity=JOE, **given)
    assert host.call("Lamp.getInfo", lampID=THEIRS).marks == []


def test_what_cannot_be_judged_is_refused(host: TestHost) -> None:
    """A caller limited to objects gets the verbs that are judged; this list is to be changed knowingly."""
    reached = set()
    for verb in host.bridge.verbs.values():
        try:
            host.call(verb.name, identity=limited("admin"), noSuchArgument=1)
        except OutOfScope:
            continue
        except InvalidArgument:
            reached.add(verb.name)
    assert reached == {
        "Drawer.getInfo",
        "Drawer.getStats",
        "Drawer.list",
        "Drawer.put",
        "Drawer.remove",
        "Drawer.sort",
        "Events.getKinds",
        "Events.list",
        "Events.next",
        "Events.subscribe",
        "Events.unsubscribe",
        "Host.echo",
        "Host.getAllTasks",
        "Host.getAllTasksInfo",
        "Host.getAllTasksStatuses",
        "Host.getVerbs",
        "Host.ping",
        "Host.ping2",
        "Host.whoAmI",
        "Lamp.burn",
        "Lamp.engrave",
        "Lamp.getInfo",
        "Lamp.lock",
        "Lamp.recode",
        "Lamp.unlock",
        "Lamp.list",
        "Lamp.remove",
        "Lamp.smash",
        "Lamp.switch",
        "Rack.getInfo",
        "Rack.list",
        "Task.clear",
        "Task.getInfo",
        "Task.getStatus",
        "Task.revert",
        "Task.stop",
    }


def test_creating_is_refused(host: TestHost) -> None:
    """Also under an id of the scope: what a new object is made of cannot be judged."""
    with pytest.raises(OutOfScope):
        host.call("Lamp.create", identity=JOE, lamp={"lampID": MINE, "name": "x", "tags": "web"})


def test_lists_show_the_objects_of_the_scope(host: TestHost) -> None:
    """And nothing of others; an unlimited caller sees all."""
    assert [lamp.lamp_id for lamp in host.call("Lamp.list", identity=JOE)] == [MINE, TAGGED]
    assert len(host.call("Lamp.list")) == 3
    none = Identity("n", "admin", "token", scope=Scope(objects=(ObjectScope(of="Vase", ids=(MINE,)),)))
    assert host.call("Lamp.list", identity=none) == []


def test_every_query_that_lists_names_its_objects(host: TestHost) -> None:
    """A list whose items have no id of the namespace is shown to no limited caller."""
    for verb in host.bridge.verbs.values():
        if verb.lists:
            assert verb.kind is Kind.QUERY
            assert verb.lists in {other.namespace.name for other in host.bridge.verbs.values()}


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), NotFound(reason="gone")])
def test_an_object_that_its_feature_cannot_judge(host: TestHost, monkeypatch: Any, error: Exception) -> None:
    """Is within no scope, except by its id; others are listed all the same."""
    namespace = host.bridge.verbs["Lamp.list"].function.__self__
    right = namespace.marks_of

    def failing(object_id: str) -> Any:
        if object_id == TAGGED:
            raise error
        return right(object_id)

    monkeypatch.setattr(namespace, "marks_of", failing)
    assert [lamp.lamp_id for lamp in host.call("Lamp.list", identity=JOE)] == [MINE]
    with pytest.raises(OutOfScope):
        host.call("Lamp.getInfo", identity=JOE, lampID=TAGGED)


# -- tasks


def ended(host: TestHost, task_id: str) -> Any:
    """The status of a task that is over."""

    def status() -> Any:
        return host.call("Task.getStatus", taskID=task_id)

    until(lambda: status().task_state == "finished", 20.0, what="the end of a task", detail=status)
    return status()


def test_tasks_of_another_object(host: TestHost) -> None:
    """They are not listed, and neither their status nor their result can be asked for, by whichever verb."""
    mine = host.call("Lamp.burn", identity=JOE, lampID=TAGGED, hours=1).task_id
    theirs = host.call("Lamp.burn", lampID=THEIRS, hours=1).task_id
    for task in (mine, theirs):
        ended(host, task)
    for verb in ("Host.getAllTasks", "Host.getAllTasksInfo", "Host.getAllTasksStatuses"):
        assert list(host.call(verb, identity=JOE)) == [mine]
        assert len(host.call(verb)) == 2
    assert host.call("Task.getStatus", identity=JOE, taskID=mine).task_state == "finished"
    for verb in ("getInfo", "getStatus", "stop", "revert", "clear"):
        for task in (theirs, theirs.upper(), ABSENT):
            with pytest.raises(OutOfScope):
                host.call(f"Task.{verb}", identity=JOE, taskID=task)


def test_the_task_of_an_object_that_lost_its_tag(host: TestHost) -> None:
    """It goes with its object: out of the scope, even for who began it."""
    mine = host.call("Lamp.burn", identity=JOE, lampID=TAGGED, hours=1).task_id
    ended(host, mine)
    host.call("Lamp.remove", lampID=TAGGED)
    host.call("Lamp.create", lamp={"lampID": TAGGED, "name": "again"})
    with pytest.raises(OutOfScope):
        host.call("Task.getStatus", identity=JOE, taskID=mine)


# -- request ids


def test_a_request_id_gives_nobody_the_answer_of_another(host: TestHost) -> None:
    """Neither to a caller of the same name with other credentials, nor to one that may not make the call."""
    admin = Identity("joe", "admin", "peer")
    first = host.call("Lamp.switch", identity=admin, request_id="r", lampID=THEIRS, lit=True, note="secret")
    assert first.note == "secret"
    for _ in range(2):
        with pytest.raises(OutOfScope):
            host.call("Lamp.switch", identity=JOE, request_id="r", lampID=THEIRS, lit=True, note="secret")
    assert host.call("Lamp.switch", identity=JOE, request_id="r", lampID=MINE, lit=False).lit is False
    assert (
        host.call("Lamp.switch", identity=admin, request_id="r", lampID=THEIRS, lit=True, note="secret")
        == first
    )


def test_a_token_that_is_limited_later_gets_no_earlier_answer(host: TestHost) -> None:
    """The same identity as before, so its request ids are its own; the scope is checked all the same."""
    before = Identity("joe", "operator", "token")
    host.call("Lamp.switch", identity=before, request_id="r", lampID=THEIRS, lit=True)
    with pytest.raises(OutOfScope):
        host.call("Lamp.switch", identity=JOE, request_id="r", lampID=THEIRS, lit=True)


# -- events


def subjects(events: list[Any]) -> set[str]:
    """The objects that events are about."""
    return {event.id.rpartition("|")[2] for event in events}


@pytest.mark.parametrize("pattern", ["", "sample", f"|sample|switched|{THEIRS}", "|*|*|bbbb*", "||", "*|*|*"])
def test_events(host: TestHost, pattern: str) -> None:
    """Whatever the pattern: only those about objects of the scope, live and replayed."""
    with closing(host.bridge.subscribe(pattern, identity=JOE)) as live:
        for lamp in (MINE, TAGGED, THEIRS):
            host.call("Lamp.switch", lampID=lamp, lit=True)
        task = host.call("Lamp.burn", lampID=THEIRS, hours=1).task_id
        own = host.call("Lamp.burn", lampID=MINE, hours=1).task_id
        ended(host, task)
        ended(host, own)
        last = host.host.runtime.events.flush()
        with closing(host.bridge.subscribe(pattern, after=0, identity=JOE)) as replayed:
            seen = subjects(live.next(0.0, 1000)), subjects(replayed.next(0.0, 1000))
    assert live.position == replayed.position == last
    for found in seen:
        assert found <= {MINE, TAGGED, own}
        assert pattern or found == {MINE, TAGGED, own}


def test_the_last_event_of_an_object(host: TestHost) -> None:
    """It is delivered though the object, and its tag, are gone; not if another one has its id meanwhile."""
    events = host.host.runtime.events
    with closing(host.bridge.subscribe("sample", identity=JOE)) as live:
        for lamp in (TAGGED, THEIRS):
            host.call("Lamp.switch", lampID=lamp, lit=True)
        events.flush()
        assert subjects(live.next(0.0)) == {TAGGED}
        for lamp in (TAGGED, THEIRS):
            host.call("Lamp.switch", lampID=lamp, lit=False)
            host.call("Lamp.remove", lampID=lamp)
        events.flush()
        assert subjects(live.next(0.0)) == {TAGGED}
        host.call("Lamp.create", lamp={"lampID": TAGGED, "name": "again"})
        host.call("Lamp.switch", lampID=TAGGED, lit=True)
        events.flush()
        assert live.next(0.0) == []


def test_snapshots(host: TestHost) -> None:
    """The states of what cannot be judged, such as plugins, are not in them."""
    states, subscription = host.bridge.snapshot(identity=JOE)
    subscription.close()
    assert states == []
    assert host.call("Events.subscribe", identity=JOE, snapshot=True).states == []
    assert host.call("Events.subscribe", snapshot=True).states


def test_subscriptions_belong_to_their_owner(host: TestHost) -> None:
    """Knowing the id of another caller's subscription is of no use; nor does its owner once it is limited."""
    wide = Identity("joe", "monitor", "token")
    for owner, other in ((wide, JOE), (wide, Identity("joe", "monitor", "peer")), (JOE, limited(name="ann"))):
        begun = host.call("Events.subscribe", identity=owner).subscription_id
        for spelled in (begun, begun.upper()):
            for verb in ("Events.next", "Events.unsubscribe"):
                with pytest.raises(VdsmError, match="There is no subscription"):
                    host.call(verb, identity=other, subscriptionID=spelled)
        assert begun not in {one.subscription_id for one in host.call("Events.list", identity=other)}
        assert begun in {one.subscription_id for one in host.call("Events.list")}
        assert [one.subscription_id for one in host.call("Events.list", identity=owner)] == [begun]
        host.call("Events.unsubscribe", identity=owner, subscriptionID=begun)


# -- owners of tasks


def test_who_may_change_a_task(host: TestHost) -> None:
    """Who began it, and an admin; every caller without limits sees it."""
    ann, bob = Identity("ann", "operator", "token"), Identity("ann", "operator", "peer")
    task = host.call("Lamp.burn", identity=ann, lampID=MINE, hours=1).task_id
    ended(host, task)
    assert host.call("Task.getStatus", identity=bob, taskID=task).task_state == "finished"
    for verb in ("stop", "revert", "clear"):
        with pytest.raises(Forbidden, match="belongs to another caller, this needs 'admin'"):
            host.call(f"Task.{verb}", identity=bob, taskID=task)
    with pytest.raises(NoSuchTask):
        host.call("Task.stop", identity=bob, taskID=ABSENT)
    host.call("Task.clear", identity=ann, taskID=task)
    other = host.call("Lamp.burn", identity=ann, lampID=MINE, hours=1).task_id
    ended(host, other)
    host.call("Task.clear", identity=Identity("root", "admin", "peer"), taskID=other)


# -- objects of the caller's own


class Nest(Namespace, key="nestID"):
    """Objects that know their creator."""

    def __init__(self) -> None:
        self.creators: dict[str, str] = {}

    def marks_of(self, object_id: str) -> Marks | None:
        """Return the creator."""
        creator = self.creators.get(object_id)
        return None if creator is None else Marks(creator=creator)

    @action(since="1.0", scope="creates")
    def build(self, nest_id: str, context: Context) -> None:
        """Create one."""
        self.creators[nest_id] = context.identity.key

    @action(since="1.0")
    def leave(self, nest_id: str) -> None:
        """Give one up."""
        del self.creators[nest_id]

    @query(since="1.0", part="list")
    def list_all(self) -> list[str]:
        """Return the ids."""
        return sorted(self.creators)


@pytest.fixture
def nests() -> Iterator[TestHost]:
    """A host with `Nest`."""

    class Nests(Feature):
        def namespaces(self) -> list[Namespace]:
            return [Nest()]

    with TestHost(verbs={"nests": Nests}) as started:
        yield started


def test_objects_of_its_own(nests: TestHost) -> None:
    """A caller may create such objects, and sees and changes those that it has created."""
    own = (ObjectScope(of="Nest", own=True),)
    ann, bob = (limited(name=name, objects=own) for name in ("ann", "bob"))
    call = nests.bridge.call
    call("Nest.build", {"nestID": "a"}, Context(identity=ann))
    call("Nest.build", {"nestID": "b"}, Context(identity=bob))
    assert call("Nest.listAll", {}, Context(identity=ann)) == ["a"]
    with pytest.raises(OutOfScope):
        call("Nest.leave", {"nestID": "b"}, Context(identity=ann))
    with pytest.raises(OutOfScope):
        # The name alone is not the identity.
        call("Nest.leave", {"nestID": "a"}, Context(identity=msgspec.structs.replace(ann, how="bus")))
    call("Nest.leave", {"nestID": "a"}, Context(identity=ann))
    # Who is limited to other objects may not create any.
    by_id = limited(objects=(ObjectScope(of="Nest", ids=("c",)),))
    for identity in (JOE, by_id):
        with pytest.raises(OutOfScope):
            call("Nest.build", {"nestID": "c"}, Context(identity=identity))
