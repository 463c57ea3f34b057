"""What one client may use over all bindings, and its errors beyond that."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from vdsm_bridge import Context, Identity
from vdsm_bridge.call.limits import CallLimits
from vdsm_bridge.testing import Clock, TestHost
from vdsm_bridge.testing.polling import until
from vdsm_core.config import LimitOptions
from vdsm_core.errors import CallRateExceeded, NoSuchVerb, TooManyCalls, TooManyItems, TooManySubscriptions

ENGINE = Identity("engine", "operator", "token")
OTHER = Identity("other", "operator", "token")
ROOT = Identity("root", "admin", "peer", 0)


def limits(clock: Clock | None = None, **options: Any) -> CallLimits:
    """Limits with these options, on a clock that a test moves."""
    return CallLimits(LimitOptions(**options), clock or Clock())


def refused(counted: CallLimits, identity: Identity, tries: int) -> int:
    """How many of so many calls, one after the other, are refused because of their rate."""
    count = 0
    for _ in range(tries):
        try:
            counted.leave(counted.enter(identity))
        except CallRateExceeded:
            count += 1
    return count


def test_calls_in_flight() -> None:
    """Beyond the limit a client is refused until one of its calls ends; others are not affected."""
    counted = limits(calls_in_flight=2)
    held = [counted.enter(ENGINE) for _ in range(2)]
    with pytest.raises(TooManyCalls, match=r"2 calls .*\[limits\] calls_in_flight") as caught:
        counted.enter(ENGINE)
    assert caught.value.facts == {"limit": 2, "option": "[limits] calls_in_flight", "retry_after": 1.0}
    counted.enter(OTHER)
    counted.leave(held.pop())
    counted.enter(ENGINE)


def test_calls_per_second() -> None:
    """A client that is faster than its rate is refused beyond its burst; the error names the wait."""
    clock = Clock()
    counted = limits(clock, calls_per_second=10, call_burst=20)
    assert refused(counted, ENGINE, 25) == 5
    assert refused(counted, OTHER, 20) == 0
    with pytest.raises(CallRateExceeded, match=r"more than 10 calls .*\[limits\] calls_per_second") as caught:
        counted.enter(ENGINE)
    clock.move(caught.value.facts["retry_after"])
    assert refused(counted, ENGINE, 2) == 1
    clock.move(1000)
    assert refused(counted, ENGINE, 21) == 1, "a pause gives one burst, however long it was"


def test_zero_is_no_limit() -> None:
    """Each limit can be switched off."""
    counted = limits(calls_in_flight=0, calls_per_second=0, max_items=0)
    for _ in range(10_000):
        counted.enter(ENGINE)
    counted.check({"ids": [0] * 20_000})


def test_exempt() -> None:
    """The daemon itself and admins on the unix socket are not limited; other users there are."""
    counted = limits(calls_in_flight=1)
    for _ in range(3):
        counted.enter(ROOT)
        counted.enter(Identity("vdsm", "admin"))
    counted.enter(Identity("ann", "operator", "peer", 1000))
    with pytest.raises(TooManyCalls):
        counted.enter(Identity("ann", "operator", "peer", 1000))


def test_local_users_without_credentials() -> None:
    """Callers on loopback have one name, and limits by the user that owns their socket."""
    counted = limits(calls_in_flight=1)
    counted.enter(Identity("loopback", "admin", "loopback", 1000))
    counted.enter(Identity("loopback", "admin", "loopback", 1001))
    with pytest.raises(TooManyCalls):
        counted.enter(Identity("loopback", "admin", "loopback", 1000))


def test_memory() -> None:
    """Clients that made no call for long are forgotten; one with a call in flight never is."""
    clock = Clock()
    counted = limits(clock)
    held = counted.enter(ENGINE)
    for number in range(5_000):
        clock.move(0.01)
        counted.leave(counted.enter(Identity(f"client-{number}", "monitor", "token")))
    assert len(counted._clients) < 1_100
    counted.leave(held)


@pytest.mark.parametrize("value", [[0] * 11, {"a": {str(n): 0 for n in range(11)}}, [[], [0] * 11]])
def test_items(value: Any) -> None:
    """An array or structure at any depth is bounded; the error names argument and option."""
    with pytest.raises(TooManyItems, match=r"'ids': .* 10 elements \(\[limits\] max_items\)"):
        limits(max_items=10).check({"ids": value})
    limits(max_items=11).check({"ids": value})


def test_the_bridge() -> None:
    """The bridge counts each call, also one that it refuses, and gives all of them back."""
    with TestHost(config={"limits": {"calls_in_flight": 1, "max_items": 10}}) as host:
        for _ in range(3):
            with pytest.raises(NoSuchVerb):
                host.bridge.call("Lamp.explode", {}, Context(identity=ENGINE))
            with pytest.raises(TooManyItems):
                host.bridge.call("Lamp.list", {"ids": [0] * 11}, Context(identity=ENGINE))
        # No event has this name, so that the call waits until the subscription ends.
        wanted = {"filter": "|nothing|*"}
        subscribed = host.bridge.call("Events.subscribe", wanted, Context(identity=ENGINE))
        arguments = {"subscriptionID": subscribed.subscription_id, "timeout": 30.0}
        waiting = threading.Thread(
            target=host.bridge.call, args=("Events.next", arguments, Context(identity=ENGINE))
        )
        waiting.start()
        until(lambda: host.bridge.limits._clients["token:engine"].in_flight == 1)
        with pytest.raises(TooManyCalls):
            host.bridge.call("Host.ping", {}, Context(identity=ENGINE))
        host.bridge.call("Host.ping", {}, Context(identity=OTHER))
        host.call("Events.unsubscribe", subscriptionID=subscribed.subscription_id)
        waiting.join(20)
        host.bridge.call("Host.ping", {}, Context(identity=ENGINE))


def test_a_reload() -> None:
    """A reload of `[limits]` takes effect at once."""
    with TestHost() as host:
        assert host.bridge.limits.options == LimitOptions()
        changed = {"limits": {"calls_per_second": 1, "call_burst": 1}}
        from vdsm_core import config  # noqa: PLC0415 - the test host merges its own

        document = {"daemon": {"state_dir": ":memory:"}, **changed}
        host.host.reload(config.merge([("test", document)]))
        assert host.bridge.limits.options.calls_per_second == 1


def test_subscriptions() -> None:
    """One client has a limit of its own below that of all; the error names it."""
    config = {"events": {"subscriptions_per_client": 2, "most_subscriptions": 100}}
    with TestHost(config=config) as host:
        first = host.call("Events.subscribe", identity=ENGINE)
        host.call("Events.subscribe", identity=ENGINE)
        with pytest.raises(TooManySubscriptions, match=r"2 subscriptions.*subscriptions_per_client"):
            host.call("Events.subscribe", identity=ENGINE)
        host.call("Events.subscribe", identity=OTHER)
        host.call("Events.unsubscribe", subscriptionID=first.subscription_id, identity=ENGINE)
        host.call("Events.subscribe", identity=ENGINE)
