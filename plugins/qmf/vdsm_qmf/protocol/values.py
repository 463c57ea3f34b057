"""Conversion of plain data to the types of AMQP 1.0, and back.

Encoding uses the types that consoles of QMFv2 expect, and none that break a broker of the AMQP 0-10 age:
no `char`, no `decimal`, no text of 65,536 bytes or more as `string`, no key over 255 bytes.
Received text is a `string`, a `symbol` or, from all programs in C++, a `binary`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Final

import six
from proton import Array, Described, decimal32, decimal64, decimal128, ubyte, uint, ulong

from vdsm_qmf.protocol.errors import Malformed, NotCarriable

#: Bytes of UTF-8 that AMQP 0-10 has a text type for (str16, section 3.7 of its specification).
_LONGEST_TEXT: Final = 65_535
#: Bytes of a key in an AMQP 0-10 map (str8).
_LONGEST_KEY: Final = 255
#: A character has at most four bytes of UTF-8: shorter texts need not be encoded to be measured.
_SURELY_SHORT: Final = _LONGEST_TEXT // 4
#: Levels of nested maps and lists, in both directions.
DEPTH: Final = 64

#: Proton's number types are subclasses of Python's, decimals too.
_SCALARS: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (decimal32, lambda _value: _no_decimals()),
    (decimal64, lambda _value: _no_decimals()),
    (decimal128, lambda _value: _no_decimals()),
    (float, float),
    (int, int),
    (uuid.UUID, str),
)

_TYPED: Final = (ulong, uint, ubyte, uuid.UUID)


def encode(value: Any, depth: int = DEPTH) -> Any:
    """Convert a plain value for Proton.

    :raises NotCarriable: AMQP cannot carry the value, or it would break a receiver of the 0-10 age
    """
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is bool or value is None or kind is float or kind in _TYPED or kind is bytes:
        return value
    if kind is int:
        return _whole(value)
    if not depth:
        raise NotCarriable(reason=f"it is nested deeper than {DEPTH}")
    if isinstance(value, dict):
        return {_key(name): encode(item, depth - 1) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [encode(item, depth - 1) for item in value]
    raise NotCarriable(reason=f"AMQP has no type for a {kind.__name__}")


def _text(value: str) -> str | bytes:
    if len(value) <= _SURELY_SHORT and value.isascii():
        return value
    data = value.encode("utf-8", "replace")  # lone surrogates, which JSON lets pass, have no UTF-8
    if len(data) > _LONGEST_TEXT:
        return data
    return data.decode("utf-8")


def _whole(value: int) -> int:
    if -(2**63) <= value < 2**63:
        return value
    if 0 <= value < 2**64:
        return ulong(value)
    raise NotCarriable(reason=f"{value} does not fit into 64 bits")


def _key(name: Any) -> str:
    text = name if isinstance(name, str) else str(name)
    if len(text.encode("utf-8", "replace")) > _LONGEST_KEY:
        raise NotCarriable(reason=f"a key is longer than {_LONGEST_KEY} bytes")
    return text


def decode(value: Any, depth: int = DEPTH) -> Any:
    """Convert a value from Proton to plain data: text, numbers, booleans, None, lists, maps with text keys.

    :raises Malformed: bytes are not UTF-8, a type has no plain counterpart, or the nesting is too deep
    """
    kind = type(value)
    if kind is str or kind is int or kind is bool or kind is float or value is None:
        return value
    if isinstance(value, (str, bytes, memoryview)):
        return text_of(value)
    for known, convert in _SCALARS:
        if isinstance(value, known):
            return convert(value)
    return _container(value, depth)


def _no_decimals() -> None:
    raise Malformed(reason="decimal numbers are not supported")


def _container(value: Any, depth: int) -> Any:
    if not depth:
        raise Malformed(reason=f"it is nested deeper than {DEPTH}")
    if isinstance(value, Described):
        return decode(value.value, depth - 1)
    if isinstance(value, dict):
        return {_decoded_key(name): decode(item, depth - 1) for name, item in value.items()}
    if isinstance(value, Array):
        return [decode(item, depth - 1) for item in value.elements]
    if isinstance(value, list):
        return [decode(item, depth - 1) for item in value]
    raise Malformed(reason=f"the type {type(value).__name__} is not supported")


def _decoded_key(name: Any) -> str:
    if isinstance(name, (str, bytes, memoryview)):
        return text_of(name)
    if isinstance(name, (int, uuid.UUID)):
        return str(name)
    raise Malformed(reason="keys of maps must be text")


def text_of(value: Any) -> str:
    """Return text that was received as text or as bytes.

    :raises Malformed: the value is neither, or not UTF-8
    """
    if isinstance(value, memoryview):
        value = bytes(value)
    try:
        return str(six.ensure_text(value))
    except (TypeError, UnicodeDecodeError):
        raise Malformed(reason="bytes must be UTF-8 text") from None
