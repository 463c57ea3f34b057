"""The schema exchange of QMFv1, in its binary form.

Consoles of the AMQP 0-10 age request a class this way before they show an object or an event of it, even if
all other messages are QMFv2. Numbers are big endian; a map is AMQP 0-10's (its specification, section 3.6).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from vdsm_qmf.protocol.bodies import DATA
from vdsm_qmf.protocol.errors import Malformed
from vdsm_qmf.schema import types as qmftypes
from vdsm_qmf.schema.classes import Method, Property, SchemaClass

REQUEST_MARK: Final = b"AM2S"
_RESPONSE_MARK: Final = b"AM2s"

_KIND_DATA: Final = 1
_KIND_EVENT: Final = 2

#: Type codes of QMFv1.
_TYPES: Final[Mapping[str, int]] = {
    qmftypes.BOOL: 11,
    qmftypes.INT: 19,
    qmftypes.FLOAT: 13,
    qmftypes.STRING: 7,
    qmftypes.MAP: 15,
    qmftypes.LIST: 21,
}
_READ_ONLY: Final = 3

# Type codes of AMQP 0-10.
_UINT64: Final = 0x32
_STR16: Final = 0x95
_MAX_STR8: Final = 255
_MAX_STR16: Final = 65_535


class SchemaRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for one class. `sequence` is returned with the answer."""

    sequence: int
    package: str
    name: str
    hash: bytes


def is_request(body: Any) -> bool:
    """Return whether a body is a schema request of QMFv1."""
    return isinstance(body, bytes) and body.startswith(REQUEST_MARK)


def parse_request(data: bytes) -> SchemaRequest:
    """Parse a request.

    :raises Malformed: the request is incomplete
    """
    try:
        (sequence,) = struct.unpack_from(">I", data, 4)
        package, at = _read_str8(data, 8)
        name, at = _read_str8(data, at)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise Malformed(reason="it is an incomplete schema request") from None
    digest = data[at : at + 16]
    if len(digest) != 16:
        raise Malformed(reason="it is an incomplete schema request")
    return SchemaRequest(sequence=sequence, package=package, name=name, hash=digest)


def response(sequence: int, schema: SchemaClass) -> bytes:
    """Return the answer: the class in the form of QMFv1."""
    kind = _KIND_DATA if schema.kind == DATA else _KIND_EVENT
    head = b"".join(
        (
            _RESPONSE_MARK,
            struct.pack(">IB", sequence, kind),
            _str8(schema.package),
            _str8(schema.name),
            schema.hash.bytes,
        )
    )
    if kind == _KIND_EVENT:
        arguments = [_map(_common(one)) for one in schema.properties]
        return head + struct.pack(">H", len(arguments)) + b"".join(arguments)
    properties = [one for one in schema.properties if not one.statistic]
    statistics = [one for one in schema.properties if one.statistic]
    counts = struct.pack(">HHH", len(properties), len(statistics), len(schema.methods))
    return b"".join(
        (
            head,
            counts,
            *(_map(_property(one)) for one in properties),
            *(_map(_common(one)) for one in statistics),
            *(_method(one) for one in schema.methods),
        )
    )


def _method(method: Method) -> bytes:
    head = {"name": method.name, "argCount": len(method.arguments), "desc": method.doc}
    return _map(head) + b"".join(_map(_argument(one)) for one in method.arguments)


def _argument(one: Property) -> dict[str, Any]:
    form = {**_common(one), "dir": one.direction}
    if one.default is not None:
        form["default"] = one.default
    return form


def _property(one: Property) -> dict[str, Any]:
    return {
        **_common(one),
        "access": _READ_ONLY,
        "index": int(one.index),
        "optional": int(one.optional),
    }


def _common(one: Property) -> dict[str, Any]:
    form: dict[str, Any] = {"name": one.name, "type": _TYPES[one.type.type]}
    if one.type.unit:
        form["unit"] = one.type.unit
    if one.doc:
        form["desc"] = one.doc
    return form


def _map(content: Mapping[str, Any]) -> bytes:
    body = struct.pack(">I", len(content)) + b"".join(
        _str8(name) + _value(value) for name, value in content.items()
    )
    return struct.pack(">I", len(body)) + body


def _value(value: int | str) -> bytes:
    if isinstance(value, int):
        return struct.pack(">BQ", _UINT64, value)
    data = value.encode()[:_MAX_STR16]
    return struct.pack(">BH", _STR16, len(data)) + data


def _str8(text: str) -> bytes:
    data = text.encode()[:_MAX_STR8]
    return bytes((len(data),)) + data


def _read_str8(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(), end
