"""Calling: arguments by place and by name, the envelope, introspection, many calls in one."""

from __future__ import annotations

import xmlrpc.client
from typing import Any

import pytest

from vdsm_bridge import Feature, Namespace, query
from vdsm_bridge.testing.tokens import LIMITED

from .conftest import LAMP, Serve, Served

DONE = {"code": 0, "message": "Done"}


def test_envelope(client: Any) -> None:
    """A status, and the result beside it; nothing beside it where there is no result."""
    assert client.Room.add(1, 2) == {"status": DONE, "result": 3}
    assert client.Host.ping() == {"status": DONE}


def test_places_and_names(client: Any) -> None:
    """Arguments stand in the declared order, or in one struct; nil is an argument that is not given."""
    assert client.Room.add(5)["result"] == 6
    assert client.Room.add({"right": 2, "left": 5})["result"] == 7
    assert client.Room.add(5, None)["result"] == 6
    assert client.Host.ping({})["status"] == DONE
    assert client.system.callByName("Room.add", {"right": 2, "left": 5})["result"] == 7


def test_struct_as_first_argument(client: Any) -> None:
    """Where the first parameter is a struct, one struct is that parameter."""
    lamp = {"lampID": LAMP.replace("1", "9"), "name": "n", "lamp": {"deep": ["x"]}}
    assert client.Lamp.create(lamp)["result"]["custom"] == {"lamp": {"deep": ["x"]}}
    lamp["lampID"] = LAMP.replace("1", "8")
    assert client.system.callByName("Lamp.create", {"lamp": lamp})["status"] == DONE


def test_text_for_numbers(client: Any) -> None:
    """Numbers and booleans may be spelled as text, as old clients do."""
    assert client.Room.add("5", "6")["result"] == 11
    assert client.Lamp.switch(LAMP, "true")["result"]["lit"] is True
    assert client.Lamp.switch(LAMP, "False")["result"]["lit"] is False


def test_long_numbers(client: Any) -> None:
    """A number over 32 bits never breaks a reply: it is text."""
    reply = client.Room.getSpellings(str(2**63 - 1))
    assert reply["result"]["big"] == "9223372036854775807"


@pytest.mark.parametrize(
    ("params", "slug", "code", "word"),
    [
        ((), "missing-argument", 11, "left"),
        ((1, 2, 3), "invalid-argument", 91, "3 arguments"),
        (("x",), "invalid-argument", 91, "left"),
        (({"left": 1, "middle": 2},), "invalid-argument", 91, "middle"),
        (([1],), "invalid-argument", 91, "left"),
        ((xmlrpc.client.Binary(b"1"),), "invalid-argument", 91, "left"),
        ((1.5,), "invalid-argument", 91, "left"),
    ],
)
def test_bad_arguments(client: Any, params: tuple[Any, ...], slug: str, code: int, word: str) -> None:
    """A call that does not fit is refused in the envelope, and the message names what does not."""
    status = client.Room.add(*params)["status"]
    assert (status["slug"], status["code"]) == (slug, code)
    assert word in status["message"]


def test_errors(client: Any) -> None:
    """An error of a verb is a reply with its code and slug; only an unknown method is a fault."""
    status = client.Lamp.getInfo(LAMP.replace("1", "7"))["status"]
    assert (status["slug"], status["code"]) == ("no-such-lamp", 100)
    with pytest.raises(xmlrpc.client.Fault, match=r"There is no method 'Lamp\.polish'") as caught:
        client.Lamp.polish()
    assert caught.value.faultCode == 1
    with pytest.raises(xmlrpc.client.Fault):
        client.system.shutdown()


