"""The steps of a request: their order, what each reply has, bugs in them, compression."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cherrypy
import pytest
from cherrypy.lib import httputil

from vdsm_bridge.testing.tokens import TOKENS
from vdsm_http import OriginCheck, Request
from vdsm_rest import RestBinding, RestOptions, etags
from vdsm_rest.application import ApiApplication
from vdsm_rest.exchange import ApiResponse
from vdsm_rest.negotiation import accepts_gzip
from vdsm_rest.service import Service

from .conftest import LAMP, Serve, Served
from .rest_client import RestClient

ITEM = f"/api/lamps/{LAMP}"
NOBODY = "99999999-9999-4999-8999-999999999999"


@contextmanager
def bound(served: Served, **options: Any) -> Iterator[RestBinding]:
    """A second binding of a host, for what tests do to it."""
    binding = RestBinding(served.host.bridge, RestOptions(port=0, **options))
    binding.start()
    try:
        yield binding
    finally:
        binding.stop(1.0)


def test_order_of_refusals(client: RestClient) -> None:
    """A request with many faults is refused for the first, in the order of the steps."""
    faults: dict[str, tuple[str, str, int]] = {
        "origin": ("Host", "evil.example", 421),
        "authenticate": ("Authorization", "Bearer wrong", 401),
        "context": ("FlowID", "\u00e4", 400),
        "accept": ("Accept", "text/html", 406),
        "arguments": ("Content-Type", "text/plain", 415),
    }
    headers = {name: value for name, value, _ in faults.values()}
    for name, _, status in faults.values():
        answer = client.request("POST", "/api/lamps", b"{}", headers)
        assert answer.status == status, name
        headers.pop(name)
    assert client.request("POST", "/api/lamps", b"{}", headers).status == 422


@pytest.mark.parametrize("path", ["/api/nothing", "/api/lamps/%ff", "/api/lamps"])
def test_strangers_do_not_learn_the_paths(client: RestClient, path: str) -> None:
    """A request without credentials is refused, for any path and method."""
    answer = client.request("PUT", path, headers={"Authorization": "Bearer wrong"})
    assert answer.status == 401


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 303),
        ("GET", "/api/host/ping", {}, 204),
        ("GET", ITEM, {}, 200),
        ("HEAD", ITEM, {}, 200),
        ("GET", ITEM, {"If-None-Match": "*"}, 304),
        ("GET", ITEM, {"If-Match": '"stale"'}, 412),
        ("OPTIONS", ITEM, {}, 204),
        ("PUT", ITEM, {}, 405),
        ("GET", "/api/docs", {}, 200),
        ("GET", "/api/nothing", {}, 404),
        ("GET", "/api", {"Authorization": "Bearer wrong"}, 401),
        ("GET", "/api", {"Host": "evil.example"}, 421),
        ("HEAD", "/api/events", {}, 200),
        ("POST", "/api/room/break-down", {}, 500),
    ],
)
def test_headers_of_every_reply(
    served: Served, client: RestClient, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """Every reply has the revision, and is to be taken for what it says; refusals have no tags."""
    answer = client.request(method, path, headers=headers)
    assert answer.status == status
    assert answer["Vdsm-Revision"] == served.host.bridge.revision
    assert answer["X-Content-Type-Options"] == "nosniff"
    if status >= 400:
        assert answer["ETag"] is None
        assert answer["Cache-Control"] is None


def bugs(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged with a traceback."""
    return [record for record in caplog.records if record.exc_info and record.levelno >= logging.INFO]


