"""As many connections as the limit of open files allows, up to 10,000."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from vdsm_bridge.config import LimitOptions
from vdsm_bridge.testing.polling import until

from .conftest import PING

_MOST = 10_000
#: Descriptors that the rest of the process needs, this front's reserve included.
_OTHERS = 600


@pytest.fixture
def count() -> Iterator[int]:
    """How many connections fit into this process, which holds both ends of each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _MOST + _OTHERS
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, wanted), hard))
    yield min(_MOST, (min(hard, wanted) - _OTHERS) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_crowd(serve_plain: Any, count: int, record_property: Any) -> None:
    """Old and new clients are served beside thousands of idle connections, which go when they close."""
    record_property("connections", count)
    served = serve_plain(max_connections=_MOST + 100, timeout=120.0)
    served.front._capacity.options = lambda: LimitOptions(connections=0, connections_per_second=0)
    shares = served.front._capacity.shares
    with served.connect() as good, ExitStack() as stack:
        for number in range(count):
            sock = stack.enter_context(served.dial())
            if number % 3 == 0:
                sock.sendall(PING[:10])
            if number % 1_000 == 0:
                good.sendall(PING)
                assert b" 200 " in good.recv(65_536)
        until(lambda: shares.total == count + 1)
        assert served.get("/ping") == b"/ping"
        good.sendall(PING)
        assert b" 200 " in good.recv(65_536)
    until(lambda: shares.total == 0)
    assert len(served.front._loop._watched) <= 2


def test_a_crowd_of_one_party(serve_plain: Any) -> None:
    """By default a party gets 500 connections; 2,000 attempts leave no more, and nothing else behind."""
    served = serve_plain(max_connections=5_000)
    served.front._capacity.options = lambda: LimitOptions(connections_per_second=0)
    shares = served.front._capacity.shares
    with ExitStack() as stack:
        socks: list[socket.socket] = [stack.enter_context(served.dial()) for _ in range(2_000)]
        until(lambda: served.front._capacity.shares.total == 500)
        for sock in socks[500:]:
            assert sock.recv(1) == b""
        assert shares.total == 500
    until(lambda: shares.total == 0)
    assert served.get("/ping") == b"/ping"