def test_result_that_its_type_does_not_promise(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A verb that returns something else has a bug like any other: an id on the wire, the rest in the log."""

    class Liar(Namespace, plural="liar"):
        """Says one thing and does another."""

        @query(since="1.0")
        def lie(self) -> list[int]:
            """Promise numbers."""
            return [object()]  # type: ignore[list-item]

    class Lies(Feature):
        def namespaces(self) -> list[Namespace]:
            return [Liar()]

    served = serve(verbs={"lies": Lies})
    with served.proxy() as proxy:
        status = proxy.Liar.lie()["status"]  # type: ignore[index,call-overload]
    assert (status["code"], status["slug"]) == (16, "unexpected-error")
    assert "object" not in status["message"]
    assert status["message"].split()[-1] in caplog.text


def test_tasks(client: Any) -> None:
    """A task verb gives the id where VDSM gave it, and as its result."""
    reply = client.Lamp.burn(LAMP, 1)
    assert reply["result"] == {"taskID": reply["uuid"]}


def test_list_methods(client: Any, served: Served) -> None:
    """Canonical names, VDSM's names of the verbs that are there, and the system's own."""
    methods = client.system.listMethods()
    assert set(served.host.bridge.verbs) <= set(methods)
    assert {"ping", "getTaskStatus", "system.multicall"} <= set(methods)
    assert "destroy" not in methods  # no feature here has VM.destroy
    assert methods == sorted(methods)


def test_every_method_explains_itself(client: Any) -> None:
    """Help and signatures exist for each method that is listed."""
    for name in client.system.listMethods():
        assert client.system.methodHelp(name), name
        for signature in client.system.methodSignature(name):
            assert signature, name
            kinds = {"struct", "array", "string", "int", "boolean", "double", "base64", "any"}
            assert set(signature) <= kinds, name


def test_signatures(client: Any) -> None:
    """One signature for each number of arguments, and one by name; old names have places only."""
    sums = [["struct", "int"], ["struct", "int", "int"], ["struct", "struct"]]
    assert client.system.methodSignature("Room.add") == sums
    assert client.system.methodSignature("Host.ping") == [["struct"]]
    assert client.system.methodSignature("Lamp.create") == [["struct", "struct"]]
    assert client.system.methodSignature("getAllTasks") == [["struct"], ["struct", "any"]]
    assert "left: the first" in client.system.methodHelp("Room.add")
    assert "An old name of Task.getStatus" in client.system.methodHelp("getTaskStatus")


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("system.methodHelp", ()),
        ("system.methodHelp", ("no.such",)),
        ("system.methodSignature", (1,)),
        ("system.listMethods", (1,)),
        ("system.multicall", ("x",)),
        ("system.callByName", ("Room.add", [])),
        ("system.callByName", ("ping", {})),
    ],
)
def test_system_methods_refuse(client: Any, method: str, params: tuple[Any, ...]) -> None:
    """What the system's methods cannot do is a fault."""
    with pytest.raises(xmlrpc.client.Fault):
        getattr(client, method)(*params)


def test_multicall(client: Any) -> None:
    """Each call has its own answer, whatever becomes of its neighbours."""
    calls = [
        {"methodName": "Room.add", "params": [1, 2]},
        {"methodName": "Room.add", "params": ["x"]},
        {"methodName": "no.such", "params": []},
        {"methodName": "system.multicall", "params": [[]]},
        {"methodName": "Host.ping"},
        {"params": []},
        "nonsense",
    ]
    first, second, *others = client.system.multicall(calls)
    assert first == [{"status": DONE, "result": 3}]
    assert second[0]["status"]["slug"] == "invalid-argument"
    assert [answer["faultCode"] if isinstance(answer, dict) else 0 for answer in others] == [
        1,
        -32600,
        0,
        -32600,
        -32600,
    ]


def test_multicall_is_bounded(serve: Serve) -> None:
    """One request holds so many calls and no more."""
    served = serve(max_calls=3)
    with served.proxy() as proxy, pytest.raises(xmlrpc.client.Fault, match="3 calls"):
        proxy.system.multicall([{"methodName": "ping", "params": []}] * 4)


def test_multicall_with_request_id(served: Served) -> None:
    """Sent again under the same request id, none of its calls is carried out twice."""
    calls = [{"methodName": "Lamp.engrave", "params": [LAMP, text]} for text in "ab"]
    for _ in range(2):
        with served.proxy([("Request-Id", "order-1")]) as proxy:
            answers = proxy.system.multicall(calls)
    assert [answer[0]["result"]["marks"] for answer in answers] == [["a"], ["a", "b"]]  # type: ignore[union-attr,index]
    assert served.host.call("Lamp.getInfo", lampID=LAMP).marks == ["a", "b"]


def test_multicall_of_a_limited_token(served: Served) -> None:
    """Each of its calls is judged by itself, under whichever name, and a refused one gives nothing away."""
    mine = LAMP.replace("1", "7")
    served.host.call("Lamp.create", lamp={"lampID": mine, "name": "mine", "tags": "limited"})
    calls = [
        {"methodName": "Lamp.switch", "params": [mine, True]},
        {"methodName": "Lamp.switch", "params": [LAMP, True]},
        {"methodName": "system.callByName", "params": ["Lamp.switch", {"lit": True, "lampID": LAMP.upper()}]},
        {"methodName": "Lamp.list", "params": []},
        {"methodName": "Host.getQueues", "params": []},
    ]
    with served.proxy([("Authorization", f"Bearer {LIMITED}"), ("Request-Id", "r")]) as proxy:
        answers = [answer[0] for answer in proxy.system.multicall(calls)]  # type: ignore[union-attr,index]
    slugs = [answer["status"].get("slug", "") for answer in answers]
    assert slugs == ["", "out-of-scope", "out-of-scope", "", "out-of-scope"]
    assert [lamp["lampID"] for lamp in answers[3]["result"]] == [mine]
    assert not served.host.call("Lamp.getInfo", lampID=LAMP).lit


def test_large_reply(client: Any, served: Served) -> None:
    """A reply of many pieces arrives whole, over a connection that stays usable."""
    notes = {f"key-{number}": "<value>" * 100 for number in range(50)}
    for number in range(60):
        spec = {"lampID": f"22222222-2222-4333-8444-{number:012x}", "name": "\u00e4" * 60, **notes}
        served.host.call("Lamp.create", lamp=spec)
    for _ in range(2):
        lamps = client.Lamp.list()["result"]
        assert len(lamps) == 61
        assert all(lamp["custom"] == notes for lamp in lamps[1:])


def test_multicall_with_large_results(serve: Serve) -> None:
    """Results are counted together: above the limit no further call is made, and each has the error."""
    served = serve(max_reply=65_536)
    text = "x" * 40_000
    with served.proxy() as proxy:
        answers = proxy.system.multicall([{"methodName": "Host.echo", "params": [text]}] * 5)
    assert [answer[0]["result"] for answer in answers[:2]] == [text] * 2  # type: ignore[index]
    for answer in answers[2:]:
        assert answer["faultCode"] == -32600  # type: ignore[index,call-overload]
        assert "Not called: the results before this one exceed 65536 bytes" in answer["faultString"]  # type: ignore[index,call-overload]
