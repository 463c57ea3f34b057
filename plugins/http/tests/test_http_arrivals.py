"""New connections come at the rate of their party; those beyond a limit are answered with a refusal."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import pytest

from vdsm_bridge.config import LimitOptions
from vdsm_bridge.testing import Clock
from vdsm_bridge.testing.polling import until
from vdsm_http.arrivals import Arrivals
from vdsm_http.filters import Network
from vdsm_http.messages import Peer
from vdsm_http.pace import Pace
from vdsm_http.timers import Timers

from .conftest import PING, Served, all_of


def limited(serve: Any, **options: Any) -> Served:
    """A site on a front with these limits."""
    served: Served = serve()
    served.front._capacity.options = lambda: LimitOptions(**options)
    return served


class Arrived:
    """A connection that was accepted."""

    closed = False

    def __init__(self, address: str = "", party: str = "", owner: int | None = None, uid: int | None = None):
        self.peer = Peer(address, 1, owner=owner, uid=uid)
        self.party = party or address
        self.begun = False

    def begin(self) -> None:
        """Note that it has begun."""
        self.begun = True


class Arranged:
    """Arrivals at two per second, with a clock to move."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.held: list[str] = []
        pace = Pace(lambda: 2.0, self.clock)
        self.arrivals = Arrivals(Timers(), pace, self.hold_off, self.clock)

    def hold_off(self, networks: Iterable[Network]) -> None:
        """Note what the kernel drops from now on."""
        self.held = [str(network) for network in networks]

    def add(self, count: int, *arguments: Any, **more: Any) -> list[Arrived]:
        """Let connections arrive."""
        arrived = [Arrived(*arguments, **more) for _ in range(count)]
        for each in arrived:
            self.arrivals.add(each)
        return arrived

    def later(self, seconds: float) -> None:
        """Look again after this time."""
        self.clock.move(seconds)
        self.arrivals._delay.expired(0.0)


def begun(arrived: list[Arrived]) -> int:
    """How many have begun."""
    return sum(each.begun for each in arrived)


def test_arrivals_beyond_the_rate_wait() -> None:
    """They begin in order, and their address is held off until all have; other parties do not wait."""
    arranged = Arranged()
    many = arranged.add(5, "192.0.2.1")
    assert begun(many) == 2
    assert begun(arranged.add(2, "192.0.2.2")) == 2
    assert arranged.held == ["192.0.2.1/32"]
    many[2].closed = True
    arranged.later(1.0)
    assert [each.begun for each in many] == [True, True, False, True, True]
    assert arranged.held == []
    third = arranged.add(1, "192.0.2.1")
    assert arranged.held == ["192.0.2.1/32"]
    arranged.arrivals.end()
    assert begun(third) == 1
    assert arranged.held == []


def test_refused_connections_count() -> None:
    """Those that are closed count as well; beyond the rate, their address is held off until the next look."""
    arranged = Arranged()
    for number in range(5):
        arranged.arrivals.refuse(Peer("192.0.2.1", number), "192.0.2.1")
    assert arranged.held == ["192.0.2.1/32"]
    arranged.later(0.0)
    assert arranged.held == []
    assert begun(arranged.add(1, "192.0.2.1")) == 0


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("2001:db8::1:2", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::1", "::1/128"),
        ("127.0.0.9", "127.0.0.9/32"),
    ],
)
def test_networks(address: str, network: str) -> None:
    """What is held off is what a party has: 64 bits of IPv6, else one address."""
    arranged = Arranged()
    arranged.add(3, address)
    assert arranged.held == [network]
    assert ipaddress.ip_network(network)


def test_addresses_of_several_users() -> None:
    """An address of loopback stays open while several users connect from it; one user has it alone."""
    arranged = Arranged()
    assert begun(arranged.add(1, "127.0.0.1", "uid 1", owner=1)) == 1
    many = arranged.add(4, "127.0.0.1", "uid 2", owner=2)
    gone = arranged.add(4, "127.0.0.1")  # their sockets are closed already: their owner is not known
    assert (begun(many), begun(gone), arranged.held) == (2, 2, [])
    arranged.later(100.0)
    arranged.add(4, "127.0.0.1", "uid 2", owner=2)
    assert arranged.held == ["127.0.0.1/32"]


