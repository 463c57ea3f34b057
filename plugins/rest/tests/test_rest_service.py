"""Requests and replies: status codes, headers, bodies."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from vdsm_bridge import Feature, Namespace, action, query
from vdsm_bridge.api.routes import derive
from vdsm_bridge.errors import ResourceExhausted, Unavailable
from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.tokens import TOKENS
from vdsm_core import config as configuration
from vdsm_core.errors import HypervisorDeadline
from vdsm_rest import RestBinding, RestOptions

from .conftest import LAMP, Serve, Served
from .rest_client import RestClient

ITEM = f"/api/lamps/{LAMP}"
#: A UUID that no object has.
NOBODY = "99999999-9999-4999-8999-999999999999"


def lamp(**members: object) -> dict[str, object]:
    return {"lampID": str(uuid.uuid4()), "name": "new", **members}


def test_root(client: RestClient) -> None:
    """The entry point names product, version, capabilities and where everything else is."""
    root = client.get("/api").json
    assert root["product_info"]["name"] == "vdsm"
    assert root["product_info"]["version"].keys() >= {"major", "minor", "build", "revision"}
    assert "filter" in root["capabilities"]
    expected = {"lamps", "tasks", "host/plugins", "host/ping", "service-doc", "service-desc"}
    assert {link["rel"] for link in root["links"]} >= expected
    for link in root["links"]:
        # A stream of events has no end that GET could wait for.
        method = "HEAD" if link["rel"] == "events" else "GET"
        assert client.request(method, link["href"]).status in (200, 204), link


def test_front_door(client: RestClient) -> None:
    """A request without a path is redirected to the page for people."""
    front = client.get("/")
    assert (front.status, front["Location"]) == (303, "/api/docs")
    assert client.get(front["Location"])["Content-Type"].startswith("text/html")
    assert client.post("/", {}).status == 404


def test_life_of_an_object(client: RestClient) -> None:
    """Create, read, change and delete, each with its status; unknown members are kept."""
    spec = lamp(holder="E27")
    made = client.post("/api/lamps", spec)
    assert made.status == 201
    assert made["Location"] == f"/api/lamps/{spec['lampID']}"
    item = client.get(made["Location"])
    assert item.status == 200
    assert item.json == made.json
    assert item.json["custom"] == {"holder": "E27"}
    assert client.post(f"{made['Location']}/switch", {"lit": True}).json["lit"] is True
    assert item.json["lampID"] in {each["lampID"] for each in client.get("/api/lamps").json}
    gone = client.delete(made["Location"])
    assert (gone.status, gone.body) == (204, b"")
    assert client.get(made["Location"]).status == 404


def test_task(client: RestClient) -> None:
    """A task verb answers 202 at once, with the place where the task can be watched."""
    started = client.post(f"{ITEM}/burn", {"hours": 1})
    assert started.status == 202
    assert started["Location"] == f"/api/tasks/{started.json['taskID']}"
    assert client.get(started["Location"]).json["verb"] == "Lamp.burn"
    assert client.get(f"{started['Location']}/status").json["taskID"] == started.json["taskID"]
    assert [task["id"] for task in client.get("/api/tasks").json] == [started.json["taskID"]]


def test_query_string(client: RestClient) -> None:
    """Arguments in a query string are text, and are converted to what the verb declares."""
    assert client.get("/api/room/add?left=2&right=-5").json == -3
    assert client.get("/api/host/echo?message=a%26b%20%C3%A4%2F").json == "a&b ä/"


def test_any_verb_by_name(client: RestClient) -> None:
    """Each verb is at /api/verbs, too, with all its arguments in one object."""
    assert client.post("/api/verbs/Room.add", {"left": 2, "right": 3}).json == 5
    assert client.post("/api/verbs/Lamp.getInfo", {"lampID": LAMP}).json["name"] == "first"


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "slug"),
    [
        ("POST", "/api/lamps", b"{", {}, 400, "malformed-request"),
        ("POST", "/api/lamps", b"\xff", {}, 400, "malformed-request"),
        ("POST", "/api/lamps", b"[" * 100 + b"]" * 100, {}, 400, "malformed-request"),
        ("POST", "/api/lamps", b"[" * 99_999, {}, 400, "malformed-request"),
        ("GET", "/api/host/echo?message=%ff", None, {}, 400, "malformed-request"),
        ("GET", "/api/lamps/%ff", None, {}, 400, "malformed-request"),
        ("DELETE", ITEM, b"{}", {}, 400, "malformed-request"),
        ("GET", ITEM, None, {"Idempotency-Key": "x" * 300}, 400, "malformed-request"),
        ("GET", ITEM, None, {"FlowID": "\u00e4"}, 400, "malformed-request"),
        ("GET", ITEM, None, {"Request-Timeout": "soon"}, 400, "malformed-request"),
        ("GET", "/api/host/ping", None, {"Authorization": "Bearer wrong"}, 401, "unauthenticated"),
        ("GET", "/api/host/ping", None, {"Authorization": "Basic YTpi"}, 401, "unauthenticated"),
        ("GET", "/api", None, {"Authorization": "Bearer wrong"}, 401, "unauthenticated"),
        ("GET", "/api/nothing", None, {}, 404, "no-such-resource"),
        ("GET", "/elsewhere", None, {}, 404, "no-such-resource"),
        ("GET", "/api/lamps/a/b/c/d", None, {}, 404, "no-such-resource"),
        ("GET", f"/api/lamps/{NOBODY}", None, {}, 404, "no-such-lamp"),
        ("POST", "/api/verbs/Lamp.polish", {}, {}, 404, "no-such-verb"),
        ("PUT", ITEM, {}, {}, 405, "method-not-allowed"),
        ("PATCH", "/api/lamps", {}, {}, 405, "method-not-allowed"),
        ("POST", "/api", {}, {}, 405, "method-not-allowed"),
        ("GET", "/api/lamps", None, {"Accept": "text/html"}, 406, "not-acceptable"),
        ("GET", "/api/lamps", None, {"Accept": "application/json;q=0, */*"}, 406, "not-acceptable"),
        ("POST", "/api/lamps", {"lampID": LAMP, "name": "a"}, {}, 409, "lamp-exists"),
        ("GET", ITEM, None, {"If-Match": '"stale"'}, 412, "precondition-failed"),
        ("DELETE", ITEM, None, {"If-Match": '"stale"'}, 412, "precondition-failed"),
        (
            "POST",
            "/api/lamps",
            {"lampID": NOBODY, "name": "a"},
            {"If-Match": "*"},
            412,
            "precondition-failed",
        ),
        ("POST", "/api/lamps", b"a=b", {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
        (
            "POST",
            "/api/lamps",
            b"{}",
            {"Content-Type": "application/json; charset=utf-16"},
            415,
            "unsupported-media-type",
        ),
        ("POST", "/api/lamps", None, {}, 422, "missing-argument"),
        ("POST", "/api/lamps", b"null", {}, 422, "invalid-argument"),
        ("POST", "/api/lamps", {"name": "a"}, {}, 422, "missing-argument"),
        ("POST", "/api/lamps", {"lamp": {"name": "a"}}, {}, 422, "invalid-argument"),
        ("POST", f"{ITEM}/switch", {"lit": "yes"}, {}, 422, "invalid-argument"),
        ("POST", f"{ITEM}/switch", {"lit": True, "lampID": LAMP}, {}, 422, "invalid-argument"),
        ("POST", f"{ITEM}/switch", [], {}, 422, "invalid-argument"),
        ("GET", "/api/lamps/x", None, {}, 422, "invalid-argument"),
        ("GET", "/api/room/add?left=one", None, {}, 422, "invalid-argument"),
        ("GET", "/api/room/add?left=1&left=2", None, {}, 422, "invalid-argument"),
        ("GET", "/api/room/add?left=1&middle=2", None, {}, 422, "invalid-argument"),
        ("GET", f"{ITEM}?limit=1", None, {}, 422, "invalid-argument"),
        ("POST", "/api/room/break-down", None, {}, 500, "unexpected-error"),
    ],
)
def test_refusals(
    client: RestClient,
    method: str,
    path: str,
    body: object,
    headers: dict[str, str],
    status: int,
    slug: str,
) -> None:
    """Each refusal has its status and is a problem document; the next request is served."""
    answer = client.request(method, path, body, headers)
    problem = answer.json
    assert (answer.status, problem["slug"]) == (status, slug)
    assert answer["Content-Type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["type"].endswith(slug)
    assert problem.keys() == {"type", "title", "status", "detail", "slug", "code", "facts"}
    assert "Traceback" not in problem["detail"]
    assert client.get("/api/host/ping").status == 204


def test_times_that_do_not_fit(served: Served, client: RestClient) -> None:
    """504: the deadline passed, and the problem says at which place in the queue."""
    with ThreadPoolExecutor(1) as pool, RestClient(served.url) as slow:
        call = pool.submit(slow.post, f"{ITEM}/engrave", {"text": "slow", "pause": 0.6})
        until(lambda: served.host.call("Host.getQueues"))
        late = client.post(f"{ITEM}/switch", {"lit": True}, Request_Timeout="0.1")
        assert call.result(20).status == 200
    assert (late.status, late.json["slug"]) == (504, "queue-deadline")
    assert (late.json["facts"]["place"], late.json["facts"]["holder"]) == (1, "Lamp.engrave")
    assert late["Retry-After"] is None


@pytest.mark.parametrize(
    ("slug", "status"), [("unavailable", 503), ("resource-exhausted", 429), ("hypervisor-deadline", 504)]
)
def test_come_again(serve: Serve, slug: str, status: int) -> None:
    """Temporary errors differ from permanent ones, and have the time of a retry."""

    class Moody(Namespace):
        """It depends."""

        @action(since="1.0")
        def ask(self) -> None:
            """Refuse."""
            if status == 504:
                raise HypervisorDeadline(operation="ask", object="moon", seconds=1.0)
            raise (Unavailable if status == 503 else ResourceExhausted)(reason="not now")

    class Moods(Feature):
        """A plugin with moods."""

        def namespaces(self) -> list[Namespace]:
            return [Moody()]

    with RestClient(serve(verbs={"moods": Moods}).url) as client:
        answer = client.post("/api/verbs/Moody.ask")
    assert (answer.status, answer.json["slug"]) == (status, slug)
    assert answer["Retry-After"] == (None if status == 504 else "1")


def test_allow(client: RestClient) -> None:
    """The refusal of a method lists the allowed ones, as does OPTIONS."""
    assert client.request("PUT", ITEM)["Allow"] == "DELETE, GET, HEAD, OPTIONS"
    options = client.request("OPTIONS", f"{ITEM}/switch")
    assert (options.status, options["Allow"]) == (204, "OPTIONS, POST")


def test_head(client: RestClient) -> None:
    """HEAD answers as GET, without the body."""
    got, head = client.get(ITEM), client.request("HEAD", ITEM)
    assert (head.status, head.body) == (200, b"")
    assert head["ETag"] == got["ETag"]
    assert int(head["Content-Length"]) == len(got.body)


def test_no_result(client: RestClient) -> None:
    """A reply without a result has no body."""
    answer = client.get("/api/host/ping")
    assert (answer.status, answer.body, answer["Content-Length"]) == (204, b"", None)


def test_entity_tags(client: RestClient) -> None:
    """A tag is the same until the object changes, and conditions hold on it."""
    first = client.get(ITEM)
    assert client.get(ITEM)["ETag"] == first["ETag"]
    unchanged = client.get(ITEM, If_None_Match=f'"x", W/{first["ETag"]}')
    assert (unchanged.status, unchanged.body, unchanged["ETag"]) == (304, b"", first["ETag"])
    assert client.post(f"{ITEM}/switch", {"lit": True}, If_Match=first["ETag"]).status == 200
    changed = client.get(ITEM, If_None_Match=first["ETag"])
    assert changed.status == 200
    assert client.post(f"{ITEM}/switch", {"lit": False}, If_Match=first["ETag"]).status == 412
    assert client.get(ITEM).json["lit"] is True
    assert client.delete(ITEM, If_Match=f"W/{changed['ETag']}").status == 412
    assert client.delete(ITEM, If_Match=changed["ETag"]).status == 204


def test_condition_on_what_is_gone(client: RestClient) -> None:
    """What does not exist is not found, whatever the condition."""
    assert client.delete(f"/api/lamps/{NOBODY}", If_Match="*").status == 404


def test_idempotency_key(client: RestClient) -> None:
    """The same key brings the first answer, quoted or not; with another request it is refused."""
    spec = lamp()
    first = client.post("/api/lamps", spec, Idempotency_Key="k1")
    again = client.post("/api/lamps", spec, Idempotency_Key='"k1"')
    assert (first.status, again.status) == (201, 201)
    assert again.json == first.json
    reused = client.post("/api/lamps", lamp(), Idempotency_Key="k1")
    assert (reused.status, reused.json["slug"]) == (422, "request-id-reused")


def test_idempotency_key_and_condition(client: RestClient) -> None:
    """What was answered before is answered again, although the condition no longer holds."""
    conditions = {"If_Match": client.get(ITEM)["ETag"] or "", "Idempotency_Key": "k2"}
    switched = [client.post(f"{ITEM}/switch", {"lit": True}, **conditions) for _ in range(2)]
    assert [answer.status for answer in switched] == [200, 200]
    stale = client.post(f"{ITEM}/switch", {"lit": False}, If_Match=conditions["If_Match"])
    assert stale.json["detail"] == f"The condition on '{ITEM}/switch' does not hold: it has changed"


def test_revision_follows_the_verbs(served: Served, client: RestClient) -> None:
    """Every reply carries the revision; when verbs go, it changes, and their routes are gone."""
    before = client.get(ITEM)
    assert before["Vdsm-Revision"] == served.host.bridge.revision
    config = {"plugin": {"rest": {"port": 0}, "sample": {"enabled": False}}}
    base = served.host.host.config
    tables = {**base.plugin, **config["plugin"], "rest": base.plugin["rest"]}
    served.host.host.reload(
        configuration.Config(
            daemon=base.daemon,
            hypervisor=base.hypervisor,
            access=base.access,
            plugin=tables,
            origin=base.origin,
        )
    )
    after = client.get(ITEM)
    assert after.status == 404
    assert after["Vdsm-Revision"] != before["Vdsm-Revision"]
    assert "/api/lamps" not in client.get("/api/openapi.json").json["paths"]


@pytest.mark.parametrize(("role", "status"), [("monitor", 403), ("operator", 200), ("admin", 200)])
def test_roles(client: RestClient, role: str, status: int) -> None:
    """A token's role decides."""
    headers = {"Authorization": f"Bearer {TOKENS[role]}"}
    assert client.request("POST", f"{ITEM}/switch", {"lit": True}, headers).status == status


