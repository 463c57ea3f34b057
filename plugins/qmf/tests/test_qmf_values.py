"""Plain data out to AMQP's types and back: what receivers of the 0-10 age can take, and nothing else."""

from __future__ import annotations

import math
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proton import UNDESCRIBED, Array, Data, Described, Message, char, decimal64, symbol, ulong

from vdsm_qmf.protocol import values
from vdsm_qmf.protocol.errors import Malformed, NotCarriable

from .amqp_bytes import kinds, shape

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=15,
)
#: Types that every receiver knows (section 3 of the protocol's facts): no char, no decimal.
CARRIED = {"null", "bool", "long", "ulong", "double", "string", "binary"}


def travel(value: Any) -> Any:
    """Over the wire and back."""
    message = Message(body={"value": values.encode(value)})
    message.inferred = False
    read = Message()
    read.decode(message.encode())
    return values.decode(read.body)["value"]


def leaves(shown: Any) -> set[str]:
    """Every kind of value in a shape."""
    if isinstance(shown, dict):
        return set().union(*map(leaves, shown.values())) if shown else set()
    if isinstance(shown, list):
        return set().union(*map(leaves, shown)) if shown else set()
    return {shown}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and one == other


@settings(deadline=None)
@given(PLAIN)
def test_what_goes_out_comes_back(value: Any) -> None:
    """Unchanged, types included, and encoded with types that all receivers support."""
    assert same(value, travel(value))
    message = Message(body={"value": values.encode(value)})
    message.inferred = False
    assert leaves(kinds(shape(bytes(message.encode()))["amqp-value"])) <= CARRIED


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("x" * 65_535, str),
        ("x" * 65_536, bytes),
        ("\u20ac" * 21_845, str),
        ("\u20ac" * 21_846, bytes),
        (2**63 - 1, int),
        (2**63, ulong),
    ],
)
def test_bounds(value: Any, kind: type) -> None:
    """A text without a type in AMQP 0-10 is sent as binary, a number beyond the signed ones as unsigned."""
    assert type(values.encode(value)) is kind
    assert travel(value) == value


def test_text_without_utf8() -> None:
    """Half a surrogate pair, which JSON allows, becomes a question mark instead of an error."""
    assert travel("a\ud800b") == "a?b"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**64, "does not fit into 64 bits"),
        (-(2**63) - 1, "does not fit into 64 bits"),
        ({"k" * 256: 1}, "a key is longer than 255 bytes"),
        ({"\u20ac" * 86: 1}, "a key is longer than 255 bytes"),
        (object(), "AMQP has no type for a object"),
    ],
)
def test_what_cannot_be_sent(value: Any, reason: str) -> None:
    """It is refused before a receiver breaks on it."""
    with pytest.raises(NotCarriable, match=reason):
        values.encode({"a": [value]})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (symbol("s"), "s"),
        (b"bytes", "bytes"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (ulong(7), 7),
        (char("c"), "c"),
        (Described(symbol("d"), [1]), [1]),
        (Array(UNDESCRIBED, Data.STRING, "a", "b"), ["a", "b"]),
        ({symbol("a"): 1, 5: 2}, {"a": 1, "5": 2}),
    ],
)
def test_what_others_send(value: Any, expected: Any) -> None:
    """Symbols, binaries, uuids, arrays, described values: plain data."""
    assert values.decode(value) == expected


def test_what_is_not_understood() -> None:
    """Decimals, bytes that are no text, and maps without end are refused in words."""
    deep: Any = 1
    for _ in range(values.DEPTH + 1):
        deep = [deep]
    for value, reason in ((decimal64(1), "decimal"), (b"\xff", "UTF-8"), (deep, "nested deeper")):
        with pytest.raises(Malformed, match=reason):
            values.decode({"a": value} if value is not deep else deep)
        if value is deep:
            with pytest.raises(NotCarriable, match=reason):
                values.encode(deep)
