"""The envelope of QMFv2 messages: from plain data to bytes and back."""

from __future__ import annotations

import uuid
from typing import Any, Final

import msgspec
from proton import Data, Message, ProtonException, symbol

from vdsm_qmf.protocol import values
from vdsm_qmf.protocol.errors import Malformed, NotCarriable

OPCODE: Final = "qmf.opcode"
AGENT: Final = "qmf.agent"
CONTENT: Final = "qmf.content"
METHOD: Final = "method"
PARTIAL: Final = "partial"
#: qpidd translates it to the 0-10 field `app_id`, which consoles in C++ require.
APP_ID: Final = "x-amqp-0-10.app-id"
QMF2: Final = "qmf2"

MAP: Final = "amqp/map"
LIST: Final = "amqp/list"

#: Descriptors of the sections of a message (AMQP 1.0, section 3.2).
_PROPERTIES: Final = 0x73
_APPLICATION_PROPERTIES: Final = 0x74
#: Exceptions of Proton's decoder for bytes that are no message (OverflowError: an invalid character).
_UNREADABLE: Final = (ProtonException, ValueError, TypeError, AttributeError, KeyError, OverflowError)
_BEFORE_BODY: Final = (0x70, 0x71, 0x72, _PROPERTIES, _APPLICATION_PROPERTIES)
#: The symbolic descriptors of the same two, which a sender may use instead.
_NAMED: Final[dict[Any, Any]] = {
    "amqp:properties:list": _PROPERTIES,
    "amqp:application-properties:map": _APPLICATION_PROPERTIES,
}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A received message. `body` is plain data, or bytes if it was a Data section."""

    properties: dict[str, Any] = {}
    body: Any = None
    reply_to: str = ""
    #: As received, whatever its type: it is returned unchanged.
    correlation_id: Any = None
    user_id: str = ""
    #: Seconds; 0 means that the message has none.
    ttl: float = 0.0
    #: Why only the head could be parsed.
    error: Exception | None = None

    @property
    def opcode(self) -> str:
        """The opcode; empty if the message has none."""
        value = self.properties.get(OPCODE, "")
        return value if isinstance(value, str) else ""

    def text(self, name: str) -> str:
        """Return an application property that is text; empty if the message does not have it.

        :raises Malformed: the property is not text
        """
        value = self.properties.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise Malformed(reason=f"the property {name} must be text")
        return value


class Address(msgspec.Struct, frozen=True):
    """The destination of a message: a routing key on an exchange; without an exchange, a queue."""

    exchange: str
    key: str


def compose(
    body: Any,
    address: Address,
    properties: dict[str, Any],
    *,
    correlation_id: Any = None,
    reply_to: str = "",
    user_id: str = "",
    ttl: float = 0.0,
) -> bytes:
    """Return the bytes of a message with a map or a list as its body.

    :param ttl: seconds; 0 means without end
    :raises NotCarriable: a value in it cannot be sent
    """
    message = Message(body=body)
    message.content_type = symbol(MAP if isinstance(body, dict) else LIST)
    message.inferred = False  # an amqp-value: a list as amqp-sequence breaks all 0-10 consoles
    _address(message, address)
    message.properties = properties  # type: ignore[assignment]  # Proton's stub knows only None
    if correlation_id is not None:
        message.correlation_id = correlation_id
    if reply_to:
        message.reply_to = reply_to
    if user_id:
        message.user_id = user_id.encode()
    if ttl:
        message.ttl = ttl
    return _bytes(message)


def compose_data(data: bytes, address: Address, properties: dict[str, Any]) -> bytes:
    """Return the bytes of a message with a Data section, as in QMFv1."""
    message = Message(body=data)
    message.inferred = True
    _address(message, address)
    message.properties = properties  # type: ignore[assignment]  # Proton's stub knows only None
    return _bytes(message)


def _address(message: Message, address: Address) -> None:
    message.address = address.exchange or address.key
    if address.exchange:
        message.subject = address.key


def _bytes(message: Message) -> bytes:
    try:
        return bytes(message.encode())
    except ProtonException as error:
        raise NotCarriable(reason=str(error)) from None


def parse(data: bytes) -> Request:
    """Parse a message. If only its head can be parsed, `Request.error` has the reason.

    :raises Malformed: not even the head can be parsed
    """
    try:
        return _parse(data)
    except _UNREADABLE as error:
        return parse_head(data, Malformed(reason=f"it is no AMQP message ({error})"))


def _parse(data: bytes) -> Request:
    message = Message()
    message.decode(data)
    malformed: Exception | None = None
    body: Any = None
    try:
        body = _body(message)
    except Malformed as error:
        malformed = error
    return Request(
        properties=_properties(message.properties),
        body=body,
        reply_to=message.reply_to or "",
        correlation_id=_correlation(message.correlation_id),
        user_id=_user(message.user_id),
        ttl=message.ttl or 0.0,
        error=malformed,
    )


def _body(message: Message) -> Any:
    body = message.body
    if isinstance(body, (bytes, memoryview)):
        return bytes(body)
    return values.decode(body)


def parse_head(data: bytes, error: Exception) -> Request:
    """Parse what precedes the body: enough to answer with an exception.

    :param data: the beginning of a message, whose rest may be missing
    :param error: why the message is not parsed as a whole
    :raises Malformed: the head is missing or malformed
    """
    found: dict[int, Any] = {}
    try:
        while data:
            section = Data()
            used = section.decode(data)
            section.rewind()
            section.next()
            described = section.get_py_described()
            number = _NAMED.get(described.descriptor, described.descriptor)
            if number not in _BEFORE_BODY:
                break
            found[number] = described.value
            data = data[used:]
    except _UNREADABLE:
        if _PROPERTIES not in found:
            raise Malformed(reason="it is no AMQP message") from None
    section = found.get(_PROPERTIES, [])
    if not isinstance(section, list):
        raise Malformed(reason="its properties are no list")
    fields = section + [None] * 6
    # message-id, user-id, to, subject, reply-to, correlation-id (AMQP 1.0, section 3.2.4)
    return Request(
        properties=_properties(found.get(_APPLICATION_PROPERTIES)),
        reply_to=str(fields[4] or ""),
        correlation_id=_correlation(fields[5]),
        user_id=_user(fields[1]),
        error=error,
    )


def _properties(properties: Any) -> dict[str, Any]:
    if not isinstance(properties, dict):
        return {}
    plain = {}
    for name, value in properties.items():
        try:
            plain[values.text_of(name)] = values.decode(value)
        except Malformed:
            # An unreadable property is ignored.
            continue
    return plain


def _correlation(value: Any) -> Any:
    if isinstance(value, memoryview):
        return bytes(value)
    return value if isinstance(value, (str, int, bytes, uuid.UUID)) else None


def _user(value: Any) -> str:
    if not value:
        return ""
    try:
        return values.text_of(value)
    except Malformed:
        return ""
