"""Many clients, damaged requests, verbs that hang, and stopping in the middle of it."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import threading
import time
import xmlrpc.client
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import soak
from vdsm_bridge import Feature, Namespace, query
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_xmlrpc import Config, XmlRpcBinding

from .conftest import LAMP, Serve, Served

VALID = (
    xmlrpc.client.dumps((LAMP,), "Lamp.getInfo"),
    xmlrpc.client.dumps(({"left": 1, "right": "2"},), "Room.add"),
    xmlrpc.client.dumps(({"lampID": "x", "name": "y", "tags": [1, [2.5, True]]},), "Lamp.create"),
    xmlrpc.client.dumps(([{"methodName": "Host.echo", "params": ["a<b"]}],), "system.multicall"),
    xmlrpc.client.dumps((True, []), "list"),
)
DAMAGE = (
    b"",
    b"<",
    b">",
    b"&",
    b"&amp;",
    b"]]>",
    b"<value>",
    b"</value>",
    b"<struct>",
    b"\x00",
    b"\xff",
    b"9" * 30,
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid request with a few pieces cut out, put in or moved."""
    body = draw(st.sampled_from(VALID)).encode()
    for _ in range(draw(st.integers(1, 3))):
        at, cut = draw(st.integers(0, len(body))), draw(st.integers(0, 12))
        body = body[:at] + draw(st.sampled_from(DAMAGE)) + body[at + cut :]
    return body


arguments = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**31), 2**31 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(min_codepoint=32, max_codepoint=0xFFFD, exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["lampID", "name", "left", "vmId", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


class Wire:
    """One keep-alive connection that is opened anew whenever the server closes it."""

    def __init__(self, served: Served) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)

    def send(self, body: bytes) -> tuple[int, bytes]:
        self._connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml"})
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        self._connection.close()


def quiet_logs(level: int = logging.CRITICAL) -> None:
    for name in ("vdsm_xmlrpc", "vdsm_bridge"):
        logging.getLogger(name).setLevel(level)


@pytest.mark.soak
def test_damaged_and_odd_requests(served: Served) -> None:
    """Thousands of damaged and odd requests: each has an answer of XML-RPC, none a trace of code."""
    wire = Wire(served)
    quiet_logs()
    methods = [
        *served.host.bridge.verbs,
        "list",
        "create",
        "getTaskStatus",
        "system.methodHelp",
        "no.such",
        "\u00e4",
    ]
    methods.remove("Host.setLogLevel")

    def check(body: bytes) -> None:
        status, answer = wire.send(body)
        assert status == 200
        assert b"Traceback" not in answer
        assert b'File "' not in answer
        try:
            xmlrpc.client.loads(answer)
        except xmlrpc.client.Fault as fault:
            assert fault.faultCode in (1, -32700, -32600)  # noqa: PT017 - a fault is one of two good answers

    many = settings(
        max_examples=soak.count(1_000),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )

    @many
    @given(damaged())
    def damage(body: bytes) -> None:
        check(body)

    @many
    @given(st.sampled_from(methods), st.lists(arguments, max_size=3))
    def oddity(method: str, params: list[Any]) -> None:
        check(xmlrpc.client.dumps(tuple(params), method, allow_none=True).encode())

    try:
        damage()
        oddity()
        assert served.alive()
    finally:
        quiet_logs(logging.NOTSET)
        wire.close()


def test_deep_and_wide_requests(served: Served) -> None:
    """Depth and number of values are bounded, whatever fits in the body."""
    wire = Wire(served)
    deep = b"<array><data><value>" * 10_000
    bodies = [
        b"<methodCall><methodName>x</methodName><params><param><value>" + deep,
        b"<methodCall>" * 50_000,
        b"<methodCall><methodName>x</methodName><params>" + b"<param><value/></param>" * 110_000,
    ]
    for body in bodies:
        begin = time.monotonic()
        status, answer = wire.send(body)
        assert status == 200
        with pytest.raises(xmlrpc.client.Fault):
            xmlrpc.client.loads(answer)
        assert time.monotonic() - begin < 5.0
    wire.close()
    assert served.alive()


def test_many_clients(serve: Serve) -> None:
    """Sixty-four clients at once, each with its own connection: every call has its own answer."""
    served = serve(threads=2, max_threads=16)

    def work(number: int) -> None:
        with served.proxy() as proxy:
            for turn in range(10):
                assert proxy.Room.add(number, turn)["result"] == number + turn  # type: ignore[index,call-overload]

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(work, range(64)))
    assert served.alive()


class Gate(Namespace, plural="gate"):
    """A verb that waits until it is let go."""

    def __init__(self, entered: threading.Semaphore, opened: threading.Event) -> None:
        self._entered = entered
        self._opened = opened

    @query(since="1.0")
    def wait(self) -> str:
        """Wait."""
        self._entered.release()
        self._opened.wait(20)
        return "through"


class Gated:
    """A host with such a verb."""

    def __init__(self, **options: Any) -> None:
        self.entered, self.opened = threading.Semaphore(0), threading.Event()
        gate = Gate(self.entered, self.opened)

        class Gates(Feature):
            def namespaces(self) -> list[Namespace]:
                return [gate]

        self.host = TestHost(
            verbs={"gates": Gates},
            bindings={"xmlrpc": XmlRpcBinding},
            config={"plugin": {"xmlrpc": {"port": 0, **options}}},
        )

    def wait(self, served: Served) -> Any:
        with served.proxy() as proxy:
            return proxy.Gate.wait()


