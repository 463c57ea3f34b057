"""The contract of bindings, over TCP."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from vdsm_bridge.api.routes import derive
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.certificates import TestPki
from vdsm_bridge.testing.contract import BindingContract
from vdsm_bridge.testing.harness import PATIENCE
from vdsm_rest import RestBinding

from .rest_client import EventReader, RestClient


class TestContract(BindingContract):
    """The same verbs, results and errors as the bridge's own."""

    name = "rest"
    binding = RestBinding
    options = {"port": 0}

    def connect(self, host: TestHost) -> RestClient:
        return RestClient(self.address_of(host))

    def call_on_object(
        self, client: RestClient, host: TestHost, verb: str, arguments: Mapping[str, Any]
    ) -> Any:
        """By the verb's own route: ids in the path, the rest in the query string or the body."""
        (route,) = [route for route in derive(host.bridge.verbs).routes if route.operation == verb]
        sent = dict(arguments)
        ids = re.findall(r"{(\w+)}", route.path)
        path = route.path.format(**{name: quote(sent.pop(name), safe="") for name in ids})
        body = sent if route.method == "POST" else None
        query = f"?{urlencode(sent)}" if sent and body is None else ""
        answer = client.request(route.method, f"/api{path}{query}", body)
        assert answer.status < 300, answer.body
        if answer.status == 201:
            made = client.get(answer["Location"])
            assert made.json == answer.json, "the address of what was made leads to it"
        return answer.json if answer.body else None

    def stream(
        self, host: TestHost, pattern: str = "", *, after: int | None = None, snapshot: bool = False
    ) -> Stream:
        return Stream(self.address_of(host), pattern, after, snapshot)


class TestContractOverTls(TestContract):
    """All of it over TLS, by a client that proves itself with a certificate."""

    options = {"port": 0, "tls": "required"}
    access = {"certificates": {"CN=tester": "admin"}}

    @property
    def context(self) -> ssl.SSLContext:
        return self.pki.context(self.pki.client("tester"))

    def connect(self, host: TestHost) -> RestClient:
        return RestClient(self.address_of(host), context=self.context)

    def stream(
        self, host: TestHost, pattern: str = "", *, after: int | None = None, snapshot: bool = False
    ) -> Stream:
        return Stream(self.address_of(host), pattern, after, snapshot, self.context)

    def _serving(self, folder: Path, **others: Any) -> TestHost:
        self.pki = TestPki(folder / "pki")
        return super()._serving(folder, **others, tls=self.pki.options)


class Stream:
    """Server-sent events, as the suite reads them."""

    def __init__(
        self,
        url: str,
        pattern: str,
        after: int | None,
        snapshot: bool,
        context: ssl.SSLContext | None = None,
    ) -> None:
        asked = {"filter": pattern, "after": after, "snapshot": str(snapshot).lower()}
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        self._reader = EventReader(url, f"?{query}", timeout=PATIENCE, context=context)

    def take(self, count: int) -> list[Any]:
        return [message.data for message in self._reader.take(count)]

    def close(self) -> None:
        self._reader.close()