def test_unix_sockets() -> None:
    """Local users wait as well, and nothing is held off; root never waits."""
    arranged = Arranged()
    assert begun(arranged.add(4, party="uid 1", uid=1)) == 2
    assert begun(arranged.add(4, party="uid 0", uid=0)) == 4
    assert arranged.held == []


def test_addresses_are_forgotten() -> None:
    """Users of very many addresses of loopback take no memory."""
    arranged = Arranged()
    for number in range(3_000):
        arranged.add(1, f"127.1.{number // 250}.{number % 250}", "uid 1", owner=1)
    assert len(arranged.arrivals._users) <= 1_024


def test_a_flood_waits_in_the_kernel(serve_plain: Any) -> None:
    """New connections beyond the rate are delayed, and all are answered; another address does not wait."""
    served = limited(serve_plain, connections_per_second=10.0)
    target = ("127.0.0.1", served.port)
    with ExitStack() as stack:
        flood = [stack.enter_context(served.dial()) for _ in range(15)]
        until(lambda: served.front._capacity.shares.total == 15)
        with pytest.raises(TimeoutError):
            socket.create_connection(target, 0.2)
        for sock in flood:
            sock.sendall(PING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert all(b" 200 " in all_of(sock) for sock in flood)
    begun = time.monotonic()
    assert served.get("/ping") == b"/ping"
    assert time.monotonic() - begun < 5


def test_a_stop_answers_those_that_wait(serve_plain: Any) -> None:
    """A request on a connection that waits for its turn is answered before the site stops."""
    served = limited(serve_plain, connections_per_second=1.0)
    with ExitStack() as stack:
        socks = [stack.enter_context(served.dial()) for _ in range(5)]
        for sock in socks:
            sock.sendall(PING)
        served.attachment.close(5.0)
        assert all(b" 200 " in all_of(sock) for sock in socks)


def test_a_refusal(serve_plain: Any) -> None:
    """Beyond the limit, a request is answered with a 503 that says when to try again."""
    served = limited(serve_plain, connections=1)
    with served.dial(), served.dial() as refused:
        refused.sendall(PING)
        reply = all_of(refused)
        assert reply.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in reply
        assert b"\r\nConnection: close\r\n" in reply
        assert reply.endswith(b"Too many connections are open\n")
    until(lambda: served.get("/ping") == b"/ping")


def test_a_refusal_with_a_body_that_arrives_late(serve_plain: Any) -> None:
    """A client that is still sending reads the refusal as well."""
    served = limited(serve_plain, connections=1)
    with served.dial(), served.dial() as refused:
        refused.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n")
        assert refused.recv(12) == b"HTTP/1.1 503"
        refused.sendall(b"x" * 300_000)
        assert b"Too many connections" in all_of(refused)


def test_a_refusal_over_tls(serve_tls: Any) -> None:
    """Beyond the limit, a handshake ends with an alert, which costs no handshake."""
    served = limited(serve_tls, connections=1)
    with served.dial(), served.dial() as refused:
        context = served.pki.context() if served.pki else None
        assert context is not None
        with pytest.raises(ssl.SSLError, match="ALERT_INTERNAL_ERROR"):
            context.wrap_socket(refused, server_hostname="localhost")


def test_refusals_are_bounded(serve_plain: Any) -> None:
    """Of many connections beyond the limit some are answered, all are closed, and nothing is left."""
    served = limited(serve_plain, connections=1, connections_per_second=0)
    with served.dial():
        with ExitStack() as stack:
            socks = [stack.enter_context(served.dial()) for _ in range(100)]
            (listener,) = served.front._listeners.values()
            until(lambda: bool(listener._refused))
            assert len(listener._refused) <= 16
            for sock in socks:
                assert all_of(sock) == b""
        until(lambda: not listener._refused)
    until(lambda: served.front._capacity.shares.total == 0)
    assert served.get("/ping") == b"/ping"