def test_bug_in_a_step(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """It ends its request with an incident that is logged once, with the traceback; the next is served."""

    class Broken(OriginCheck):
        def check(self, request: Request, *, navigable: bool = False) -> None:
            raise ZeroDivisionError("a bug")

    with bound(served) as binding, RestClient(binding.address[0]) as client:
        service = binding._service
        sound, service.origin = service.origin, Broken()
        answer = client.get(ITEM)
        service.origin = sound
        assert client.get(ITEM).status == 200
    assert (answer.status, answer.json["slug"]) == (500, "unexpected-error")
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["Vdsm-Revision"] == served.host.bridge.revision
    assert b"a bug" not in answer.body
    (record,) = bugs(caplog)
    assert answer.json["facts"]["incident"] in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_bug_after_the_handler(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the reply that was made is left in the one that is sent."""

    def broken(body: bytes) -> str:
        raise ZeroDivisionError

    with RestClient(served.url) as client:
        monkeypatch.setattr(etags, "etag_of", broken)
        answer = client.get("/api/lamps")
        monkeypatch.undo()
        assert client.get("/api/lamps").status == 200
    assert (answer.status, answer.json["slug"]) == (500, "unexpected-error")
    assert answer["Total-Count"] is None
    assert len(bugs(caplog)) == 1


def test_a_reply_that_is_dropped_frees_its_stream() -> None:
    """A stream that was opened for a reply which is then replaced is closed."""

    class Stream:
        closed = False

        def close(self) -> None:
            self.closed = True

    stream: Any = Stream()
    response = ApiResponse()
    response.events = stream
    response.drop()
    assert stream.closed
    assert response.events is None


def test_configuration_is_applied_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request to a resource attaches the hooks of its tools; later ones find the same."""
    attached: list[str] = []
    attach = cherrypy.Tool._setup

    def counting(tool: Any) -> None:
        attached.append(tool._name)
        attach(tool)

    monkeypatch.setattr(cherrypy.Tool, "_setup", counting)
    application = ApiApplication(Service(served.host.bridge, RestOptions()))

    def ask(method: str, path: str) -> set[str]:
        attached.clear()
        application(Request(method, path, headers={"host": "localhost"}))
        return set(attached)

    every = {"origin", "headers"}
    reading = every | {"authenticate", "context", "accept", "arguments", "coding", "etags", "compress"}
    assert ask("GET", ITEM) == reading
    assert ask("GET", f"/api/lamps/{NOBODY}") == set()
    assert ask("HEAD", ITEM) == set()
    assert ask("POST", f"{ITEM}/switch") == reading - {"etags"}
    assert ask("GET", "/api/nothing") == every | {"authenticate"}
    assert ask("PUT", ITEM) == set()
    assert ask("GET", "/api/docs") == every | {"accept", "coding", "etags", "compress"}


def test_nothing_of_cherrypy_that_is_slow_on_purpose_built_requests(
    client: RestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where CherryPy's time grows with the square of what a client sends, it is not used."""

    def used(*_: Any, **__: Any) -> None:
        raise AssertionError("CherryPy searches the path, or splits a header")

    monkeypatch.setattr(cherrypy.Application, "find_config", used)
    monkeypatch.setattr(httputil, "header_elements", used)
    lists = dict.fromkeys(("Accept", "Accept-Encoding", "If-None-Match", "Prefer"), '"a", b;q=0.5, */*')
    assert client.request("GET", ITEM, headers=lists).status == 200
    assert client.request("GET", "/api" + "/a" * 50_000).status == 404


# Compression.

LONG = "a machine " * 1000


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON ; charset=UTF-8", 200),
        ('application/json; a=b; charset="us-ascii"', 200),
        ("application/json;;", 200),
        ("", 415),
        (";", 415),
        ("application/json2", 415),
        ("application/problem+json", 415),
        ("application/json; charset=latin-1", 415),
        ("application/json; charset=utf-8; charset=utf-16", 415),
    ],
)
def test_media_types(client: RestClient, content_type: str, status: int) -> None:
    """A body is JSON in UTF-8, however that is spelled."""
    answer = client.request("POST", "/api/verbs/Room.add", b'{"left": 1}', {"Content-Type": content_type})
    assert answer.status == status


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("br, *;q=0.1", True),
        ("gzip;q=0.5, identity;q=0.5", True),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=nonsense", False),
        ("*;q=0", False),
        (",;,=", False),
    ],
)
def test_who_accepts_gzip(header: str, wanted: bool) -> None:
    """What a client likes at least as much as the plain bytes, by the most specific name."""
    assert accepts_gzip(header) == wanted


