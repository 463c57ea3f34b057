"""Filters of listening sockets: what begins is delayed, what has begun is not lost."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_http import filters
from vdsm_http.sockets import Bound, listen


@pytest.fixture(params=["127.0.0.1", "::1", "::"])
def bound(request: pytest.FixtureRequest) -> Iterator[Bound]:
    """A socket that listens on one family, or on both."""
    bound = listen((request.param, 0))
    yield bound
    bound.close()


def connect(bound: Bound, source: str, timeout: float = 5.0) -> socket.socket:
    """Connect from an address."""
    target = "::1" if ":" in source else "127.0.0.1"
    return socket.create_connection((target, bound.socket.getsockname()[1]), timeout, (source, 0))


def is_dropped(bound: Bound, source: str) -> bool:
    """Whether a connection from an address does not begin."""
    try:
        connect(bound, source, 0.2).close()
    except TimeoutError:
        return True
    return False


def sources(bound: Bound) -> list[str]:
    """Addresses that reach the socket."""
    return {"127.0.0.1": ["127.0.0.1"], "::1": ["::1"], "::": ["127.0.0.1", "::1"]}[str(bound.where[0])]


def test_a_handshake_that_has_begun_ends(bound: Bound) -> None:
    """The last packet of a handshake and what follows pass the filter; the first of another does not."""
    bound.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 10)
    for source in sources(bound):
        assert bound.settled()
        with connect(bound, source) as client:
            # As it waits for the first data, the kernel keeps the handshake open.
            assert not bound.settled()
            bound.reject()
            client.sendall(b"one")
            until(bound.settled)
            accepted = bound.accept()
            assert accepted is not None
            with accepted[0] as server:
                server.setblocking(True)
                assert server.recv(10) == b"one"
                client.sendall(b"two")
                assert server.recv(10) == b"two", "the connection does not inherit the filter's effect"
        assert is_dropped(bound, source)
        bound.hold_off([])


def test_some_addresses_are_held_off() -> None:
    """Only the networks that are named wait; the next call replaces them."""
    bound = listen(("127.0.0.1", 0))
    network = ipaddress.ip_network
    bound.hold_off([network("10.0.0.0/8"), network("127.0.0.3/32"), network("127.0.0.2/32")])
    assert [is_dropped(bound, f"127.0.0.{number}") for number in (1, 2, 3, 4)] == [False, True, True, False]
    bound.hold_off([network("127.0.0.4/30")])
    assert [is_dropped(bound, f"127.0.0.{number}") for number in (2, 4, 7, 8)] == [False, True, True, False]
    bound.hold_off([network(f"127.0.1.{number}/32") for number in range(200)])
    assert is_dropped(bound, "127.0.1.1")
    assert not is_dropped(bound, "127.0.0.4")
    bound.hold_off([])
    assert not is_dropped(bound, "127.0.1.1")
    bound.close()


def test_both_families_on_one_socket() -> None:
    """The filter of a socket for both families compares addresses of the right one."""
    bound = listen(("::", 0))
    for held, dropped in (
        ("::1/128", [False, True]),
        ("::/64", [False, True]),
        ("127.0.0.1/32", [True, False]),
    ):
        bound.hold_off([ipaddress.ip_network(held)])
        assert [is_dropped(bound, source) for source in ("127.0.0.1", "::1")] == dropped, held
    bound.close()


def test_kernels_without_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel refuses a filter, nothing is held off, and nothing fails."""
    monkeypatch.setattr(filters, "_SO_ATTACH_FILTER", 9_999)
    bound = listen(("127.0.0.1", 0))
    bound.reject()
    assert not is_dropped(bound, "127.0.0.1")
    bound.close()
