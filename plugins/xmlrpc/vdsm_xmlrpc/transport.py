"""The transport over XML-RPC: `xmlrpcs://host:54321`, or `xmlrpc://host:54321` without TLS."""

from __future__ import annotations

import http.client
import json
import math
import shlex
import socket
import ssl
import urllib.parse
import xmlrpc.client
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from defusedxml.xmlrpc import DefusedExpatParser

from vdsm_bridge.client.tls import client_context, reason_of
from vdsm_bridge.transport import CallOptions, CallRefused, Credentials, Transport, Unreachable
from vdsm_xmlrpc.envelope import UNKNOWN_METHOD

#: VDSM's port.
_PORT: Final = 54321
_PATH: Final = "/RPC2"
#: Seconds beyond the timeout of the host, so that its error, which has the reason, arrives.
_GRACE: Final = 2.0
#: Bytes of a reply.
_MAX_REPLY: Final = 64 * 1024 * 1024
#: Member of a reply with the result of a verb, and with the id of a task.
_RESULT: Final = "result"
_TASK: Final = "uuid"


class XmlRpcTransport(Transport):
    """The XML-RPC binding of a host. Each call has its own connection.

    Integers beyond 32 bits are sent as text, which the host converts.
    """

    def __init__(self, url: str, credentials: Credentials) -> None:
        super().__init__(url, credentials)
        self._parts = urllib.parse.urlsplit(url)
        self._tls: ssl.SSLContext | None = None

    @property
    def revision(self) -> str:
        """Empty: replies of XML-RPC do not have it."""
        return ""

    def call(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> Any:
        """Call the method of the verb by `system.callByName`."""
        params = (verb, _sendable(dict(arguments)))
        body = xmlrpc.client.dumps(params, "system.callByName", allow_none=True).encode()
        connection = self._connection(options.timeout + _GRACE)
        try:
            connection.request("POST", self._parts.path or _PATH, body, self._headers(options))
            answer = connection.getresponse()
            content = answer.read(_MAX_REPLY + 1)
        except TimeoutError:
            raise Unreachable(
                f"the host at {self.url} did not answer within {options.timeout:g} s; "
                "an action may have been done"
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(f"cannot reach the host at {self.url}: {_reason(error)}") from None
        finally:
            connection.close()
        if answer.status != HTTPStatus.OK or len(content) > _MAX_REPLY:
            raise Unreachable(
                f"the host at {self.url} answers with HTTP status {answer.status} and {len(content)} bytes"
            )
        return self._result(verb, content)

    def preview(self, verb: str, arguments: Mapping[str, Any], _options: CallOptions) -> str:
        """Return the call as a command line of Python, without credentials."""
        plain = self.url.replace("xmlrpc", "http", 1)
        call = f"ServerProxy({plain!r}).system.callByName({verb!r}, {json.loads(json.dumps(arguments))!r})"
        return shlex.join(["python3", "-c", f"from xmlrpc.client import *; print({call})"])

    def close(self) -> None:
        """Do nothing: each call has its own connection."""

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        try:
            host, port = self._parts.hostname or "", self._parts.port or _PORT
        except ValueError as error:
            raise Unreachable(f"cannot use the URL {self.url}: {error}") from None
        if self._parts.scheme != "xmlrpcs":
            return http.client.HTTPConnection(host, port, timeout=timeout)
        self._tls = self._tls or client_context(self.credentials)
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=self._tls)

    def _headers(self, options: CallOptions) -> dict[str, str]:
        headers = {
            "Content-Type": "text/xml",
            "Request-Timeout": str(max(1, math.ceil(options.timeout))),
            "Request-Id": options.request_id,
            "FlowID": options.flow_id,
            "Authorization": f"Bearer {self.credentials.token}" if self.credentials.token else "",
        }
        return {name: value for name, value in headers.items() if value}

    def _result(self, verb: str, content: bytes) -> Any:
        unmarshaller = xmlrpc.client.Unmarshaller(use_builtin_types=True)
        try:
            parser = DefusedExpatParser(unmarshaller)
            parser.feed(content)
            parser.close()
            reply: Any = unmarshaller.close()[0]
            status = reply["status"]
            code, message = int(status["code"]), str(status["message"])
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == UNKNOWN_METHOD:
                raise CallRefused("no-such-verb", 100, fault.faultString, {"verb": verb}) from None
            raise CallRefused("invalid-request", 100, fault.faultString) from None
        except Exception as error:  # noqa: BLE001 - whatever the answer is, it is not one of a host
            raise Unreachable(f"the answer of {self.url} is not XML-RPC of a host: {error}") from None
        if code:
            raise CallRefused(str(status.get("slug", "error")), code, message)
        if _TASK in reply:
            return {"taskID": reply[_TASK]}
        return reply.get(_RESULT)


def _sendable(value: Any) -> Any:
    """Return plain data as XML-RPC carries it: its integers have 32 bits."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and not -(2**31) <= value < 2**31:
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _sendable(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_sendable(each) for each in value]
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return reason_of(error)
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
