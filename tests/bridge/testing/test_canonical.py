"""Bringing results of all protocols to one form: the kit must not hide a difference."""

from __future__ import annotations

from typing import Any

import pytest

from vdsm_bridge.testing.canonical import canonical, shape
from vdsm_bridge.testing.sample import LampParams, Spellings
from vdsm_core.types import Text1f, Text2f, TypeMismatch

AS_TEXT = {
    "whole": 7,
    "big": "1099511627776",
    "fraction": 0.5,
    "flag": True,
    "text": "a",
    "textInt": "-3",
    "textUint": "9223372036854775808",
    "textBool": "true",
    "titleBool": "False",
    "twoPlaces": "1.00",
    "onePlace": "2.2",
    "words": ["x"],
    "nested": {"k": [1]},
}
AS_JSON = {
    **AS_TEXT,
    "big": 2**40,
    "textInt": -3,
    "textUint": 2**63,
    "textBool": True,
    "titleBool": False,
    "twoPlaces": 1.005,
    "onePlace": 2.25,
}


def test_text_and_json_are_the_same() -> None:
    """What a spelling rounds is rounded on both sides; nothing else is."""
    assert canonical(AS_TEXT, Spellings, text=True) == canonical(AS_JSON, Spellings)


@pytest.mark.parametrize("member", [name for name in AS_TEXT if name != "nested"])
def test_a_difference_is_seen(member: str) -> None:
    """Another value of any member makes another result."""
    other: dict[str, Any] = {
        "twoPlaces": 1.02,
        "onePlace": 2.35,
        "words": ["y"],
        "text": "b",
        "fraction": 0.505,
    }
    flipped = not AS_JSON[member] if isinstance(AS_JSON[member], bool) else 3
    changed = {**AS_JSON, member: other.get(member, flipped)}
    assert canonical(changed, Spellings) != canonical(AS_JSON, Spellings)


@pytest.mark.parametrize(
    ("value", "type_", "rounded"),
    [
        ([1.005, 2.0], list[Text2f], [1.0, 2.0]),
        ({"a": {"b": 0.26}}, dict[str, dict[str, Text1f]], {"a": {"b": 0.3}}),
        ([0.26, 0.26], tuple[Text1f, float], [0.3, 0.26]),
        (0.26, Text1f | None, 0.3),
        (None, Text1f | None, None),
        ([0.26], list[Text1f] | None, [0.3]),
        (
            {"lampID": "11111111-2222-4333-8444-555555555555", "name": "a", "extra": 0.26},
            LampParams,
            {
                "lampID": "11111111-2222-4333-8444-555555555555",
                "name": "a",
                "colour": "red",
                "watts": 10,
                "extra": 0.26,
            },
        ),
    ],
)
def test_rounding_reaches_everywhere(value: Any, type_: Any, rounded: Any) -> None:
    """Into lists, structures and choices; what no spelling rounds stays."""
    assert canonical(value, type_) == rounded


def test_what_is_no_such_result_is_refused() -> None:
    """Data of another type is an error, not a difference."""
    with pytest.raises(TypeMismatch):
        canonical({"whole": "x"}, Spellings)


def test_shapes() -> None:
    """Keys and kinds count, values and the length of lists do not."""
    assert shape({"a": [1, 2], "b": "x"}) == shape({"b": "y", "a": [3]})
    assert shape({"a": [1]}) != shape({"a": ["1"]})
    assert shape({"a": 1}) != shape({"a": 1, "b": 1})
    assert shape(True) != shape(1)
