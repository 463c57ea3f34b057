"""Optional arguments: consoles of the first QMF send the stated default, others null or nothing."""

from __future__ import annotations

import ast
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from vdsm_bridge import Feature, Namespace, query
from vdsm_bridge.testing import TestHost
from vdsm_qmf.schema.classes import build
from vdsm_qmf.testing import RabbitMQ

from .amqp_bytes import plain, v1_map
from .conftest import MakeHost
from .probe import Probe

AGENT = "vdsm:vdsmd:h"
QUERY = {"qmf.opcode": "_query_request"}
METHOD = {"qmf.opcode": "_method_request"}
LAMP = "00000000-0000-4000-8000-000000000013"


class Shelf(Namespace, name="Shelf", plural="shelf"):
    """One optional argument of each kind."""

    @query(since="1.0")
    def put(
        self,
        item: str,
        text: str = "plain",
        label: str | None = None,
        count: int = 3,
        limit: int | None = None,
        ratio: float = 0.5,
        flag: bool = True,
        names: list[str] = ["a"],  # noqa: B006 - never changed
        table: dict[str, int] | None = None,
        mood: str | None = "good",
    ) -> dict[str, Any]:
        """Return what has come."""
        return {name: value for name, value in locals().items() if name != "self"}

    @query(since="1.0")
    def ask(self, sure: bool | None = None) -> str:
        """Return what has come, as text."""
        return str(sure)


DEFAULTS = {
    "text": "plain",
    "label": None,
    "count": 3,
    "limit": None,
    "ratio": 0.5,
    "flag": True,
    "names": ["a"],
    "table": None,
    "mood": "good",
}


class ShelfFeature(Feature):
    """The feature `shelf`."""

    def namespaces(self) -> list[Namespace]:
        return [Shelf()]


@pytest.fixture
def probe(broker: RabbitMQ, on_bus: MakeHost) -> Iterator[Probe]:
    host = on_bus("h", verbs={"shelf": ShelfFeature})
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    with Probe(broker.url) as probe:
        yield probe


def v1_methods(probe: Probe, name: str) -> dict[str, list[dict[str, Any]]]:
    """Return the methods of a class and their arguments in the binary schema of QMFv1."""
    probe.send({"_what": "SCHEMA_ID", "_schema_id": {"_class_name": name}}, QUERY, to=AGENT, cid=name)
    digest = plain(probe.answer(name)["amqp-value"])[0]["_hash"].bytes
    head = b"".join(bytes((len(text),)) + text for text in (b"vdsm", name.encode())) + digest
    probe.send(b"AM2S" + struct.pack(">I", 1) + head, None, to=AGENT)
    data = probe.wait(lambda m: "data" in m and head in m["data"].value)["data"].value
    at = 9 + len(head)
    counts, at = struct.unpack_from(">HHH", data, at), at + 6
    for _ in range(counts[0] + counts[1]):
        _, at = v1_map(data, at)
    methods: dict[str, list[dict[str, Any]]] = {}
    for _ in range(counts[2]):
        method, at = v1_map(data, at)
        arguments = methods[method["name"]] = []
        for _ in range(method["argCount"]):
            argument, at = v1_map(data, at)
            arguments.append(argument)
    return methods


def filled_in(arguments: list[dict[str, Any]], given: dict[str, Any]) -> dict[str, Any]:
    """What console.py sends: every argument, or it sends nothing at all."""
    wanted = [one for one in arguments if "I" in one["dir"]]
    missing = [one["name"] for one in wanted if one["name"] not in given and "default" not in one]
    assert not missing, f"console.py insists on {missing}"
    return {one["name"]: given.get(one["name"], of_text(one)) for one in wanted}


def of_text(argument: dict[str, Any]) -> Any:
    """Convert a default as console.py does: numbers of other types, booleans and maps."""
    text, type_ = argument.get("default"), argument["type"]
    if type_ == 11:
        return str(text).lower() in ("t", "true", "1", "yes", "y")
    if type_ == 15:
        try:
            return ast.literal_eval(str(text))
        except (SyntaxError, ValueError):
            return text
    return text


def call(probe: Probe, target: str, method: str, arguments: dict[str, Any]) -> Any:
    body = {"_object_id": {"_object_name": target}, "_method_name": method, "_arguments": arguments}
    cid = f"{target} {method} {arguments}"
    probe.send(body, METHOD, to=AGENT, cid=cid)
    answer = plain(probe.answer(cid)["amqp-value"])
    return answer.get("_arguments", answer.get("_values"))


