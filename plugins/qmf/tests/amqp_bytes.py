"""A decoder of AMQP 1.0's encoding that is independent of Proton and keeps the type of every value.

`shape(bytes)` gives the sections of a message. A value is shown as `kind:value`; numbers of a kind are one
kind whatever their width on the wire, as they are for every receiver (section 1.6 of AMQP 1.0).
`v1_map` reads the maps of the first QMF.
"""

from __future__ import annotations

import struct
import uuid
from typing import Any

SECTIONS = {
    0x70: "header",
    0x71: "delivery-annotations",
    0x72: "message-annotations",
    0x73: "properties",
    0x74: "application-properties",
    0x75: "data",
    0x76: "amqp-sequence",
    0x77: "amqp-value",
}
PROPERTIES = (
    "message-id",
    "user-id",
    "to",
    "subject",
    "reply-to",
    "correlation-id",
    "content-type",
    "content-encoding",
    "absolute-expiry-time",
    "creation-time",
    "group-id",
    "group-sequence",
    "reply-to-group-id",
)
#: Format codes of fixed width: kind and struct format.
FIXED = {
    0x40: ("null", ""),
    0x41: ("bool", "true"),
    0x42: ("bool", "false"),
    0x56: ("bool", "?"),
    0x50: ("ubyte", "B"),
    0x60: ("ushort", ">H"),
    0x70: ("uint", ">I"),
    0x52: ("uint", "B"),
    0x43: ("uint", "zero"),
    0x80: ("ulong", ">Q"),
    0x53: ("ulong", "B"),
    0x44: ("ulong", "zero"),
    0x71: ("int", ">i"),
    0x54: ("int", "b"),
    0x81: ("long", ">q"),
    0x55: ("long", "b"),
    0x72: ("float", ">f"),
    0x82: ("double", ">d"),
    0x83: ("timestamp", ">q"),
    0x98: ("uuid", "16s"),
}
CONSTANTS: dict[str, Any] = {"": None, "true": True, "false": False, "zero": 0}
VARIABLE = {0xA0: "binary", 0xA1: "string", 0xA3: "symbol"}


class Value:
    """A kind and a plain value."""

    def __init__(self, kind: str, value: Any) -> None:
        self.kind = kind
        self.value = value

    def __repr__(self) -> str:
        return f"{self.kind}:{self.value!r}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and (self.kind, self.value) == (other.kind, other.value)

    def __hash__(self) -> int:
        return hash((self.kind, repr(self.value)))


def read(data: bytes, at: int = 0) -> tuple[Any, int]:
    """One value, and where the next one begins. Maps and lists are Python's, with `Value`s inside."""
    code, at = data[at], at + 1
    if code == 0x00:
        descriptor, at = read(data, at)
        inner, at = read(data, at)
        return ("described", descriptor, inner), at
    if code in FIXED:
        return _fixed(code, data, at)
    if code & 0xE0 == 0xA0:
        kind = VARIABLE[code & 0xEF | 0xA0]
        width = 1 if code < 0xB0 else 4
        size = int.from_bytes(data[at : at + width], "big")
        raw, at = data[at + width : at + width + size], at + width + size
        return Value(kind, raw if kind == "binary" else raw.decode()), at
    return _compound(code, data, at)


def _fixed(code: int, data: bytes, at: int) -> tuple[Value, int]:
    kind, form = FIXED[code]
    if form in CONSTANTS:
        return Value(kind, CONSTANTS[form]), at
    (value,) = struct.unpack_from(form, data, at)
    if kind == "uuid":
        value = uuid.UUID(bytes=value)
    return Value(kind, value), at + struct.calcsize(form)


def _compound(code: int, data: bytes, at: int) -> tuple[Any, int]:
    if code == 0x45:
        return [], at
    width = 1 if code in (0xC0, 0xC1) else 4
    size = int.from_bytes(data[at : at + width], "big")
    end = at + width + size
    count = int.from_bytes(data[at + width : at + 2 * width], "big")
    at += 2 * width
    items = []
    for _ in range(count):
        item, at = read(data, at)
        items.append(item)
    assert at == end, "the size of a compound is wrong"
    if code in (0xC0, 0xD0):
        return items, end
    assert code in (0xC1, 0xD1), f"code {code:#x} is not expected here"
    keys = items[::2]
    assert all(key.kind in ("string", "symbol") for key in keys), f"keys must be text: {keys}"
    return dict(zip((key.value for key in keys), items[1::2], strict=True)), end


def shape(data: bytes) -> dict[str, Any]:
    """The sections of a message by name; `properties` by the names of their fields, those that are set."""
    found: dict[str, Any] = {}
    at = 0
    while at < len(data):
        (_, descriptor, value), at = read(data, at)
        found[SECTIONS[descriptor.value]] = value
    fields = zip(PROPERTIES, found.get("properties", ()), strict=False)
    found["properties"] = {name: value for name, value in fields if value.kind != "null"}
    return found


def kinds(value: Any) -> Any:
    """The same with every value replaced by its kind."""
    if isinstance(value, dict):
        return {name: kinds(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [kinds(inner) for inner in value]
    return value.kind


def plain(value: Any) -> Any:
    """The same with every value as Python has it."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.value


def str8(data: bytes, at: int) -> tuple[str, int]:
    return data[at + 1 : at + 1 + data[at]].decode(), at + 1 + data[at]


def v1_map(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    """A map of AMQP 0-10, read by its specification."""
    size, count = struct.unpack_from(">II", data, at)
    end, at, found = at + 4 + size, at + 8, {}
    for _ in range(count):
        name, at = str8(data, at)
        code, at = data[at], at + 1
        if code == 0x32:
            found[name], at = struct.unpack_from(">Q", data, at)[0], at + 8
        else:
            assert code == 0x95
            (length,) = struct.unpack_from(">H", data, at)
            found[name], at = data[at + 2 : at + 2 + length].decode(), at + 2 + length
    assert at == end
    return found, at
