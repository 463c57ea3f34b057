"""The contract of bindings, over TCP."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from vdsm_bridge.testing import TestHost
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

    def stream(
        self, host: TestHost, pattern: str = "", *, after: int | None = None, snapshot: bool = False
    ) -> Stream:
        return Stream(self.address_of(host), pattern, after, snapshot)


class Stream:
    """Server-sent events, as the suite reads them."""

    def __init__(self, url: str, pattern: str, after: int | None, snapshot: bool) -> None:
        asked = {"filter": pattern, "after": after, "snapshot": str(snapshot).lower()}
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        self._reader = EventReader(url, f"?{query}", timeout=PATIENCE)

    def take(self, count: int) -> list[Any]:
        return [message.data for message in self._reader.take(count)]

    def close(self) -> None:
        self._reader.close()