def test_credentials_are_needed(serve: Serve) -> None:
    """Without a role for loopback only the page for people is open; it has no data of the host."""
    served = serve(access={"loopback": "none"})
    with RestClient(served.url) as client:
        refused = client.get("/api/host/ping")
        assert refused.status == 401
        assert refused["WWW-Authenticate"].startswith("Bearer")
        for path in ("/api", "/api/openapi.json", "/api/nothing"):
            assert client.get(path).status == 401
        assert client.get("/api/docs").status == 200
        # The connection is known by its token now, and only while it is shown.
        assert client.get("/api/host/ping", Authorization=f"Bearer {TOKENS['monitor']}").status == 204
        assert client.get("/api/host/ping").status == 401


def test_whole_numbers_of_json(client: RestClient) -> None:
    """1.0 is a whole number in JSON, 1.5 is none."""
    assert client.post("/api/verbs/Room.add", b'{"left": 1.0, "right": 1e2}').json == 101
    assert client.post("/api/verbs/Room.add", b'{"left": 1.5}').status == 422


def test_own_routes_answer_as_the_names_do(served: Served, client: RestClient) -> None:
    """Every query that needs no argument gives the same on its own route as by its name."""
    routes = [route for route in derive(served.host.bridge.verbs).routes if route.method == "GET"]
    plain = [route for route in routes if not any(argument.param.required for argument in route.arguments)]
    assert len(plain) > 10
    for route in plain:
        own = client.get(f"/api{route.path}")
        named = client.post(f"/api/verbs/{route.verb.name}")
        assert own.status == named.status
        if route.part != "list":
            assert own.body == named.body


def test_routes_that_clash(serve: Serve) -> None:
    """Two verbs claim one route: the binding serves and reports it, and both can be called by name."""

    class Moon(Namespace, key="moonID"):
        """A lamp of the night."""

        @query(since="1.0")
        def get_phase(self) -> str:
            """What is lit."""
            return "full"

        @query(since="1.0")
        def phase(self) -> str:
            """The same path once `get` is off."""
            return "new"

    class Moons(Feature):
        """A plugin with a slip."""

        def namespaces(self) -> list[Namespace]:
            return [Moon()]

    served = serve(verbs={"moons": Moons})
    binding = RestBinding(served.host.bridge, RestOptions(port=0))
    assert binding.health().state == "degraded"
    assert "Moon.getPhase and Moon.phase have the same route GET /moons/phase" in binding.health().reason
    with RestClient(served.url) as client:
        assert client.get("/api/moons/phase").json == "full"
        assert client.post("/api/verbs/Moon.phase").json == "new"
