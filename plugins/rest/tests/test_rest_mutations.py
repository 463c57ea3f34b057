"""Random and mutated requests: no 500, no traceback, and the daemon answers afterwards."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import soak

from .conftest import LAMP, Served
from .rest_client import RestClient

pytestmark = pytest.mark.soak

PATHS = [
    "/api/lamps", f"/api/lamps/{LAMP}", f"/api/lamps/{LAMP}/switch", f"/api/lamps/{LAMP}/burn",
    "/api/room/add", "/api/room/spellings", "/api/host/echo", "/api/verbs/Lamp.create", "/api/verbs/Room.add",
    "/api/tasks", "/api",
]  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [
        "lampID",
        "name",
        "lit",
        "left",
        "right",
        "message",
        "lamp",
        "hours",
        "watts",
        "filter",
        "limit",
        "fields",
        "big",
    ]
)
OBJECTS = st.dictionaries(NAMES | st.text(max_size=8), JSON, max_size=4)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Accept",
            "Accept-Encoding",
            "If-Match",
            "If-None-Match",
            "Idempotency-Key",
            "FlowID",
            "Prefer",
            "Content-Type",
            "Request-Timeout",
            "Origin",
            "Host",
        ]
    ),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40),
    max_size=3,
)
WHOLE = (
    b"POST /api/lamps/%s/switch?x=1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b'Content-Length: 13\r\n\r\n{"lit": true}' % LAMP.encode()
)
MANY = settings(
    max_examples=soak.count(1000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)


def fits(answer_status: int, body: bytes, content_type: str | None) -> bool:
    if answer_status >= 400:
        problem = json.loads(body) if body else {"status": answer_status}
        return answer_status < 500 and b"Traceback" not in body and problem["status"] == answer_status
    return content_type is None or not body or content_type == "application/json"


@MANY
@given(
    method=st.sampled_from(["GET", "POST", "POST", "DELETE", "PUT", "HEAD"]),
    path=st.sampled_from(PATHS) | st.text(max_size=20).map(lambda text: "/api/" + quote(text, safe="/")),
    query=st.lists(st.tuples(NAMES | st.text(max_size=5), st.text(max_size=10)), max_size=3),
    body=st.none() | OBJECTS | JSON | st.binary(max_size=40),
    headers=HEADERS,
)
def test_random_requests(
    served: Served, method: str, path: str, query: list[tuple[str, str]], body: Any, headers: dict[str, str]
) -> None:
    """Whatever is asked for, the answer is a result or a refusal that says why."""
    if query:
        path += "?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in query)
    with RestClient(served.url) as client:
        answer = client.request(method, path, body, headers)
        assert fits(answer.status, answer.body, answer["Content-Type"]), (answer.status, answer.body)
        assert client.get("/api/host/ping").status == 204


@MANY
@given(data=st.data())
def test_mutated_bytes(served: Served, data: st.DataObject) -> None:
    """A good request with bytes changed, lost or doubled is answered or closed, never with a 500."""
    message = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message) - 1))
        kind = data.draw(st.sampled_from(["change", "drop", "double"]))
        if kind == "change":
            message[at] = data.draw(st.integers(0, 255))
        elif kind == "drop":
            del message[at]
        else:
            message[at:at] = message[max(0, at - 5) : at + 5]
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as sock:
        sock.sendall(message)
        sock.shutdown(socket.SHUT_WR)
        got = b"".join(iter(lambda: sock.recv(65_536), b""))
    assert b"Traceback" not in got
    assert not got.startswith(b"HTTP/1.1 500")
    with RestClient(served.url) as client:
        assert client.get("/api/host/ping").status == 204
