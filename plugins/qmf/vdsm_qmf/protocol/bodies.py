"""The bodies of QMFv2 messages and their application properties, typed as consoles expect them.

Strings travel as `string`, the schema's hash as `uuid`, times as `ulong` nanoseconds since 1970, the rest as
qpidd's own agent sends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from proton import ubyte, uint, ulong

from vdsm_bridge.errors import VdsmError
from vdsm_qmf.protocol import values
from vdsm_qmf.protocol.message import AGENT, APP_ID, CONTENT, METHOD, OPCODE, PARTIAL, QMF2
from vdsm_qmf.protocol.names import AgentName

LOCATE_REQUEST: Final = "_agent_locate_request"
LOCATE_RESPONSE: Final = "_agent_locate_response"
HEARTBEAT: Final = "_agent_heartbeat_indication"
QUERY_REQUEST: Final = "_query_request"
QUERY_RESPONSE: Final = "_query_response"
METHOD_REQUEST: Final = "_method_request"
METHOD_RESPONSE: Final = "_method_response"
EXCEPTION: Final = "_exception"
INDICATION: Final = "_data_indication"
SUBSCRIBE_REQUEST: Final = "_subscribe_request"
SUBSCRIBE_CANCEL: Final = "_subscribe_cancel_indication"
SUBSCRIBE_REFRESH: Final = "_subscribe_refresh_indication"

#: Opcodes that only agents send. They are never answered: two agents would answer each other for ever.
ANSWERS: Final = frozenset(
    {
        LOCATE_RESPONSE,
        HEARTBEAT,
        QUERY_RESPONSE,
        METHOD_RESPONSE,
        EXCEPTION,
        INDICATION,
        "_subscribe_response",
    }
)

DATA: Final = "_data"
EVENT: Final = "_event"
SCHEMA: Final = "_schema"
SCHEMA_ID: Final = "_schema_id"
OBJECT_ID: Final = "_object_id"

REQUEST: Final = "request"
RESPONSE: Final = "response"
INDICATED: Final = "indication"

#: Supports schema queries of QMFv2 and locate predicates; the C++ console uses them only then.
_CAPABILITY: Final = 1

# Properties that vdsm adds to a request ...
FLOW_ID: Final = "vdsm.flow_id"
REQUEST_ID: Final = "vdsm.request_id"
TIMEOUT: Final = "vdsm.timeout"
TOKEN: Final = "vdsm.token"  # noqa: S105 - the name of a property
#: In a locate request: false if the console does not subscribe to objects: none are published for it.
OBJECTS: Final = "vdsm.objects"
#: ... and to an answer: the revision of the API.
REVISION: Final = "vdsm.revision"

# Attributes that vdsm adds to those of an agent.
#: Number of the connection to a broker: requests sent before it changed may not have arrived.
CONNECTION: Final = "vdsm.connection"
#: The name of the machine, for display.
HOSTNAME: Final = "vdsm.hostname"
#: The number of the newest event that was sent.
NEWEST_EVENT: Final = "vdsm.event"

# Values that vdsm adds to those of an event.
SEQ: Final = "eventSeq"
PREVIOUS: Final = "eventPrevious"
EVENT_ID: Final = "eventId"
EVENT_TIME: Final = "eventTime"
#: The names of the arguments of the event's class that the event does not have.
ABSENT: Final = "eventAbsent"


def properties(
    opcode: str, agent: str, method: str, content: str = "", *, partial: bool = False, **more: Any
) -> dict[str, Any]:
    """Return the application properties of an agent's message."""
    found = {METHOD: method, AGENT: agent, OPCODE: opcode, APP_ID: QMF2}
    if content:
        found[CONTENT] = content
    if partial:
        found[PARTIAL] = ""
    return {**found, **more}


def request_properties(opcode: str, **more: Any) -> dict[str, Any]:
    """Return the application properties of a console's message."""
    return {METHOD: REQUEST, OPCODE: opcode, APP_ID: QMF2, **more}


def attributes(
    name: AgentName,
    *,
    now: int,
    interval: float,
    epoch: int,
    schema_updated: int,
    connection: int,
    newest_event: int,
    hostname: str,
) -> dict[str, Any]:
    """Return the attributes of an agent, for heartbeats and answers to locate requests.

    :param now: nanoseconds since 1970, as `schema_updated`
    :param interval: seconds between two heartbeats
    """
    return {
        "_values": {
            "_vendor": name.vendor,
            "_product": name.product,
            "_instance": name.instance,
            "_name": str(name),
            "_timestamp": ulong(now),
            "_heartbeat_interval": uint(max(1, round(interval))),
            "_epoch": uint(epoch),
            "_schema_updated": ulong(schema_updated),
            "qmf.agent_capability": uint(_CAPABILITY),
            CONNECTION: uint(connection),
            NEWEST_EVENT: ulong(newest_event),
            HOSTNAME: hostname,
        }
    }


def object_id(name: str, agent: str) -> dict[str, Any]:
    """Return the id of an object. It has no epoch: objects outlive the agent."""
    return {"_object_name": name, "_agent_name": agent}


def managed_object(
    oid: Mapping[str, Any],
    schema_id: Mapping[str, Any],
    content: Mapping[str, Any],
    *,
    created: int,
    updated: int,
    deleted: int = 0,
) -> dict[str, Any]:
    """Return an object with its properties and statistics.

    Times are nanoseconds since 1970; `deleted` is 0 while the object exists.

    :raises NotCarriable: a value in it cannot be sent
    """
    return {
        "_values": values.encode(dict(content)),
        "_object_id": dict(oid),
        "_schema_id": dict(schema_id),
        "_create_ts": ulong(created),
        "_update_ts": ulong(updated),
        "_delete_ts": ulong(deleted),
    }


def event(
    schema_id: Mapping[str, Any], content: Mapping[str, Any], *, now: int, severity: int
) -> dict[str, Any]:
    """Return an event. `now` is in nanoseconds since 1970; `severity` is 0 (emergency) to 7 (debug).

    :raises NotCarriable: a value in it cannot be sent
    """
    return {
        "_schema_id": dict(schema_id),
        "_values": values.encode(dict(content)),
        "_timestamp": ulong(now),
        "_severity": ubyte(severity),
    }


def method_response(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a method request, also if the method has no result.

    :raises NotCarriable: a value in it cannot be sent
    """
    return {"_arguments": values.encode(dict(arguments))}


def exception(error: VdsmError) -> dict[str, Any]:
    """Return an exception: code and text as in QMF, slug and facts of the bridge's error."""
    return {
        "_values": {
            "error_code": uint(max(0, error.code)),
            "error_text": values.encode(str(error)),
            "slug": error.slug,
            "facts": {name: _fact(value) for name, value in error.facts.items()},
        }
    }


def _fact(value: Any) -> Any:
    try:
        return values.encode(value)
    except VdsmError:
        return str(value)[:1000]
