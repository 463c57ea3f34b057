"""A client of the binding for the contract suite, on the standard library's marshaller and HTTP."""

from __future__ import annotations

import http.client
import ssl
import xmlrpc.client
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from vdsm_bridge.testing.client import ContractError


class XmlRpcClient:
    """Arguments go by position where the declared order allows it, otherwise by name."""

    def __init__(self, url: str, context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        if parts.scheme == "https":
            self._connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=30, context=context
            )
        self._path = parts.path
        self._order: dict[str, list[str]] = {}

    def call(
        self,
        verb: str,
        arguments: Mapping[str, Any],
        *,
        token: str = "",
        request_id: str = "",
        timeout: float | None = None,
    ) -> Any:
        """See `Client.call`."""
        headers = {
            **({"Authorization": f"Bearer {token}"} if token else {}),
            **({"Request-Id": request_id} if request_id else {}),
            **({"Request-Timeout": str(timeout)} if timeout is not None else {}),
        }
        order = self._parameters(verb)
        # One structure alone would be taken for named arguments where a structure is not what is expected.
        alone = len(arguments) == 1 and isinstance(*arguments.values(), dict)
        if order is not None and set(arguments) <= set(order) and not alone:
            params = [arguments.get(name) for name in order]
            while params and params[-1] is None:
                params.pop()
            reply = self.send(verb, tuple(params), headers)
        else:
            reply = self.send("system.callByName", (verb, dict(arguments)), headers)
        status = reply["status"]
        if status["code"]:
            raise ContractError(status["slug"], status["code"], status["message"])
        return reply.get("result")

    def verbs(self) -> set[str]:
        """See `Client.verbs`. VDSM's own names have no dot."""
        names = self.send("system.listMethods", (), {})
        return {name for name in names if "." in name and not name.startswith("system.")}

    def close(self) -> None:
        """See `Client.close`."""
        self._connection.close()

    def send(self, method: str, params: tuple[Any, ...], headers: Mapping[str, str]) -> Any:
        """One request; the value of the reply."""
        body = xmlrpc.client.dumps(params, method, allow_none=True).encode()
        self._connection.request("POST", self._path, body, {"Content-Type": "text/xml", **headers})
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status == 200, (answer.status, text)
        try:
            return xmlrpc.client.loads(text)[0][0]
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == 1:  # the one fault that VDSM knew: no such method
                raise ContractError("no-such-verb", 100, fault.faultString) from None
            raise

    def _parameters(self, verb: str) -> list[str] | None:
        if not self._order:
            declared = self.send("Host.getVerbs", (), {})["result"]
            self._order = {info["name"]: [param["name"] for param in info["params"]] for info in declared}
        return self._order.get(verb)
