"""The bodies of QMFv2 messages and the properties that go with them, each typed as consoles expect it.

Strings travel as `string`, the schema's hash as `uuid`, times as `ulong` nanoseconds since 1970, the rest as
qpidd's own agent sends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from proton import ubyte, uint, ulong

from vdsm_bridge.errors import VdsmError
from vdsm_qmf import values
from vdsm_qmf.message import AGENT, APP_ID, CONTENT, METHOD, OPCODE, PARTIAL, QMF2
from vdsm_qmf.names import AgentName

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

#: What only agents send: never answered, so that two agents cannot answer each other for ever.
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

#: Understands V2 schema queries and locate predicates; the C++ console asks for these only then.
_CAPABILITY: Final = 1

# Ours, beside QMF's: of a request ...
FLOW_ID: Final = "vdsm.flow_id"
REQUEST_ID: Final = "vdsm.request_id"
TIMEOUT: Final = "vdsm.timeout"
TOKEN: Final = "vdsm.token"  # noqa: S105 - the name of a property
#: Of a locate request: false if who asks does not listen to objects, so that they need not be told again.
OBJECTS: Final = "vdsm.objects"
#: ... and of an answer: the revision of the API.
REVISION: Final = "vdsm.revision"

# Ours among the attributes of an agent.
#: Grows with each connection to a broker: requests sent before it changed may not have arrived.
CONNECTION: Final = "vdsm.connection"
#: The name of the machine, for people.
HOSTNAME: Final = "vdsm.hostname"
#: The number of the newest event that was sent.
NEWEST_EVENT: Final = "vdsm.event"

# Ours among the values of an event.
SEQ: Final = "eventSeq"
PREVIOUS: Final = "eventPrevious"
EVENT_ID: Final = "eventId"
EVENT_TIME: Final = "eventTime"
#: The names of the arguments that an event does not have, though its class does.
ABSENT: Final = "eventAbsent"


def properties(
    opcode: str, agent: str, method: str, content: str = "", *, partial: bool = False, **more: Any
) -> dict[str, Any]:
    """The application properties of an agent's message."""
    found = {METHOD: method, AGENT: agent, OPCODE: opcode, APP_ID: QMF2}
    if content:
        found[CONTENT] = content
    if partial:
        found[PARTIAL] = ""
    return {**found, **more}


def request_properties(opcode: str, **more: Any) -> dict[str, Any]:
    """The application properties of a console's message."""
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
    """What an agent says of itself, in heartbeats and when it is looked for.

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
    """The id of an object. There is no epoch in it: objects outlive the agent."""
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
    """An object with its properties and statistics. Times are nanoseconds since 1970; `deleted` 0: it lives.

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
    """An event. `now` is in nanoseconds since 1970; `severity` 0 (emergency) to 7 (debug).

    :raises NotCarriable: a value in it cannot be sent
    """
    return {
        "_schema_id": dict(schema_id),
        "_values": values.encode(dict(content)),
        "_timestamp": ulong(now),
        "_severity": ubyte(severity),
    }


def method_response(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a method, also where there is none.

    :raises NotCarriable: a value in it cannot be sent
    """
    return {"_arguments": values.encode(dict(arguments))}


def exception(error: VdsmError) -> dict[str, Any]:
    """An error: code and text as QMF has them, and what else the bridge tells of it."""
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
