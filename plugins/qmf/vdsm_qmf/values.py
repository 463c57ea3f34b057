"""Plain data as AMQP 1.0 carries it, and back.

Outwards everything gets the type that consoles of QMFv2 expect, and nothing that a broker of the AMQP 0-10
age breaks on: no `char`, no `decimal`, no text of 65,536 bytes or more as `string`, no key over 255 bytes.
Inwards text arrives as `string`, as `symbol` or, from every program in C++, as `binary`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Final

import six
from proton import Array, Described, decimal32, decimal64, decimal128, ubyte, uint, ulong

from vdsm_qmf.failures import Malformed, NotCarriable

#: Bytes of UTF-8 that AMQP 0-10 has a text type for (str16, section 3.7 of its specification).
_LONGEST_TEXT: Final = 65_535
#: Bytes of a key in an AMQP 0-10 map (str8).
_LONGEST_KEY: Final = 255
#: A character has four bytes of UTF-8 at the most: shorter texts need not be encoded to be measured.
_SURELY_SHORT: Final = _LONGEST_TEXT // 4
#: Maps and lists inside each other, in both directions.
DEPTH: Final = 64

#: Proton's own kinds of numbers are subclasses of Python's, decimals too.
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
    """What to hand to Proton for a plain value.

    :raises NotCarriable: AMQP cannot carry it, or a receiver of the 0-10 age would break on it
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
    """Plain data of what Proton decoded: text, numbers, booleans, nothing, lists, and maps with text keys.

    :raises Malformed: bytes that are no UTF-8, a type that plain data has no place for, too deep nesting
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
    raise Malformed(reason="decimal numbers are not understood")


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
    raise Malformed(reason=f"a {type(value).__name__} is not understood")


def _decoded_key(name: Any) -> str:
    if isinstance(name, (str, bytes, memoryview)):
        return text_of(name)
    if isinstance(name, (int, uuid.UUID)):
        return str(name)
    raise Malformed(reason="keys of maps must be text")


def text_of(value: Any) -> str:
    """Text of what may have come as text or as bytes.

    :raises Malformed: it is neither, or no UTF-8
    """
    if isinstance(value, memoryview):
        value = bytes(value)
    try:
        return str(six.ensure_text(value))
    except (TypeError, UnicodeDecodeError):
        raise Malformed(reason="bytes must be UTF-8 text") from None
