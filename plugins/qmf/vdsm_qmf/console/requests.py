"""The bodies of the requests that a console sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vdsm_qmf.protocol import bodies
from vdsm_qmf.protocol.message import Address, compose
from vdsm_qmf.protocol.names import LOCATE_KEY, TOPIC
from vdsm_qmf.schema.classes import AGENT_CLASS, PACKAGE

#: Where requests that locate agents are sent.
LOCATE: Address = Address(TOPIC, LOCATE_KEY)


def call(verb: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request to call a verb by its full name."""
    if "." in verb:
        return {"_method_name": verb, "_arguments": dict(arguments)}
    # Only a full name needs no object. The agent's own method refuses any other with the right error.
    return _agent_method("call", {"verb": verb, "arguments": dict(arguments)})


def replay(after: int, limit: int) -> dict[str, Any]:
    """Return a request for at most `limit` events after a number."""
    return _agent_method("replayEvents", {"after": after, "most": limit})


def _agent_method(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"_method_name": name, "_object_id": {"_object_name": AGENT_CLASS}, "_arguments": arguments}


def schema(class_name: str) -> dict[str, Any]:
    """Return a query for a class; for all classes without a name."""
    return {"_what": "SCHEMA", "_schema_id": {"_class_name": class_name} if class_name else {}}


def objects(class_name: str, where: list[Any] | None) -> dict[str, Any]:
    """Return a query for the objects of a class that match a predicate; both may be absent."""
    body: dict[str, Any] = {"_what": "OBJECT"}
    if class_name:
        body["_schema_id"] = {"_package_name": PACKAGE, "_class_name": class_name}
    if where is not None:
        body["_where"] = where
    return body


def locate(reply_to: str) -> bytes:
    """Return the message that all agents answer with their attributes."""
    properties = bodies.request_properties(bodies.LOCATE_REQUEST, **{bodies.OBJECTS: False})
    return compose([], LOCATE, properties, correlation_id="locate", reply_to=reply_to)
