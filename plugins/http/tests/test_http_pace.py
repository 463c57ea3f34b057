"""Clients that send too much are slowed down, and hold a bounded number of connections."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import pytest

from vdsm_bridge.config import LimitOptions
from vdsm_bridge.testing import Clock
from vdsm_bridge.testing.polling import until
from vdsm_http import Front, Limits, Response, Site
from vdsm_http.pace import Pace

from .conftest import PING, Served, all_of

GONE = PING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def test_a_rate() -> None:
    """A second's worth at once, then the rate; other parties have their own; a pause saves up one second."""
    clock = Clock()
    pace = Pace(lambda: 10.0, clock)
    assert sum(pace.take("a") for _ in range(30)) == 10
    assert pace.take("b")
    clock.move(0.5)
    assert sum(pace.take("a") for _ in range(30)) == 5
    clock.move(60)
    assert sum(pace.take("a") for _ in range(30)) == 10


def test_no_rate() -> None:
    """Zero is no limit; a rate below one per second still lets one through."""
    pace = Pace(lambda: 0.0)
    assert all(pace.take("a") for _ in range(10_000))
    clock = Clock()
    slow = Pace(lambda: 0.1, clock)
    assert [slow.take("a"), slow.take("a")] == [True, False]
    clock.move(10)
    assert slow.take("a")


def test_parties_are_forgotten() -> None:
    """Parties whose bucket is full take no memory once there are many."""
    clock = Clock()
    pace = Pace(lambda: 10.0, clock)
    for number in range(10_000):
        clock.move(0.01)
        pace.take(str(number))
    assert len(pace._buckets) < 1_100


def limited(serve: Any, **options: Any) -> Served:
    """A site on a front with these limits."""
    served: Served = serve()
    served.front._capacity.options = lambda: LimitOptions(**options)
    return served


def test_requests_are_delayed(serve_plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipelined requests beyond the rate wait and are answered in order; another party does not wait."""
    parties = iter(["many", "few"])
    monkeypatch.setattr("vdsm_http.session.party", lambda _peer: next(parties))
    served = limited(serve_plain, requests_per_second=20.0)
    with served.connect() as many, served.connect() as few:
        begun = time.monotonic()
        many.sendall(PING * 29 + GONE)
        few.sendall(GONE)
        assert all_of(few).count(b"HTTP/1.1 200") == 1
        assert all_of(many).count(b"HTTP/1.1 200") == 30
        assert time.monotonic() - begun > 0.4, "20 at once, and ten more at 20 a second"
    until(lambda: served.front._capacity.shares.total == 0)


def test_a_delayed_client_leaves(serve_plain: Any) -> None:
    """A client that goes while its requests wait leaves nothing behind, nor does one at the stop."""
    served = limited(serve_plain, requests_per_second=0.5)
    with served.connect() as sock:
        sock.sendall(PING * 5)
        assert sock.recv(1_000).startswith(b"HTTP/1.1 200")
    with served.connect() as sock:
        sock.sendall(PING * 5)
        served.attachment.close(0.3)
        assert served.front._capacity.shares.total == 0


def test_connections_of_one_party(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its limit a party gets no further connection until one of its own ends; others do."""
    party = "many"
    monkeypatch.setattr("vdsm_http.session.party", lambda _peer: party)
    monkeypatch.setattr("vdsm_http.tls.handshake.party", lambda _peer: party)
    served = limited(serve, connections=3)
    with ExitStack() as stack:
        held = [stack.enter_context(served.connect()) for _ in range(3)]
        with served.dial() as refused:
            assert all_of(refused) == b"", "without a request there is no reply"
        party = "few"
        assert served.get("/ping") == b"/ping"
        party = "many"
        held[0].close()
        until(lambda: served.front._capacity.shares.count("many") == 2)
        assert served.get("/ping") == b"/ping"


def test_handshakes_are_delayed(serve_tls: Any) -> None:
    """Handshakes beyond the rate are delayed, and end well."""
    served = limited(serve_tls, handshakes_per_second=5.0)
    begun = time.monotonic()
    for _ in range(7):
        assert served.get("/ping") == b"/ping"
    assert time.monotonic() - begun > 0.3, "five at once, and two more at five a second"


def test_limits_of_the_daemon() -> None:
    """A site passes the limits in force to the front; one that has none keeps those of others."""
    front = Front()
    options = LimitOptions(connections=7)
    first = front.attach(
        Site("a", lambda _request: Response(200), Limits()), [("127.0.0.1", 0)], limits=lambda: options
    )
    second = front.attach(Site("b", lambda _request: Response(200), Limits()), [("127.0.0.1", 0)])
    assert front._capacity.options() is options
    first.close(1.0)
    second.close(1.0)
