"""The contract suite's part about events: the same events, in the same order, under the same numbers.

Each test reads events by the verbs of `Events`, which every binding has, and again by the streams of the
binding, if it has any.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from vdsm_bridge.testing.canonical import canonical
from vdsm_bridge.testing.client import BridgeClient, Client, EventReader
from vdsm_bridge.testing.clock import Clock
from vdsm_bridge.testing.harness import PATIENCE, Harness
from vdsm_bridge.testing.host import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_core import types
from vdsm_core.events import Event, Subscription, event_types

_ASKED: Final = "asked"
_STREAMED: Final = "streamed"


class Read(Protocol):
    """Begins to read events."""

    def __call__(
        self, pattern: str = "", *, after: int | None = None, snapshot: bool = False
    ) -> Callable[[int], list[Any]]:
        """Return a function that waits for a number of events."""


class _Asked:
    """Reads events by the verbs."""

    def __init__(self, ask: Callable[[str, dict[str, Any]], Any], arguments: dict[str, Any]) -> None:
        self._ask = ask
        made = ask("Events.subscribe", arguments)
        self._id = made["subscriptionID"]
        self._ready: list[Any] = made["states"]

    def take(self, count: int) -> Sequence[Any]:
        """See `EventReader.take`."""
        end = time.monotonic() + PATIENCE
        while len(self._ready) < count:
            assert time.monotonic() < end, f"{count} events were expected, these have arrived: {self._ready}"
            self._ready += self._ask("Events.next", {"subscriptionID": self._id, "timeout": 5})
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken

    def close(self) -> None:
        """See `EventReader.close`."""
        self._ask("Events.unsubscribe", {"subscriptionID": self._id})


class EventContract(Harness):
    """The tests about events; `BindingContract` has them."""

    @pytest.fixture(params=[_ASKED, _STREAMED])
    def read(self, host: TestHost, client: Client, request: pytest.FixtureRequest) -> Iterator[Read]:
        """A function that begins reading events; its readers are closed after the test."""
        if request.param == _STREAMED and type(self).stream is Harness.stream:
            pytest.skip("this binding has no streams of events of its own")

        def ask(verb: str, arguments: dict[str, Any]) -> Any:
            return canonical(client.call(verb, arguments), self.reply(host, verb), text=self.text)

        with ExitStack() as stack:

            def begin(
                pattern: str = "", *, after: int | None = None, snapshot: bool = False
            ) -> Callable[[int], list[Any]]:
                reader: EventReader
                if request.param == _STREAMED:
                    reader = self.stream(host, pattern, after=after, snapshot=snapshot)
                else:
                    asked = {"filter": pattern, "after": after, "snapshot": snapshot}
                    reader = _Asked(ask, {name: value for name, value in asked.items() if value is not None})
                stack.enter_context(closing(reader))
                return lambda count: canonical(reader.take(count), list[Event])

            yield begin

    @pytest.fixture
    def told(self, host: TestHost) -> Iterator[Callable[[int], list[Any]]]:
        """The events of the sample, read from the bridge: the reference."""
        with closing(host.bridge.subscribe("sample")) as subscription:
            yield lambda count: _take(subscription, count)

    # -- equal for all readers

    def test_the_same_events(
        self, read: Read, told: Callable[[int], list[Any]], host: TestHost, lamp: str
    ) -> None:
        """All events arrive, in order, under the same numbers as at the bridge."""
        take = read("sample")
        other = str(uuid.uuid4())
        host.call("Lamp.create", lamp={"lampID": other, "name": "other"})
        for turn in range(20):
            host.call("Lamp.switch", lampID=lamp if turn % 3 else other, lit=bool(turn % 2))
        theirs = take(20)
        assert theirs == told(20)
        assert [event["params"]["lit"] for event in theirs] == [bool(turn % 2) for turn in range(20)]

    def test_what_one_does_another_hears(self, read: Read, client: Client, lamp: str) -> None:
        """An action over the binding itself publishes its event like any other."""
        take = read(f"sample|*|{lamp}")
        client.call("Lamp.switch", {"lampID": lamp, "lit": True})
        (event,) = take(1)
        assert (event["id"], event["params"]) == (f"|sample|switched|{lamp}", {"lit": True})

    def test_patterns_select(
        self, read: Read, told: Callable[[int], list[Any]], host: TestHost, lamp: str
    ) -> None:
        """Only matching events arrive."""
        take = read("sample|sw*ed")
        host.call("Lamp.burn", lampID=lamp, hours=1, pause=0.0)
        host.call("Lamp.switch", lampID=lamp, lit=True)
        assert take(1) == told(1)

    # -- going on

    def test_resuming(self, read: Read, told: Callable[[int], list[Any]], host: TestHost, lamp: str) -> None:
        """After any number, exactly the later events follow, also if another reader had that number."""
        for turn in range(10):
            host.call("Lamp.switch", lampID=lamp, lit=bool(turn % 2))
        events = told(10)
        for place in (0, 4, 8):
            assert read("sample", after=events[place]["seq"])(9 - place) == events[place + 1 :]

    def test_a_gap(self, read: Read, told: Callable[[int], list[Any]], host: TestHost, lamp: str) -> None:
        """Events that are lost are announced as one gap, for every pattern; later events follow."""
        host.call("Lamp.switch", lampID=lamp, lit=True)
        last = told(1)[0]["seq"]
        take = read("sample", after=last + 1000)
        (gap,) = take(1)
        assert gap["id"] == "|events|gap|no_id"
        assert (gap["params"]["from"], gap["params"]["to"]) == (last + 1, last + 1000)
        assert gap["params"]["reason"]
        host.call("Lamp.switch", lampID=lamp, lit=False)
        assert take(1) == told(1)

    def test_snapshot_then_events(self, read: Read, host: TestHost, lamp: str) -> None:
        """The current states arrive first, then events, none of which is older."""
        states, subscription = host.bridge.snapshot("host|plugin")
        subscription.close()
        assert states
        take = read("", snapshot=True)
        everything, rest = host.bridge.snapshot("")
        rest.close()
        begun = canonical(take(len(everything)), list[Event])
        known = {event["id"]: event["params"] for event in begun}
        assert {state.id: types.builtins(state.params) for state in states}.items() <= known.items()
        host.call("Lamp.switch", lampID=lamp, lit=True)
        event = take(1)[0]
        while event["id"] != f"|sample|switched|{lamp}":
            event = take(1)[0]
        assert event["seq"] > max(state["seq"] for state in begun)

    # -- kinds

    def test_kinds(self, client: Client, host: TestHost) -> None:
        """A client can list the kinds of events, with the schemas of their parameters."""
        listed = self.outcome(client, host, "Events.getKinds", {}, text=self.text)
        kinds = {(kind["component"], kind["operation"]): kind for kind in listed}
        assert kinds.keys() == {(kind.component, kind.operation) for kind in event_types()}
        switched = kinds["sample", "switched"]
        assert (switched["bulk"], switched["summary"]) == (False, "A lamp was lit or put out.")
        assert "lit" in switched["params"]["properties"]

    # -- subscriptions

    def test_waiting(self, client: Client, host: TestHost, lamp: str) -> None:
        """A call waits until an event arrives, and no longer than its timeout."""
        made = client.call("Events.subscribe", {"filter": "sample"})
        asked = {"subscriptionID": made["subscriptionID"], "timeout": 0.2}
        begun = time.monotonic()
        assert client.call("Events.next", asked) == []
        assert time.monotonic() - begun >= 0.2
        timer = threading.Timer(0.2, lambda: host.call("Lamp.switch", lampID=lamp, lit=True))
        timer.start()
        assert len(client.call("Events.next", {**asked, "timeout": 20})) == 1
        timer.join()
        assert time.monotonic() - begun < PATIENCE

    def test_a_few_at_a_time(
        self, client: Client, host: TestHost, told: Callable[[int], list[Any]], lamp: str
    ) -> None:
        """A call returns no more events than requested; the rest stays for the next call."""
        made = client.call("Events.subscribe", {"filter": "sample"})
        for turn in range(5):
            host.call("Lamp.switch", lampID=lamp, lit=bool(turn % 2))
        expected = told(5)
        got: list[Any] = []
        for most in (2, 2, 2):
            asked = {"subscriptionID": made["subscriptionID"], "timeout": 5, "max": most}
            found = canonical(client.call("Events.next", asked), list[Event], text=self.text)
            assert len(found) == min(most, 5 - len(got))
            got += found
        assert got == expected

    def test_unsubscribing(self, client: Client, bridge: BridgeClient, host: TestHost) -> None:
        """A subscription that was ended is gone, and a call that waits on it returns."""
        made = client.call("Events.subscribe", {"filter": "sample"})
        asked = {"subscriptionID": made["subscriptionID"]}
        listed = self.outcome(client, host, "Events.list", {}, text=self.text)
        (mine,) = [held for held in listed if held["subscriptionID"] == made["subscriptionID"]]
        assert mine["filter"] == "sample"
        waiting: list[Any] = []
        thread = threading.Thread(
            target=lambda: waiting.append(bridge.call("Events.next", {**asked, "timeout": 30}))
        )
        time.sleep(0.1)
        thread.start()
        until(lambda: [held.idle for held in host.call("Events.list")] == [0.0], PATIENCE)
        assert client.call("Events.unsubscribe", asked) is None
        thread.join(PATIENCE)
        assert waiting == [[]]
        for verb in ("Events.next", "Events.unsubscribe"):
            gone = self.failure(client, verb, asked)
            assert gone == self.failure(bridge, verb, asked)
            assert gone.slug in self.slugs("no-such-subscription")

    def test_unknown_subscription(self, client: Client, bridge: BridgeClient) -> None:
        """An unknown subscription is refused with the same error."""
        asked = {"subscriptionID": str(uuid.uuid4())}
        for verb in ("Events.next", "Events.unsubscribe"):
            assert self.failure(client, verb, asked) == self.failure(bridge, verb, asked)

    def test_expiry(self, tmp_path: Path) -> None:
        """A subscription that is not polled expires; one that is polled, or waited on, does not."""
        clock, patience, lamp = Clock(), 60.0, str(uuid.uuid4())
        tables = {"events": {"subscription_timeout": patience}}
        with (
            ThreadPoolExecutor(1) as pool,
            self._serving(tmp_path, installed=False, clock=clock, **tables) as host,
            closing(self.connect(host)) as client,
        ):
            bridge = BridgeClient(host.bridge, text=self.text)
            # Of the sample only: a host that begins has news of its own.
            made = [client.call("Events.subscribe", {"filter": "sample"}) for _ in range(2)]
            forgotten, kept = ({"subscriptionID": each["subscriptionID"]} for each in made)
            clock.move(patience * 0.6)
            client.call("Events.next", kept)
            clock.move(patience * 0.6)
            gone = self.failure(client, "Events.next", forgotten)
            assert gone == self.failure(bridge, "Events.next", forgotten)
            assert gone.slug in self.slugs("no-such-subscription")
            waiting = pool.submit(client.call, "Events.next", {**kept, "timeout": PATIENCE})
            # It is idle until a call waits on it.
            until(lambda: [each.idle for each in host.call("Events.list")] == [0.0], PATIENCE)
            clock.move(patience * 2)
            assert len(host.call("Events.list")) == 1
            host.call("Lamp.create", lamp={"lampID": lamp, "name": "hall"})
            host.call("Lamp.switch", lampID=lamp, lit=True)
            assert len(waiting.result(PATIENCE)) == 1
            client.call("Events.next", kept)


def _take(subscription: Subscription, count: int) -> list[Any]:
    """The next events of the bridge, as plain data."""
    events: list[Event] = []

    def enough() -> bool:
        events.extend(subscription.next(0.1, count - len(events)))
        return len(events) == count

    until(enough, PATIENCE)
    plain: list[Any] = canonical(types.builtins(events), list[Event])
    return plain
