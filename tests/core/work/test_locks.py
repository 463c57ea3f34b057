"""Locks: several at once, order, sharing, preempting, long work, deadlines."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdsm_bridge.testing.polling import until
from vdsm_core.errors import Conflict, QueueDeadline
from vdsm_core.events import EventBus
from vdsm_core.state import StateStore
from vdsm_core.work.engine import Engine
from vdsm_core.work.locks import Hold, Locks, LongWork
from vdsm_core.work.references import Lock, Reference, exclusive, in_order, shared


class Machine(Reference):
    """A machine."""

    kind = "vm"


class Volume(Reference):
    """A volume."""


ONE, TWO = exclusive(Machine("1")), exclusive(Machine("2"))


@pytest.fixture
def locks() -> Locks:
    """A table of locks."""
    return Locks()


@pytest.fixture
def engine(store: StateStore, bus: EventBus) -> Iterator[Engine]:
    """An engine that is stopped when the test ends."""
    made = Engine(store, bus)
    yield made
    made.stop(4.0)


def test_references() -> None:
    """A reference has its kind, also if only the name of the kind is stored."""
    assert str(Machine("1")) == "vm 1"
    assert (Volume.kind, str(Volume("a"))) == ("volume", "volume a")
    assert Machine("1") == Reference.stored("vm", "1")
    assert Machine("1") != Volume("1")
    assert in_order([shared(Machine("2")), exclusive(Volume("1")), exclusive(Machine("2"))]) == (
        Lock(Machine("2")),
        Lock(Volume("1")),
    ), "one order for all kinds, each object once"


def test_references_of_several_ids() -> None:
    """An object within another has the ids of both; all references have one order, whatever their length."""
    inner = Volume("d", "i")
    assert (str(inner), inner.ids) == ("volume d/i", ("d", "i"))
    assert inner == Reference.stored("volume", "d", "i") != Volume("d/i")
    assert len({Volume("d"), Volume("d", "i"), Volume("d", "i", "v"), Volume("d/i")}) == 4
    wanted = [
        Machine("z"),
        Volume("d", "i", "v"),
        Volume("d"),
        Volume("e"),
        Volume("d", "i"),
        Machine("d", "a"),
    ]
    ordered = [lock.of for lock in in_order(map(exclusive, wanted))]
    assert ordered == [lock.of for lock in in_order(map(exclusive, reversed(wanted)))]
    assert ordered.index(Volume("d")) < ordered.index(Volume("d", "i")) < ordered.index(Volume("d", "i", "v"))


def test_locks_of_nested_objects_are_apart(locks: Locks) -> None:
    """An object is locked alone: neither with the one that it lies in, nor with its namesake elsewhere."""
    with locks.holding([exclusive(Volume("d", "v"))], "first"):
        for other in (Volume("d"), Volume("e", "v"), Volume("d", "w")):
            with locks.holding([exclusive(other)], "other", deadline=time.monotonic()):
                pass
        with (
            pytest.raises(QueueDeadline, match="in the queue of volume d/v, at position 1"),
            locks.holding([exclusive(Volume("d", "v"))], "second", deadline=time.monotonic()),
        ):
            pass


def test_calls_have_an_object_in_order_of_arrival(locks: Locks) -> None:
    """Of those who wait, the one who came first goes first."""
    order: list[int] = []

    def work(number: int) -> None:
        with locks.holding([ONE], f"call {number}"):
            order.append(number)

    with ThreadPoolExecutor(5) as pool, locks.holding([ONE], "first"):
        for number in range(5):
            pool.submit(work, number)
            until(lambda count=number + 2: len(locks.snapshot()) == count)
        assert order == []
    assert order == [0, 1, 2, 3, 4]
    assert locks.snapshot() == []


def test_other_objects_are_not_waited_for(locks: Locks) -> None:
    """Different objects are worked on side by side."""
    with locks.holding([ONE], "a"), locks.holding([TWO], "b"):
        assert {call.lane for call in locks.snapshot()} == {"vm 1", "vm 2"}


def test_all_or_none(locks: Locks) -> None:
    """Who wants two objects holds neither until both are free, and is not passed over for one of them."""
    first = locks.request([ONE], "first")
    both = locks.request([TWO, ONE], "both")
    after = locks.request([TWO], "after")
    assert both.granted_at is None
    assert after.granted_at is None, "it came later than one that wants the same object"
    locks.release(first)
    assert both.granted_at is not None
    assert after.granted_at is None
    locks.release(both)
    assert after.granted_at is not None
    locks.release(after)
    assert locks.snapshot() == []


def test_opposite_orders_do_not_meet(locks: Locks) -> None:
    """Two that name the same objects in opposite orders never wait for each other."""

    def work(wanted: list[Lock]) -> None:
        for _ in range(200):
            with locks.holding(wanted, "work"):
                pass

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(work, wanted) for wanted in ([ONE, TWO], [TWO, ONE]) for _ in range(2)]
        for call in calls:
            call.result(20)
    assert locks.snapshot() == []


def test_sharing(locks: Locks) -> None:
    """Those that share an object hold it together; one that wants it alone waits, and those behind it."""
    volume = Volume("a")
    readers = [locks.request([shared(volume)], "read") for _ in range(3)]
    writer = locks.request([exclusive(volume)], "write")
    late = locks.request([shared(volume)], "read")
    assert all(reader.granted_at is not None for reader in readers)
    assert (writer.granted_at, late.granted_at) == (None, None)
    for reader in readers:
        locks.release(reader)
    assert writer.granted_at is not None
    assert late.granted_at is None
    locks.release(writer)
    assert late.granted_at is not None


def test_preempting(locks: Locks) -> None:
    """A preempting call does not wait; waiting calls continue only after it, too."""
    entered = threading.Event()

    def late() -> None:
        with locks.holding([ONE], "late"):
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        with locks.holding([ONE], "destroy", preempts=True):
            with locks.holding([ONE], "destroy again", preempts=True):
                call = pool.submit(late)
                until(lambda: len(locks.snapshot()) == 3)
            assert not entered.wait(0.05)
        call.result(10)
    assert entered.is_set()


def migrating(verb: str) -> Conflict | None:
    """Refuse everything but a wait."""
    return None if verb == "VM.wait" else Conflict(reason="it migrates")


def test_verbs_beside_long_work_and_others(locks: Locks) -> None:
    """Long work lets some verbs pass, lets others wait, and refuses the rest at once."""
    ended: list[str] = []
    work = LongWork(
        beside=frozenset({"VM.migrateCancel"}), refuses=migrating, cancel=lambda: ended.append("cancelled")
    )
    hold = locks.request([ONE], "VM.migrate", long=work)
    with locks.holding([ONE], "VM.migrateCancel"):
        pass
    with pytest.raises(Conflict, match="it migrates"):
        locks.request([TWO, ONE], "VM.pause")
    assert {call.lane for call in locks.snapshot()} == {"vm 1"}, "a refusal leaves no trace"
    waiting = locks.request([ONE], "VM.wait")
    assert waiting.granted_at is None
    locks.release(waiting)
    with ThreadPoolExecutor(1) as pool, locks.holding([ONE], "VM.destroy", preempts=True) as destroy:
        displaced = pool.submit(locks.displace, destroy, 20.0)
        until(lambda: ended)
        assert not displaced.done()
        locks.release(hold)
        displaced.result(10)


def test_waiting_calls_are_refused_when_long_work_begins(locks: Locks) -> None:
    """As those that arrive later; one that may run beside it does, and others go on waiting."""
    outcomes: dict[str, object] = {}

    def call(verb: str) -> None:
        try:
            with locks.holding([exclusive(Machine("1"))], verb, deadline=time.monotonic() + 30):
                outcomes[verb] = "held"
        except Conflict as error:
            outcomes[verb] = error.facts["reason"]

    def refuses(verb: str) -> Conflict | None:
        return Conflict(reason="not now") if verb == "VM.pause" else None

    long = LongWork(beside=frozenset({"VM.cancel"}), refuses=refuses)
    first = locks.request([exclusive(Machine("1"))], "VM.first")
    threads = [threading.Thread(target=call, args=(verb,)) for verb in ("VM.pause", "VM.other", "VM.cancel")]
    for number, thread in enumerate(threads, 1):
        thread.start()
        until(lambda number=number: len(locks.snapshot()) == number + 1)
    work = locks.request([exclusive(Machine("1"))], "VM.migrate", long=long, preempts=True)
    until(lambda: outcomes.get("VM.pause") == "not now")
    locks.release(first)
    assert "VM.other" not in outcomes
    locks.release(work)
    for thread in threads:
        thread.join()
    assert outcomes == {"VM.pause": "not now", "VM.other": "held", "VM.cancel": "held"}


def test_a_preempting_verb_beside_long_work_does_not_cancel_it(locks: Locks) -> None:
    """Cancelling a migration does not wait; the verb itself ends the work."""
    cancelled: list[int] = []
    long = LongWork(beside=frozenset({"VM.migrateCancel"}), cancel=lambda: cancelled.append(1))
    work = locks.request([exclusive(Machine("1"))], "VM.migrate", long=long)
    with locks.holding([exclusive(Machine("1"))], "VM.migrateCancel", preempts=True) as hold:
        locks.displace(hold, 0.0)
    assert not cancelled
    with locks.holding([exclusive(Machine("1"))], "VM.destroy", preempts=True) as hold:
        locks.displace(hold, 0.0)
    assert cancelled
    locks.release(work)


def test_destroy_proceeds_after_its_deadline(locks: Locks) -> None:
    """A task that does not end on request is not waited for any longer."""
    locks.request([ONE], "VM.migrate", long=LongWork(cancel=lambda: None))
    with locks.holding([ONE], "VM.destroy", preempts=True) as destroy:
        locks.displace(destroy, 0.05)
        assert [call.call for call in locks.snapshot()] == ["VM.migrate", "VM.destroy"]


def test_a_deadline_reports_place_and_holder(locks: Locks) -> None:
    """Who gives up learns its place, how long it waited, and what runs; those behind move up."""

    def pause() -> None:
        with locks.holding([ONE], "VM.pause"):
            pass

    soon = time.monotonic() + 0.05
    with ThreadPoolExecutor(1) as pool, locks.holding([ONE], "VM.create"):
        pool.submit(pause)
        until(lambda: len(locks.snapshot()) == 2)
        with pytest.raises(QueueDeadline) as caught, locks.holding([TWO, ONE], "VM.reset", deadline=soon):
            pass
        facts = caught.value.facts
        assert (facts["lane"], facts["place"], facts["holder"]) == ("vm 1", 2, "VM.create")
        assert 0 < facts["waited"] < 5
        assert [(call.call, call.place) for call in locks.snapshot()] == [("VM.create", 0), ("VM.pause", 1)]


def test_a_deadline_in_the_past(locks: Locks) -> None:
    """A free object is taken all the same; a busy one is given up at once."""
    with locks.holding([ONE], "a", deadline=time.monotonic() - 1):
        with pytest.raises(QueueDeadline), locks.holding([ONE], "b", deadline=time.monotonic() - 1):
            pass
        assert len(locks.snapshot()) == 1


def test_an_exception_gives_the_locks_back(locks: Locks) -> None:
    """A call that fails leaves the objects free."""
    with pytest.raises(ValueError), locks.holding([ONE, TWO], "a"):
        raise ValueError
    assert locks.snapshot() == []


def test_going_on_in_the_background(engine: Engine) -> None:
    """Work that goes on keeps the locks until it ends, under its own name."""
    goes_on, ended = threading.Event(), threading.Event()

    def work() -> None:
        assert goes_on.wait(10)
        ended.set()

    locks = engine.locks
    with locks.holding([ONE], "VM.create") as hold:
        engine.go_on(hold, "launch", work)
    assert [(call.call, call.place) for call in locks.snapshot()] == [("launch", 0)]
    soon = time.monotonic() + 0.02
    with pytest.raises(QueueDeadline, match="launch"), locks.holding([ONE], "b", deadline=soon):
        pass
    goes_on.set()
    with locks.holding([ONE], "c", deadline=time.monotonic() + 10):
        assert ended.is_set()


def test_twenty_slow_launches_delay_no_other(engine: Engine) -> None:
    """Slow work in the background on many objects leaves room for that on one more."""
    goes_on, done = threading.Event(), threading.Event()
    for number in range(20):
        with engine.locks.holding([exclusive(Machine(str(number)))], "VM.create") as hold:
            engine.go_on(hold, "launch", lambda: goes_on.wait(20))
    with engine.locks.holding([exclusive(Machine("last"))], "VM.create") as hold:
        engine.go_on(hold, "launch", done.set)
    assert done.wait(10)
    goes_on.set()


def test_background_work_that_fails(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its name, and the object is free again."""
    with engine.locks.holding([ONE], "VM.create") as hold:
        engine.go_on(hold, "launch", lambda: 1 / 0)
    until(lambda: not engine.locks.snapshot())
    assert "launch failed in the background of vm 1" in caplog.text


