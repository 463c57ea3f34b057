"""The contract of bindings, through a real broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.client import ContractError
from vdsm_bridge.testing.contract import BindingContract
from vdsm_bridge.testing.harness import PATIENCE
from vdsm_qmf import QmfBinding
from vdsm_qmf.console import CallRefused, Cluster, EventStream
from vdsm_qmf.schema.objects import kinds
from vdsm_qmf.testing import PASSWORD, USER, RabbitMQ

from .amqp_bytes import plain
from .conftest import options
from .probe import Probe

INSTANCE = "contract-host"


class BusClient:
    """A console with one host; a console for each token."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._clusters: dict[str, Cluster] = {}

    def call(
        self,
        verb: str,
        arguments: Mapping[str, Any],
        *,
        token: str = "",
        request_id: str = "",
        timeout: float | None = None,
    ) -> Any:
        seconds = 60.0 if timeout is None else timeout
        try:
            return self._cluster(token).call(
                INSTANCE, verb, arguments, timeout=seconds, request_id=request_id
            )
        except CallRefused as error:
            raise ContractError(error.slug, error.code, error.message) from None

    def verbs(self) -> set[str]:
        schema = self._cluster("").schema(INSTANCE)
        names = {
            f"{one['_schema_id']['_class_name']}.{method['_name']}"
            for one in schema
            for method in one["_methods"]
        }
        return {name for name in names if not name.startswith("Agent.")}

    def events(self, pattern: str, after: int | None) -> EventStream:
        cluster = self._cluster("")
        return cluster.events(pattern, resume=None if after is None else {INSTANCE: after})

    def wait(self) -> None:
        """Wait until the host is on the bus."""
        self._cluster("")

    def close(self) -> None:
        for cluster in self._clusters.values():
            cluster.close()

    def _cluster(self, token: str) -> Cluster:
        if token not in self._clusters:
            cluster = Cluster(self._url, password=PASSWORD, token=token)
            cluster.start()
            self._clusters[token] = cluster
            cluster.wait_for(INSTANCE)
        return self._clusters[token]


class TestContract(BindingContract):
    """The same verbs, results and errors as the bridge's own."""

    name = "qmf"
    binding = QmfBinding
    text = True
    access = {"bus_users": {USER: "admin"}}

    @pytest.fixture(autouse=True)
    def _options(self, broker: RabbitMQ, tmp_path: Path) -> Iterator[None]:
        self.url = broker.url
        type(self).options = options(broker.url, tmp_path, instance=INSTANCE)
        yield
        type(self).options = {}

    def connect(self, host: TestHost) -> BusClient:
        return BusClient(self.url)

    def call_on_object(
        self, client: BusClient, host: TestHost, verb: str, arguments: Mapping[str, Any]
    ) -> Any:
        """As a method of the object whose name has the ids; one of a collection, of the class."""
        client.wait()
        declared = host.bridge.verbs[verb]
        given = dict(arguments)
        kind = kinds(host.bridge.verbs)[declared.namespace.name]
        ids = [given.pop(key) for key in declared.keys] if declared.on_object else []
        name = kind.object_name(ids)
        body = {"_object_id": {"_object_name": name}, "_method_name": declared.method, "_arguments": given}
        with Probe(self.url) as probe:
            probe.send(body, {"qmf.opcode": "_method_request"}, to=f"vdsm:vdsmd:{INSTANCE}", cid="1")
            received = plain(probe.answer("1", PATIENCE)["amqp-value"])
        return received["_arguments"].get("result")

    def stream(
        self, host: TestHost, pattern: str = "", *, after: int | None = None, snapshot: bool = False
    ) -> Stream:
        return Stream(BusClient(self.url), pattern, after, snapshot)


class Stream:
    """The events of a console, as the suite reads them; the states of a snapshot come by the verb."""

    def __init__(self, client: BusClient, pattern: str, after: int | None, snapshot: bool) -> None:
        self._client = client
        self._ready: list[Any] = []
        if snapshot:
            made = client.call("Events.subscribe", {"filter": pattern, "snapshot": True})
            client.call("Events.unsubscribe", {"subscriptionID": made["subscriptionID"]})
            self._ready, after = made["states"], made["seq"]
        self._events = client.events(pattern, after)

    def take(self, count: int) -> list[Any]:
        while len(self._ready) < count:
            event = self._events.next(PATIENCE)
            assert event is not None, f"{count} events were expected, these have come: {self._ready}"
            self._ready.append({"seq": event.seq, "id": event.id, "time": event.time, "params": event.params})
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken

    def close(self) -> None:
        self._client.close()