def test_waiting_calls_hold_up_nobody(serve: Serve) -> None:
    """While many calls wait in a verb, others are served: there are more threads when they are needed."""
    gated = Gated(threads=1, max_threads=30)
    with gated.host as host, ThreadPoolExecutor(20) as pool:
        served = Served(host)
        calls = [pool.submit(gated.wait, served) for _ in range(20)]
        for _ in calls:
            assert gated.entered.acquire(timeout=10)
        assert served.alive()
        gated.opened.set()
        assert {call.result(10)["result"] for call in calls} == {"through"}


def test_threads_are_bounded() -> None:
    """With all threads busy, calls wait their turn, and the binding says that it is not well."""
    gated = Gated(threads=1, max_threads=2)
    with gated.host as host, ThreadPoolExecutor(4) as pool:
        served = Served(host)
        calls = [pool.submit(gated.wait, served) for _ in range(4)]
        for _ in range(2):
            assert gated.entered.acquire(timeout=10)
        time.sleep(0.2)
        assert not gated.entered.acquire(blocking=False)
        gated.opened.set()
        assert {call.result(10)["result"] for call in calls} == {"through"}


def start(host: TestHost, **options: Any) -> XmlRpcBinding:
    """A second binding on the bridge of a host, to be stopped by the test."""
    binding = XmlRpcBinding(host.bridge, Config(**{"port": 0, **options}))
    binding.start()
    return binding


def sockets() -> int:
    """How many sockets this process has open."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the folder's own
            count += str(entry.readlink()).startswith("socket:")
    return count


def port_of(binding: XmlRpcBinding) -> int:
    (url,) = binding.address
    return int(url.rpartition(":")[2].partition("/")[0])


def test_stop_lets_calls_end() -> None:
    """A call in flight is answered while the binding stops; new connections are refused meanwhile."""
    gated = Gated()
    with gated.host as host, ThreadPoolExecutor(2) as pool:
        binding = start(host)
        port = port_of(binding)

        def call() -> Any:
            with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/") as proxy:
                return proxy.Gate.wait()

        flying = pool.submit(call)
        assert gated.entered.acquire(timeout=10)
        stopping = pool.submit(binding.stop, 5.0)

        def closed() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                return True
            return False

        until(closed, 5.0, every=0.01, what="the port to be closed")
        assert not flying.done()
        gated.opened.set()
        stopping.result(10)
        assert flying.result(10)["result"] == "through"
        assert binding.address == ()


def test_stop_has_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    """A call that never returns delays the stop by its grace and no more; its connection is broken."""
    gated = Gated()
    with gated.host as host, ThreadPoolExecutor(1) as pool:
        binding = start(host)
        port = port_of(binding)

        def call() -> Any:
            with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/") as proxy:
                return proxy.Gate.wait()

        flying = pool.submit(call)
        assert gated.entered.acquire(timeout=10)
        begin = time.monotonic()
        binding.stop(0.5)
        assert time.monotonic() - begin < 10
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            flying.result(10)
        assert "left behind" in caplog.text
        gated.opened.set()


def test_stop_under_load(served: Served) -> None:
    """Stopped while many clients call, every call was answered or its connection closed; the port is free."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    binding = start(served.host, port=port)
    before = sockets()
    ending = threading.Event()

    def work() -> None:
        while not ending.is_set():
            try:
                with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/") as proxy:
                    while not ending.is_set():
                        assert proxy.Room.add(1, 2)["result"] == 3  # type: ignore[index,call-overload]
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)

    with ThreadPoolExecutor(16) as pool:
        clients = [pool.submit(work) for _ in range(16)]
        time.sleep(0.3)
        binding.stop(3.0)
        ending.set()
        for client in clients:
            client.result(10)
    again = start(served.host, port=port)
    assert sockets() <= before
    again.stop(1.0)


def test_idle_connections_do_not_delay_the_stop(served: Served) -> None:
    """Connections that wait for nothing are closed at once."""
    binding = start(served.host)
    idle = [socket.create_connection(("127.0.0.1", port_of(binding))) for _ in range(5)]
    begin = time.monotonic()
    binding.stop(30.0)
    took = time.monotonic() - begin
    for sock in idle:
        sock.settimeout(5)
        with contextlib.suppress(ConnectionResetError):  # one that was not accepted yet
            assert sock.recv(1) == b""
        sock.close()
    assert took < 25.0, "it used its grace"


def test_port_in_use(served: Served) -> None:
    """A port that is taken is an error at the start, and nothing is left of it."""
    binding = XmlRpcBinding(served.host.bridge, Config(port=served.port))
    with pytest.raises(OSError, match=f"^Cannot listen on 127.0.0.1:{served.port}: Address already in use$"):
        binding.start()
    assert binding.address == ()
    binding.stop(1.0)


def test_health(served: Served) -> None:
    """The binding is well while it listens."""
    binding = start(served.host)
    assert binding.health().state == "ok"
    binding.stop(1.0)
    assert binding.health().state == "failed"


def test_ipv6(served: Served) -> None:
    """The address may be IPv6, and is in brackets in the URL."""
    try:
        binding = start(served.host, address="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    (url,) = binding.address
    with xmlrpc.client.ServerProxy(url) as proxy:
        assert proxy.ping()["status"]["code"] == 0  # type: ignore[index,call-overload]
    binding.stop(1.0)
    assert url.startswith("http://[::1]:")