def test_nothing_goes_on_after_the_end(engine: Engine) -> None:
    """Once stopped, the engine takes no work; the locks stay with the call, and end with it."""
    engine.stop(1.0)
    with engine.locks.holding([ONE], "a") as hold, pytest.raises(RuntimeError):
        engine.go_on(hold, "launch", lambda: None)
    assert engine.locks.snapshot() == []


def test_stopping_is_bounded(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """A stop waits for background work, but no longer than it may, and names what is left."""
    began, ending = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        ending.wait(10)

    with engine.locks.holding([ONE], "a") as hold:
        engine.go_on(hold, "launch", work)
    assert began.wait(10)
    begun = time.monotonic()
    engine.stop(0.1)
    assert time.monotonic() - begun < 5
    assert "launch" in caplog.text
    ending.set()
    until(lambda: not engine.locks.snapshot())


def test_work_once_an_object_is_free(engine: Engine) -> None:
    """It waits its turn without a thread, and holds the object while it runs."""
    order: list[str] = []
    with engine.locks.holding([ONE], "VM.pause"):
        engine.when_free([ONE], "overdue", lambda: order.append(engine.locks.snapshot()[0].call))
        engine.when_free([TWO], "other", lambda: order.append("other"))
        until(lambda: order == ["other"])
    until(lambda: not engine.locks.snapshot())
    assert order == ["other", "overdue"]


def test_fifty_threads(locks: Locks) -> None:
    """Fifty threads on five objects, two at a time: never two on one object, every call done."""
    inside: dict[int, int] = defaultdict(int)
    counts: dict[int, int] = defaultdict(int)
    faults: list[int] = []

    def work(number: int) -> None:
        wanted = sorted({number % 5, number * 3 % 5})
        for _ in range(10):
            with locks.holding([exclusive(Machine(str(each))) for each in wanted], "work"):
                for each in wanted:
                    inside[each] += 1
                    if inside[each] != 1:
                        faults.append(each)
                    counts[each] += 1
                for each in wanted:
                    inside[each] -= 1

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(work, range(50)))
    expected = {each: 10 * sum(each in {n % 5, n * 3 % 5} for n in range(50)) for each in range(5)}
    assert (faults, dict(counts), locks.snapshot()) == ([], expected, [])


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=8))
@settings(max_examples=30, deadline=None)
def test_places_are_always_right(arrivals: list[tuple[str, bool]]) -> None:
    """Whatever comes: the snapshot numbers those that wait from 1, in order; leaving empties everything."""
    locks = Locks()
    holds: list[Hold] = [
        locks.request([exclusive(Machine(name))], str(number), preempts=preempts)
        for number, (name, preempts) in enumerate(arrivals)
    ]
    for name in "ab":
        calls = [call for call in locks.snapshot() if call.lane == f"vm {name}"]
        waiting = [call for call in calls if call.place]
        assert [call.place for call in waiting] == list(range(1, len(waiting) + 1))
        assert [call.call for call in waiting] == sorted((call.call for call in waiting), key=int)
        assert not waiting or len(waiting) < len(calls)
    while granted := [hold for hold in holds if hold.granted_at is not None]:
        locks.release(granted[0])
        holds.remove(granted[0])
    assert (holds, locks.snapshot()) == ([], [])
