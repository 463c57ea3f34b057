"""Waiting for events: results, and no effect on other requests."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_xmlrpc import XmlRpcBinding
from vdsm_xmlrpc.binding import Config

from .conftest import LAMP, Serve, Served
from .xmlrpc_client import XmlRpcClient

#: Seconds in which something that is about to happen has happened.
PATIENCE = 10.0


def subscribe(served: Served) -> str:
    """Subscribe to what lamps do; the id of the subscription."""
    with served.proxy() as proxy:
        reply: Any = proxy.Events.subscribe("sample")
    return str(reply["result"]["subscriptionID"])


def wait(served: Served, subscription: str) -> Any:
    """Wait for events; the whole reply."""
    with served.proxy() as proxy:
        return proxy.Events.next(subscription, 30.0)


def ready(calls: list[Future[Any]]) -> int:
    """How many of the calls are over."""
    return sum(call.done() for call in calls)


def test_what_is_new(served: Served) -> None:
    """A waiting call returns as soon as something happens."""
    subscription = subscribe(served)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(wait, served, subscription)
        until(lambda: not served.host.call("Events.list")[0].idle)
        served.host.call("Lamp.switch", lampID=LAMP, lit=True)
        (event,) = call.result(PATIENCE)["result"]
    assert (event["id"], event["params"]) == (f"|sample|switched|{LAMP}", {"lit": True})


def test_waiting_calls_leave_threads_to_others(serve: Serve) -> None:
    """Half of the threads may wait for events; further such calls are refused at once, others are served."""
    served = serve(threads=1, max_threads=4)
    subscriptions = [subscribe(served) for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(wait, served, subscription) for subscription in subscriptions]
        until(lambda: ready(calls) == 10)
        for _ in range(20):
            assert served.alive()
        served.host.call("Lamp.switch", lampID=LAMP, lit=True)
        codes = [call.result(PATIENCE)["status"] for call in calls]
    refused = [status for status in codes if status["code"]]
    assert len(refused) == 10
    assert {(status["code"], status["slug"]) for status in refused} == {(1100, "resource-exhausted")}
    assert "2 calls wait for events on this binding already" in refused[0]["message"]


def test_a_burst_gets_its_threads(served: Served) -> None:
    """Calls that come together and wait do not queue behind threads that only seem to be free."""
    binding = XmlRpcBinding(served.host.bridge, Config(port=0, threads=8, max_threads=64))
    binding.start()
    clients = [XmlRpcClient(binding.address[0]) for _ in range(24)]
    arguments = [{"subscriptionID": subscribe(served), "timeout": 30.0} for _ in clients]
    with ThreadPoolExecutor(24) as pool:
        for _ in range(5):
            calls = [
                pool.submit(client.call, "Events.next", requested)
                for client, requested in zip(clients, arguments, strict=True)
            ]
            until(lambda: binding.waiting.count == 24)
            served.host.call("Lamp.switch", lampID=LAMP, lit=True)
            assert all(len(call.result(PATIENCE)) == 1 for call in calls)
    for client in clients:
        client.close()
    binding.stop(1.0)


def test_stopping_ends_waiting_calls() -> None:
    """They return at once, empty, not with the time that calls get to finish; the subscription lives on."""
    with TestHost() as host:
        binding = XmlRpcBinding(host.bridge, Config(port=0))
        binding.start()
        subscription = host.call("Events.subscribe", filter="sample").subscription_id
        client = XmlRpcClient(binding.address[0])
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(client.call, "Events.next", {"subscriptionID": subscription, "timeout": 30.0})
            until(lambda: binding.waiting.count)
            begun = time.monotonic()
            binding.stop(20.0)
            assert time.monotonic() - begun < 15.0
            assert call.result(PATIENCE) == []
        client.close()
        assert len(host.call("Events.list")) == 1
