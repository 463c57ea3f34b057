"""The contract of bindings, over XML-RPC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.certificates import TestPki
from vdsm_bridge.testing.client import Client
from vdsm_bridge.testing.contract import BindingContract
from vdsm_xmlrpc import XmlRpcBinding
from vdsm_xmlrpc.scalars import INT_MAX, INT_MIN

from .xmlrpc_client import XmlRpcClient


class TestContract(BindingContract):
    """The same verbs, results and errors as the bridge's own."""

    name = "xmlrpc"
    binding = XmlRpcBinding
    options = {"port": 0}
    text = True

    def connect(self, host: TestHost) -> XmlRpcClient:
        """A client on a connection of its own."""
        return XmlRpcClient(self.address_of(host))

    def _shape(self, client: Client, host: TestHost, name: str, *, text: bool = False) -> Any:
        return super()._shape(_Numbers(client) if text else client, host, name, text=text)


class TestContractOverTls(TestContract):
    """All of it over TLS, by a client that proves itself with a certificate."""

    options = {"port": 0, "tls": "required"}
    access = {"certificates": {"CN=tester": "admin"}}

    def connect(self, host: TestHost) -> XmlRpcClient:
        return XmlRpcClient(self.address_of(host), self.pki.context(self.pki.client("tester")))

    def _serving(self, folder: Path, **others: Any) -> TestHost:
        self.pki = TestPki(folder / "pki")
        return super()._serving(folder, **others, tls=self.pki.options)


class _Numbers:
    """Undoes the one loss that a type does not mend: a number over 32 bits under `Any` arrives as text."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def call(self, verb: str, arguments: dict[str, Any]) -> Any:
        return _numbers(self._client.call(verb, arguments))


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if isinstance(value, str) and value.lstrip("-").isdecimal() and not INT_MIN <= int(value) <= INT_MAX:
        return int(value)
    return value
