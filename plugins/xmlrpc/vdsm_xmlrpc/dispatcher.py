"""From a decoded request to the encoded reply. Errors of the host become VDSM's envelope here, once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from vdsm_bridge import Bridge, Context, report_incident
from vdsm_bridge.errors import NoSuchVerb, VdsmError
from vdsm_xmlrpc import introspection
from vdsm_xmlrpc.envelope import NOT_XMLRPC, UNKNOWN_METHOD, envelope, fault, status, success
from vdsm_xmlrpc.marshal import Marshaller
from vdsm_xmlrpc.methods import Canonical, Invocation, Method, Methods
from vdsm_xmlrpc.parser import Request
from vdsm_xmlrpc.source import ARRAY, ARRAY_END

log = logging.getLogger(__name__)


class Fault(Exception):
    """What XML-RPC itself has to say: there is no such method, or the request is none."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Dispatcher:
    """Answers requests.

    :param max_calls: calls that one `system.multicall` may hold
    :param max_reply: bytes of results after which one makes no further calls
    """

    def __init__(self, bridge: Bridge, *, max_calls: int, max_reply: int) -> None:
        self._bridge = bridge
        self._max_calls = max_calls
        self._max_reply = max_reply
        self._marshaller = Marshaller()
        self._methods = Methods(bridge, self._marshaller)
        self._system: dict[str, Callable[[list[Any], Context], list[bytes]]] = {
            "system.listMethods": self._list_methods,
            "system.methodHelp": self._method_help,
            "system.methodSignature": self._method_signature,
            "system.callByName": self._call_by_name,
            "system.multicall": self._multicall,
        }

    def answer(self, request: Request, context: Context) -> list[bytes]:
        """The encoded value of the reply, in pieces.

        :raises Fault: there is no such method, or a `system` method cannot do what was asked
        """
        system = self._system.get(request.method)
        if system is not None:
            return system(request.params, context)
        method = self._find(request.method)
        return self._call(method, lambda: method.bind(request.params), context)

    def _call(self, method: Method, bind: Callable[[], Invocation], context: Context) -> list[bytes]:
        try:
            return self._carry_out(method, bind(), context)
        except NoSuchVerb as error:
            # Its plugin was switched off this moment.
            raise Fault(UNKNOWN_METHOD, str(error)) from None
        except VdsmError as error:
            return refusal(error)

    def _carry_out(self, method: Method, invocation: Invocation, context: Context) -> list[bytes]:
        verb = invocation.verb
        result = self._bridge.call(verb.name, invocation.arguments, context, text=True)
        try:
            return envelope(success(method.message), method.reply(verb, result))
        except Exception:  # noqa: BLE001 - logged as an incident
            # A verb that returns what its type does not promise has a bug like any other.
            raise report_incident(log, verb.name, f"Encoding the result of {verb.name}") from None

    def _find(self, name: str) -> Method:
        method = self._methods.current().get(name)
        if method is None:
            raise Fault(UNKNOWN_METHOD, f"There is no method '{name}'")
        return method

    def _list_methods(self, params: list[Any], _context: Context) -> list[bytes]:
        _expect("system.listMethods", params)
        return [self._marshaller.any(sorted([*self._methods.current(), *self._system])).encode()]

    def _method_help(self, params: list[Any], _context: Context) -> list[bytes]:
        (name,) = _expect("system.methodHelp", params, str)
        if name in self._system:
            return [self._marshaller.any(introspection.SYSTEM_HELP[name]).encode()]
        return [self._marshaller.any(introspection.help_text(self._find(name))).encode()]

    def _method_signature(self, params: list[Any], _context: Context) -> list[bytes]:
        (name,) = _expect("system.methodSignature", params, str)
        if name in self._system:
            return [self._marshaller.any(introspection.SYSTEM_SIGNATURES[name]).encode()]
        return [self._marshaller.any(introspection.signatures(self._find(name))).encode()]

    def _call_by_name(self, params: list[Any], context: Context) -> list[bytes]:
        name, arguments = _expect("system.callByName", params, str, dict)
        method = self._find(name)
        if not isinstance(method, Canonical):
            raise Fault(NOT_XMLRPC, f"The arguments of '{name}' have places, not names")
        return self._call(method, lambda: method.by_name(arguments), context)

    def _multicall(self, params: list[Any], context: Context) -> list[bytes]:
        (calls,) = _expect("system.multicall", params, list)
        if len(calls) > self._max_calls:
            raise Fault(NOT_XMLRPC, f"system.multicall takes {self._max_calls} calls at the most")
        pieces = [ARRAY.encode()]
        size = 0
        for number, call in enumerate(calls):
            if size > self._max_reply:
                # One small request must not make a reply that fills the memory of the host.
                one = [fault(NOT_XMLRPC, f"Not called: the results before it exceed {self._max_reply} bytes")]
            else:
                one = self._one_of_many(call, _numbered(context, number))
                size += sum(map(len, one))
            pieces += one
        pieces.append(ARRAY_END.encode())
        return pieces

    def _one_of_many(self, call: Any, context: Context) -> list[bytes]:
        try:
            request = _inner_request(call)
            return [ARRAY.encode(), *self.answer(request, context), ARRAY_END.encode()]
        except Fault as error:
            return [fault(error.code, error.message)]


def refusal(error: VdsmError) -> list[bytes]:
    """The envelope of a call that failed: VDSM's number and our slug, the message, and no result."""
    return envelope(status(error.code, str(error), error.slug), {})


def _expect(name: str, params: list[Any], *kinds: type) -> list[Any]:
    if len(params) != len(kinds) or not all(map(isinstance, params, kinds)):
        wanted = ", ".join(introspection.SYSTEM_SIGNATURES[name][0][1:]) or "none"
        raise Fault(NOT_XMLRPC, f"The parameters of {name} are: {wanted}")
    return params


def _inner_request(call: Any) -> Request:
    if not isinstance(call, dict):
        raise Fault(NOT_XMLRPC, "Each call is a struct of methodName and params")
    name, params = call.get("methodName"), call.get("params", [])
    if not isinstance(name, str) or not isinstance(params, list):
        raise Fault(NOT_XMLRPC, "Each call is a struct of methodName and params")
    if name == "system.multicall":
        raise Fault(NOT_XMLRPC, "system.multicall may not call itself")
    return Request(name, params)


def _numbered(context: Context, number: int) -> Context:
    """One call among many under one request id needs an id of its own, the same each time it is sent."""
    if not context.request_id:
        return context
    return msgspec.structs.replace(context, request_id=f"{context.request_id}#{number}")
