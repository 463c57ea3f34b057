"""Every parameter of every verb, with every hostile value, over each way in.

Expected is an answer: a result, or a typed error. Never an unexpected error, a dropped connection, a header
that a value has added, nor memory or descriptors that are not given back.
"""

from __future__ import annotations

import gc
import http.client
import json
import logging
import os
import re
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.isolation.hostile import TEXTS, arguments, encodable, values
from vdsm_bridge import Context, Feature, Identity, Namespace, Verb, query
from vdsm_bridge.api.routes import Place, derive
from vdsm_bridge.errors import UnexpectedError, VdsmError
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until

ADMIN = Identity("hostile", "admin", "token")
#: Seconds that a call may take.
PATIENCE = 2.0
MIB = 1024 * 1024
Send = Callable[[Verb, Any], None]
#: Sends one in so many of the values; returns the number of calls.
Walk = Callable[[int], int]


class Client:
    """A kept connection to a binding; a reply that closes it is a failure."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port or 0, timeout=30)
        self._connection.connect()
        self._socket = self._connection.sock

    def request(self, method: str, path: str, body: bytes | None, kind: str) -> tuple[int, bytes]:
        headers = {"Request-Timeout": str(PATIENCE), **({"Content-Type": kind} if body is not None else {})}
        self._connection.request(method, path, body, headers)
        reply = self._connection.getresponse()
        content = reply.read()
        assert self._connection.sock is self._socket, (method, path[:200], reply.status, content[:500])
        assert reply.getheader("X-Hostile") is None, (method, path[:200])
        return reply.status, content

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def host() -> Iterator[TestHost]:
    """A host with everything that is installed, which counts no calls."""
    level = logging.getLogger().level
    unlimited = {"calls_per_second": 0, "requests_per_second": 0, "max_items": 10_000}
    plugins = {"xmlrpc": {"port": 0, "max_depth": 100}, "rest": {"port": 0}}
    with TestHost(installed=True, config={"plugin": plugins, "limits": unlimited}) as started:
        yield started
    logging.getLogger().setLevel(level)


@pytest.fixture(params=["bridge", "xmlrpc", "rest", "paths"])
def walk(request: pytest.FixtureRequest, host: TestHost) -> Iterator[Walk]:
    """A function that sends everything one way, and returns how many calls that were."""
    verbs = [verb for verb in host.bridge.verbs.values() if verb.plugin != "sample"]
    urls = {plugin.name: plugin.address for plugin in host.host.plugins()}
    way = request.param
    if way == "bridge":
        yield lambda every: _all(verbs, every, lambda verb, given: _call(host, verb, given))
        return
    client = Client(urls["xmlrpc" if way == "xmlrpc" else "rest"][0])
    if way == "xmlrpc":
        yield lambda every: _all(verbs, every, lambda verb, given: _xmlrpc(client, verb, given))
    elif way == "rest":
        yield lambda every: _all(verbs, every, lambda verb, given: _rest(client, verb, given))
    else:
        yield lambda every: _paths(client, verbs, every)
    client.close()


@pytest.mark.timeout(400)
def test_hostile_values(walk: Walk, host: TestHost) -> None:
    """A second walk takes no more memory, descriptors or objects than the first one has left."""
    assert walk(1) > 1_000
    before = _descriptors(), _resident()
    walk(4)
    until(lambda: _descriptors() <= before[0] + 2)
    assert _resident() - before[1] < 48 * MIB
    host.call("Host.ping")
    assert not Path("/tmp/hostile").exists()
    assert host.bridge.limits._clients.get("token:hostile") is None or not (
        host.bridge.limits._clients["token:hostile"].in_flight
    )


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def _all(verbs: list[Verb], every: int, send: Send) -> int:
    count = 0
    for verb in verbs:
        for value in islice(values(), 0, None, every):
            for given in arguments(verb, value):
                send(verb, given)
                count += 1
    return count


def _call(host: TestHost, verb: Verb, given: dict[str, Any]) -> None:
    context = Context(identity=ADMIN, binding="test", deadline=time.monotonic() + PATIENCE)
    try:
        host.bridge.call(verb.name, given, context)
    except UnexpectedError as error:
        pytest.fail(f"{verb.name}({str(given)[:300]}): {error} {error.__cause__!r}")
    except VdsmError:
        return


def _xmlrpc(client: Client, verb: Verb, given: dict[str, Any]) -> None:
    # 64-bit and larger numbers are sent as such, although the library does not.
    try:
        body = xmlrpc.client.dumps((verb.name, given), "system.callByName", allow_none=True)
    except OverflowError:
        body = xmlrpc.client.dumps(
            (verb.name, json.loads(json.dumps(given), parse_int=str)), "system.callByName", allow_none=True
        )
    body = re.sub("[\ud800-\udfff]", "&#xD800;", body)
    status, content = client.request("POST", "/RPC2", body.encode(), "text/xml")
    assert status == 200, (verb.name, str(given)[:300], content[:300])
    try:
        ((answer,), _) = xmlrpc.client.loads(content)
    except xmlrpc.client.Fault as fault:
        if fault.faultCode not in (1, -32600, -32700):
            pytest.fail(f"{verb.name}({str(given)[:300]}): {fault}")
        return
    slug = answer["status"].get("slug") if isinstance(answer, dict) and "status" in answer else None
    assert slug != "unexpected-error", (verb.name, str(given)[:300], answer)


def _rest(client: Client, verb: Verb, given: dict[str, Any]) -> None:
    body = json.dumps(given).encode()
    _check(client, "POST", f"/api/verbs/{quote(verb.name, safe='')}", body)


def _check(client: Client, method: str, path: str, body: bytes | None) -> None:
    status, content = client.request(method, path, body, "application/json")
    if status >= 400:
        problem = json.loads(content)
        assert problem["slug"] != "unexpected-error", (method, path[:300], (body or b"")[:300], problem)


def _paths(client: Client, verbs: list[Verb], every: int) -> int:
    """Send each hostile text as each part of each path, and as each parameter of each query."""
    count = 0
    for route in derive({verb.name: verb for verb in verbs}).routes:
        places = [argument for argument in route.arguments if argument.place is not Place.BODY]
        for argument in places:
            for text in TEXTS[::every]:
                if len(text) > 10_000:
                    continue
                path = re.sub(r"\{[^}]+\}", quote(text, safe="") or "%20", f"/api{route.path}")
                query = f"?{argument.param.name}={quote(text)}" if argument.place is Place.QUERY else ""
                body = b"{}" if route.method == "POST" else None
                _check(client, route.method, f"{path}{query}", body)
                count += 1
    return count


@pytest.mark.parametrize(
    "raw",
    [
        b'"\\ud800"', b"NaN", b"-Infinity", b"1e999", b"9" * 5_000, b'"\\u0000"', b'"\xff"', b"[" * 5_000,
        b"1" + b"0" * 400,
    ],
    ids=["surrogate", "NaN", "infinity", "1e999", "digits", "NUL", "bytes", "brackets", "large"],
)  # fmt: skip
def test_json_that_no_library_writes(host: TestHost, raw: bytes) -> None:
    """Values that JSON forbids, or that no number holds, are a typed error at every verb."""
    (url,) = (plugin.address[0] for plugin in host.host.plugins() if plugin.name == "rest")
    client = Client(url)
    for verb in host.bridge.verbs.values():
        for param in verb.params:
            body = b'{"%s": %s}' % (param.name.encode(), raw)
            _check(client, "POST", f"/api/verbs/{verb.name}", body)
    client.close()


def test_every_value_can_be_sent() -> None:
    """The table has no value that a client of REST could not send."""
    assert [
        str(value)[:80] for value in values() if not encodable(value) and not isinstance(value, int)
    ] == []


class Frail(Namespace):
    """A verb with a bug."""

    @query(access="monitor", since="1.0")
    def read(self, path: str) -> int:
        """Look at a file.

        :param path: not checked at all
        """
        return Path(path).stat().st_size


class Frailties(Feature):
    """The feature with that verb."""

    def namespaces(self) -> list[Namespace]:
        return [Frail()]


def test_a_bug_is_noticed() -> None:
    """A verb that passes a hostile value on to the system makes the walk fail, over each way in."""
    plugins = {"xmlrpc": {"port": 0}, "rest": {"port": 0}, "virt": {"enabled": False}}
    with TestHost(installed=True, verbs={"frail": Frailties}, config={"plugin": plugins}) as host:
        urls = {plugin.name: plugin.address for plugin in host.host.plugins()}
        frail = host.bridge.verbs["Frail.read"]
        with pytest.raises(pytest.fail.Exception, match=r"Frail\.read"):
            _all([frail], 1, lambda verb, given: _call(host, verb, given))
        for binding, send in (("xmlrpc", _xmlrpc), ("rest", _rest)):
            client = Client(urls[binding][0])
            with pytest.raises(AssertionError, match="unexpected-error"):
                _all([frail], 1, lambda verb, given, client=client, send=send: send(client, verb, given))
            client.close()