def test_large_replies_are_compressed(serve: Serve) -> None:
    """Above the size, for who accepts it, on results of all kinds; what is sent is said."""
    with RestClient(serve(gzip_above=4096).url) as client:
        for method, path, body in (
            ("GET", f"/api/host/echo?message={LONG.replace(' ', '%20')}", None),
            ("POST", "/api/verbs/Host.echo", {"message": LONG}),
            ("GET", "/api/openapi.json", None),
        ):
            plain = client.request(method, path, body)
            packed = client.request(method, path, body, {"Accept-Encoding": "gzip"})
            assert (plain.status, packed.status) == (200, 200)
            assert plain["Content-Encoding"] is None
            assert (packed["Content-Encoding"], packed["Content-Type"]) == ("gzip", "application/json")
            assert len(packed.body) < len(plain.body) / 2
            assert int(packed["Content-Length"]) == len(packed.body)
            assert gzip.decompress(packed.body) == plain.body
            # A cache must not give one to who wants the other.
            assert plain["Vary"] == packed["Vary"] == "Accept-Encoding"


def test_small_replies_are_not_compressed(serve: Serve) -> None:
    """Up to the size, a reply is the same whatever is accepted, and errors, too."""
    with RestClient(serve(gzip_above=4096).url) as client:
        text = "x" * 4094  # and two quotes
        for path, status in ((f"/api/host/echo?message={text}", 200), ("/api/nothing", 404)):
            answer = client.get(path, Accept_Encoding="gzip")
            assert (answer.status, answer["Content-Encoding"], answer["Vary"]) == (status, None, None)
        assert client.get(f"/api/host/echo?message={text}x", Accept_Encoding="gzip")["Vary"]


def test_only_codings_that_are_unknown(serve: Serve) -> None:
    """Who accepts nothing that we have gets the plain bytes: an action that was done is no error."""
    with RestClient(serve(gzip_above=1024).url) as client:
        answer = client.post("/api/verbs/Host.echo", {"message": LONG}, Accept_Encoding="br")
    assert (answer.status, answer["Content-Encoding"], answer.json) == (200, None, LONG)


def test_tags_of_compressed_replies(serve: Serve) -> None:
    """The coding has a strong tag of its own, for the same bytes each time; conditions take either."""
    with RestClient(serve(gzip_above=1024).url) as client:
        item = {"lampID": NOBODY, "name": "large", "notes": LONG[:2000]}
        assert client.post("/api/lamps", item).status == 201
        path = f"/api/lamps/{NOBODY}"
        plain, packed, again, head = (
            client.request(method, path, headers={"Accept-Encoding": coding})
            for method, coding in (("GET", "identity"), ("GET", "gzip"), ("GET", "gzip"), ("HEAD", "gzip"))
        )
        assert packed["ETag"] != plain["ETag"]
        assert (again["ETag"], again.body) == (packed["ETag"], packed.body)
        assert (head["ETag"], head["Content-Length"]) == (packed["ETag"], str(len(packed.body)))
        for known in (plain["ETag"], packed["ETag"]):
            for coding, tag in (("identity", plain["ETag"]), ("gzip", packed["ETag"])):
                same = client.get(path, If_None_Match=known, Accept_Encoding=coding)
                assert (same.status, same["ETag"], same.body) == (304, tag, b"")
                assert same["Content-Encoding"] is None
                assert same["Vary"] == "Accept-Encoding"
        assert client.get(path, If_Match=packed["ETag"]).status == 200
        assert client.post(f"{path}/switch", {"lit": True}, If_Match=packed["ETag"]).status == 200
        assert client.post(f"{path}/switch", {"lit": False}, If_Match=packed["ETag"]).status == 412
        assert client.delete(path, If_Match=f"W/{packed['ETag']}").status == 412


def test_streams_are_not_compressed(client: RestClient) -> None:
    """Events are sent one by one, whatever is accepted."""
    answer = client.request("HEAD", "/api/events", headers={"Accept-Encoding": "gzip"})
    assert (answer.status, answer["Content-Encoding"]) == (200, None)


@pytest.mark.parametrize("role", ["monitor", "operator"])
def test_a_request_leaves_nothing_to_the_next(client: RestClient, role: str) -> None:
    """Who called, and what was asked for, is forgotten with the request that said it."""
    headers = {"Authorization": f"Bearer {TOKENS[role]}", "Accept-Encoding": "gzip"}
    assert client.request("GET", f"{ITEM}?fields=name", headers=headers).json == {"name": "first"}
    assert "lampID" in client.get(ITEM).json
    assert client.post(f"{ITEM}/switch", {"lit": True}).status == 200
