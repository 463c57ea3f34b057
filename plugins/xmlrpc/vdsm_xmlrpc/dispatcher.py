"""From a decoded request to the encoded reply. The one place where errors become VDSM's envelope."""

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
from vdsm_xmlrpc.methods import Canonical, Method, Methods
from vdsm_xmlrpc.parser import Request
from vdsm_xmlrpc.source import ARRAY, ARRAY_END
from vdsm_xmlrpc.turns import Turns

log = logging.getLogger(__name__)


class Fault(Exception):
    """An error of XML-RPC itself: there is no such method, or the request is malformed."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Dispatcher:
    """Carries out requests.

    :param max_calls: most calls in one `system.multicall`
    :param max_reply: bytes of results after which it makes no further calls
    """

    def __init__(self, bridge: Bridge, *, max_calls: int, max_reply: int) -> None:
        self._bridge = bridge
        self._max_calls = max_calls
        self._max_reply = max_reply
        self._marshaller = Marshaller()
        self._methods = Methods(bridge, self._marshaller)
        self._turns = Turns()
        self._system: dict[str, Callable[[list[Any], Context], list[bytes]]] = {
            "system.listMethods": self._list_methods,
            "system.methodHelp": self._method_help,
            "system.methodSignature": self._method_signature,
            "system.callByName": self._call_by_name,
            "system.multicall": self._multicall,
        }

    def answer(self, request: Request, context: Context) -> list[bytes]:
        """Return the encoded value of the reply, in pieces.

        :raises Fault: there is no such method, or the arguments of a `system` method are wrong
        """
        system = self._system.get(request.method)
        if system is not None:
            return system(request.params, context)
        method = self._find(request.method)
        return self._call(method, lambda: method.bind(request.params), context)

    def _call(self, method: Method, bind: Callable[[], dict[str, Any]], context: Context) -> list[bytes]:
        try:
            return self._carry_out(method, bind(), context)
        except NoSuchVerb as error:
            # Its plugin was switched off in the meantime.
            raise Fault(UNKNOWN_METHOD, str(error)) from None
        except VdsmError as error:
            return refusal(error, method.code_of(error))

    def _carry_out(self, method: Method, arguments: dict[str, Any], context: Context) -> list[bytes]:
        verb = method.verb
        result = self._bridge.call(verb.name, arguments, context, text=True)
        try:
            return envelope(success(method.message), method.reply(result))
        except Exception:  # noqa: BLE001 - logged as an incident
            # A verb whose result does not have the declared type is a bug.
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
            raise Fault(
                NOT_XMLRPC,
                f"Cannot call '{name}' by name: its arguments are positional; use the full name of its verb",
            )
        return self._call(method, lambda: method.by_name(arguments), context)

    def _multicall(self, params: list[Any], context: Context) -> list[bytes]:
        (calls,) = _expect("system.multicall", params, list)
        if len(calls) > self._max_calls:
            raise Fault(
                NOT_XMLRPC,
                f"system.multicall takes at most {self._max_calls} calls ([plugin.xmlrpc] max_calls)",
            )
        pieces = [ARRAY.encode()]
        size = 0
        turn = self._turns.of(context.identity.client)
        for number, call in enumerate(calls):
            if size > self._max_reply:
                # A small request must not cause a reply that fills the memory of the host.
                reason = f"the results before this one exceed {self._max_reply} bytes"
                one = [fault(NOT_XMLRPC, f"Not called: {reason} ([plugin.xmlrpc] max_reply)")]
            else:
                with self._turns.wait(turn):
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


def refusal(error: VdsmError, code: int | None = None) -> list[bytes]:
    """Return the envelope of a failed call: VDSM's code, the slug, the message, and no result.

    :param code: by default that of the error
    """
    return envelope(status(error.code if code is None else code, str(error), error.slug), {})


def _expect(name: str, params: list[Any], *kinds: type) -> list[Any]:
    if len(params) != len(kinds) or not all(map(isinstance, params, kinds)):
        wanted = ", ".join(introspection.SYSTEM_SIGNATURES[name][0][1:]) or "none"
        raise Fault(NOT_XMLRPC, f"The parameters of {name} are: {wanted}")
    return params


def _inner_request(call: Any) -> Request:
    if not isinstance(call, dict):
        raise Fault(NOT_XMLRPC, "Each call must be a struct of methodName and params")
    name, params = call.get("methodName"), call.get("params", [])
    if not isinstance(name, str) or not isinstance(params, list):
        raise Fault(NOT_XMLRPC, "Each call must be a struct of methodName and params")
    if name == "system.multicall":
        raise Fault(NOT_XMLRPC, "system.multicall cannot call itself")
    return Request(name, params)


def _numbered(context: Context, number: int) -> Context:
    """Return the context of one call among many, with a request id of its own that is always the same."""
    if not context.request_id:
        return context
    return msgspec.structs.replace(context, request_id=f"{context.request_id}#{number}")
