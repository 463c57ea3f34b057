"""Methods: verbs of the bridge, on an object or by full name, and the methods of the agent itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from vdsm_bridge import Bridge, Context
from vdsm_bridge.errors import InvalidArgument, MissingArgument, NoSuchVerb
from vdsm_bridge.types import builtins
from vdsm_qmf.agent.queries import split_name
from vdsm_qmf.agent.replay import Replay
from vdsm_qmf.agent.schema_cache import SchemaCache
from vdsm_qmf.protocol.errors import Malformed, NoSuchObject
from vdsm_qmf.protocol.names import AgentName
from vdsm_qmf.schema.classes import AGENT_CLASS, result_name

_REPLAY: Final = "replayEvents"
_CALL: Final = "call"


class Call(NamedTuple):
    """A verb with its arguments."""

    verb: str
    arguments: dict[str, Any]


class Methods:
    """Executes `_method_request`."""

    def __init__(self, bridge: Bridge, schemas: SchemaCache, replay: Replay, name: AgentName) -> None:
        self._bridge = bridge
        self._schemas = schemas
        self._replay = replay
        self._name = str(name)

    def invoke(self, body: Any, context: Context) -> dict[str, Any]:
        """Call a method and return its out arguments.

        :raises VdsmError: the request is malformed, or the verb fails
        """
        method, oid, arguments = _read(body)
        if "." in method:
            return self._by_name(method, arguments, context)
        target = self._target(oid)
        if target == AGENT_CLASS:
            return self._own(method, arguments, context)
        return self._verb(self._on_object(target, method, arguments), context)

    def _target(self, oid: Mapping[str, Any]) -> str:
        name = oid.get("_object_name", "")
        if not isinstance(name, str):
            raise Malformed(reason="_object_name must be text")
        if oid.get("_agent_name", self._name) != self._name:
            raise NoSuchObject(name=f"{oid['_agent_name']} {name}")
        return name

    def _on_object(self, target: str, method: str, arguments: dict[str, Any]) -> Call:
        if not target:
            # Without an object only a full name identifies the verb.
            raise NoSuchVerb(verb=method)
        kind, ids = split_name(target, self._schemas.current())
        if kind is None or (len(kind.keys) > 1 and not ids and target != kind.name):
            raise NoSuchObject(name=target)
        name = f"{kind.name}.{method}"
        arguments = self._present(kind.name, method, arguments, filled_in=True)
        verb = self._bridge.verbs.get(name)
        if verb is not None and verb.on_object and ids:
            for key, id_ in zip(kind.keys, ids, strict=True):
                if str(arguments.get(key, id_)) != id_:
                    raise InvalidArgument(argument=key, reason=f"the method is called on '{id_}'")
            arguments = {**arguments, **dict(zip(kind.keys, ids, strict=True))}
        return Call(name, arguments)

    def _present(
        self, class_name: str, method: str, arguments: dict[str, Any], *, filled_in: bool
    ) -> dict[str, Any]:
        found = self._schemas.current().method(class_name, method)
        return arguments if found is None else found.present(arguments, filled_in=filled_in)

    def _by_name(self, name: str, arguments: dict[str, Any], context: Context) -> dict[str, Any]:
        class_name, _, method = name.partition(".")
        given = self._present(class_name, method, arguments, filled_in=False)
        return self._verb(Call(name, given), context)

    def _verb(self, call: Call, context: Context) -> dict[str, Any]:
        result = builtins(self._bridge.call(call.verb, call.arguments, context, text=True))
        if result is None:
            return {}
        verb = self._bridge.verbs.get(call.verb)
        return {result_name(verb) if verb is not None else "result": result}

    def _own(self, method: str, arguments: dict[str, Any], context: Context) -> dict[str, Any]:
        arguments = self._present(AGENT_CLASS, method, arguments, filled_in=True)
        if method == _REPLAY:
            return self._replay.events(arguments, context.identity)
        if method != _CALL:
            raise NoSuchVerb(verb=f"{AGENT_CLASS}.{method}")
        verb, inner = arguments.get("verb"), arguments.get("arguments", {})
        if not isinstance(verb, str):
            raise MissingArgument(argument="verb")
        if not isinstance(inner, dict):
            raise InvalidArgument(argument="arguments", reason="expected a structure")
        return self._by_name(verb, inner, context)


def _read(body: Any) -> tuple[str, Mapping[str, Any], dict[str, Any]]:
    if not isinstance(body, dict):
        raise Malformed(reason="the body of a method request must be a map")
    method, oid = body.get("_method_name"), body.get("_object_id") or {}
    arguments = body.get("_arguments")
    arguments = {} if arguments is None else arguments
    if not isinstance(method, str) or not method:
        raise Malformed(reason="_method_name must be text")
    if not isinstance(oid, dict):
        raise Malformed(reason="_object_id must be a map")
    if not isinstance(arguments, dict):
        raise Malformed(reason="_arguments must be a map")
    return method, oid, arguments
