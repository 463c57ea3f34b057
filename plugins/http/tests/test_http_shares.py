"""Who has to make room: the party that holds most, streams included, on all listeners together."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from vdsm_http import Front, Limits, Response, Site, capacity
from vdsm_http.capacity import Shares

from .conftest import PING, Served, all_of

UPGRADE = b"GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


class Holding:
    """A connection of a party."""

    def __init__(self, party: str, since: float, *, stream: bool = False, idle: bool = True) -> None:
        self.party = party
        self.since = since
        self.stream = stream
        self.idle = idle

    def cut(self) -> None:
        """Break nothing."""

    def make_room(self) -> None:
        """Do nothing."""


def test_who_makes_room() -> None:
    """The oldest idle connection of the largest party does, a stream only where there is no other."""
    whole = Shares()
    shares = Shares(whole)
    assert shares.victim() is None
    streams = [Holding("a", at, stream=True) for at in (1.0, 2.0)]
    busy = Holding("a", 0.0, idle=False)
    for holding in (*streams, busy, Holding("b", 0.0)):
        shares.add(holding)
    assert shares.victim("b") is streams[0]
    assert shares.victim("a") is None, "nobody makes room for its own"
    idle = Holding("a", 3.0)
    shares.add(idle)
    assert shares.victim("b") is idle
    shares.remove(idle)
    shares.remove(idle)
    assert (shares.total, whole.total) == (4, 4)
    assert whole.victim("c") is streams[0]


def test_streams_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A party whose streams take every place yields to a newcomer."""
    parties = iter(["many"] * 10 + ["few"] * 2)
    monkeypatch.setattr("vdsm_http.session.party", lambda _peer: next(parties))
    served = Served(max_connections=10)
    with ExitStack() as stack:
        streams = [stack.enter_context(served.connect()) for _ in range(10)]
        for sock in streams:
            sock.sendall(UPGRADE)
            assert b" 101 " in sock.recv(65_536)
        for number in range(2):
            sock = stack.enter_context(served.connect())
            sock.sendall(PING)
            assert b" 200 " in sock.recv(65_536)
            assert all_of(streams[number]) == b"", "the oldest stream made room"
        streams[-1].sendall(b"still there")
        assert streams[-1].recv(65_536) == b"still there"
    served.attachment.close(2.0)


def test_idle_connections_elsewhere_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When descriptors are short, idle connections of one listener do not shut the others' callers out."""
    parties = iter(["many"] * 20 + ["few"] * 3)
    monkeypatch.setattr("vdsm_http.session.party", lambda _peer: next(parties))
    monkeypatch.setattr("vdsm_http.listener.descriptors", lambda: 20)
    served = Served(max_connections=1_000)
    path = str(tmp_path / "s")
    site = Site("unix", lambda _: Response(204), Limits())
    other = served.front.attach(site, [path])
    with ExitStack() as stack:
        for _ in range(20):
            sock = stack.enter_context(served.connect())
            sock.sendall(PING)
            assert b" 200 " in sock.recv(65_536)
        for _ in range(3):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.settimeout(10)
            sock.connect(path)
            sock.sendall(PING)
            assert b" 204 " in sock.recv(65_536)
    other.close(1.0)
    served.attachment.close(1.0)


@pytest.fixture
def few_files() -> Iterator[None]:
    """A limit of open files that is reached soon."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 60, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_files")
def test_without_descriptors(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Where the system has no descriptor left, the front goes on, says so once, and serves again."""
    monkeypatch.setattr("vdsm_http.listener.descriptors", lambda: 1_000_000)
    served = Served(max_connections=1_000)
    with ExitStack() as stack:
        held: list[socket.socket] = []
        # Each connection takes two: both ends are in this process.
        while len(held) < 200:
            try:
                held.append(stack.enter_context(served.connect()))
            except OSError:
                break
        assert len(held) < 200
        time.sleep(0.2)
        for sock in held[:10]:
            sock.close()
        assert served.get("/ping") == b"/ping"
    assert served.get("/ping") == b"/ping"
    lines = [record for record in caplog.records if "Cannot take a connection" in record.message]
    assert len(lines) <= 1
    served.attachment.close(1.0)


def test_the_limit_follows_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the process keeps some descriptors for itself."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (1_024, 4_096))
    assert capacity.descriptors() == 896


def test_a_front_without_sites_has_no_thread() -> None:
    """An attach that fails leaves nothing behind."""
    front = Front()
    with pytest.raises(OSError, match="Cannot listen on"):
        front.attach(Site("x", lambda _: Response(204), Limits()), [("127.0.0.1", 0), ("192.0.2.1", 0)])


def test_serving_goes_on(serve: Callable[..., Served]) -> None:
    """A site that could not have one address is served on the next try."""
    served = serve()
    site = Site("test", lambda _: Response(204), Limits())
    with pytest.raises(OSError, match="Address already in use"):
        served.front.attach(site, [("127.0.0.1", 0), ("127.0.0.1", served.port)], tls=served.tls)
    attachment = served.front.attach(site, [("127.0.0.1", 0)])
    with socket.create_connection(("127.0.0.1", int(attachment.urls[0].rpartition(":")[2]))) as sock:
        for _ in range(2):
            sock.sendall(PING)
            assert b" 204 " in sock.recv(65_536)
    attachment.close(1.0)
    assert served.get("/ping") == b"/ping"