def test_a_console_of_the_first_qmf_fills_in(probe: Probe) -> None:
    """With the values that console.py sends for absent arguments, the verb gets its own defaults."""
    (put, ask) = (v1_methods(probe, "Shelf")[name] for name in ("put", "ask"))
    received = call(probe, "Shelf", "put", filled_in(put, {"item": "x"}))
    assert received == {"result": {"item": "x", **DEFAULTS}}
    given = {"item": "", "text": "t", "label": "l", "count": 4, "limit": 5, "ratio": 1.5, "flag": False}
    more = {"names": ["b", "c"], "table": {"k": 1}, "mood": "bad"}
    received = call(probe, "Shelf", "put", filled_in(put, {**given, **more}))
    assert received == {"result": {**given, **more}}
    # A truth value that may be none has no text: it is asked for.
    with pytest.raises(AssertionError, match=r"console.py insists on \['sure'\]"):
        filled_in(ask, {})


def test_the_key_is_that_of_the_object(probe: Probe) -> None:
    """On an object its key is optional; on a class it is required."""
    switch = v1_methods(probe, "Lamp")["switch"]
    received = call(probe, f"Lamp:{LAMP}", "switch", filled_in(switch, {"lit": True}))
    assert (received["result"]["lit"], received["result"]["lampID"]) == (True, LAMP)
    assert call(probe, f"Lamp:{LAMP}", "switch", {"lit": False, "lampID": LAMP})["result"]["lit"] is False
    assert call(probe, "Lamp", "switch", filled_in(switch, {"lit": True}))["slug"] == "missing-argument"
    assert call(probe, f"Lamp:{LAMP}", "switch", {"lampID": "other"})["slug"] == "invalid-argument"


def test_the_methods_of_the_agent(probe: Probe) -> None:
    """They have optional arguments, too."""
    methods = v1_methods(probe, "Agent")
    received = call(probe, "Agent", "call", filled_in(methods["call"], {"verb": "Host.ping"}))
    assert received == {}
    received = call(probe, "Agent", "replayEvents", filled_in(methods["replayEvents"], {"after": 0}))
    assert received.keys() == {"events", "last"}
    nulls = {"after": 0, "most": None, "pattern": None}
    assert call(probe, "Agent", "replayEvents", nulls).keys() == {"events", "last"}
    assert call(probe, "Agent", "call", {"verb": "Room.add", "arguments": {"left": 1, "right": None}}) == {
        "result": 2
    }


def test_null_is_absent(probe: Probe) -> None:
    """For an optional argument that cannot be null; a required one has to be given."""
    nulls = dict.fromkeys(DEFAULTS)
    received = call(probe, "Shelf", "put", {"item": "x", **nulls})
    assert received == {"result": {"item": "x", **DEFAULTS, "mood": None}}
    probe.send(
        {"_method_name": "Room.add", "_arguments": {"left": 1, "right": None}}, METHOD, to=AGENT, cid="n"
    )
    assert plain(probe.answer("n")["amqp-value"]) == {"_arguments": {"result": 2}}
    assert call(probe, "Shelf", "put", {"item": None})["slug"] == "invalid-argument"


def test_an_empty_text_that_is_meant(probe: Probe) -> None:
    """Where an empty text means absent, a call by the full name carries an empty text."""
    assert call(probe, "Shelf", "put", {"item": "x", "label": ""})["result"]["label"] is None
    body = {"_method_name": "Shelf.put", "_arguments": {"item": "x", "label": ""}}
    probe.send(body, METHOD, to=AGENT, cid="full")
    assert plain(probe.answer("full")["amqp-value"])["_arguments"]["result"]["label"] == ""


def test_a_default_is_a_part_of_the_class() -> None:
    """A console keeps a class as long as the hash is the same."""

    class Other(Shelf, name="Shelf", plural="shelf"):
        @query(since="1.0")
        def ask(self, sure: bool = True) -> str:
            """Return what has come, as text."""
            return str(sure)

    class Third(Shelf, name="Shelf", plural="shelf"):
        @query(since="1.0")
        def ask(self, sure: bool = False) -> str:
            """Return what has come, as text."""
            return str(sure)

    hashes = set()
    for namespace in (Other, Third):

        class OneFeature(Feature):
            made = namespace

            def namespaces(self) -> list[Namespace]:
                return [self.made()]

        with TestHost(verbs={"shelf": OneFeature}) as host:
            hashes.add(build(host.bridge.verbs, []).data_class("Shelf").hash)
    assert len(hashes) == 2
