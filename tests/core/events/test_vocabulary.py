"""Ids, patterns, kinds of events."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdsm_core.events import EventParams, compile_pattern, event_id, event_types


class Dimmed(EventParams, frozen=True):
    """A lamp changed its brightness."""

    component: ClassVar[str] = "light"
    operation: ClassVar[str] = "dimmed"
    percent: int


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("", True),
        ("|", True),
        ("|light", True),
        ("|light|dimmed", True),
        ("|light|dimmed|a.b", True),
        ("light|dimmed|a.b", True),
        ("|*|dimmed|*", True),
        ("|l*t|d*m*d|a*", True),
        ("|light|dim", False),
        ("|light|dimmed|a", False),
        ("|light|dimmed|aXb", False),
        ("|l*d", False),
        ("|ligh?|dimmed", False),
        ("|[l]ight", False),
        ("|vm", False),
    ],
)
def test_patterns(pattern: str, matches: bool) -> None:
    """`*` stands for any text within a part, missing parts match everything, nothing else is special."""
    assert compile_pattern(pattern)("|light|dimmed|a.b") is matches


@given(
    st.tuples(*[st.text(st.characters(exclude_characters="|*", exclude_categories=["Cs"]), min_size=1)] * 3)
)
@settings(max_examples=50, deadline=None)
def test_every_id_matches_itself(parts: tuple[str, str, str]) -> None:
    """An id is a pattern for itself, whatever it holds."""
    name = event_id(*parts)
    assert compile_pattern(name)(name)


@given(st.text("ab*", max_size=8), st.text("abc", max_size=10))
def test_stars_match_as_in_file_names(part: str, text: str) -> None:
    """Within a part, `*` matches what it matches in the patterns of a shell."""
    assert compile_pattern(f"|x|{part}|y")(f"|x|{text}|y") is fnmatchcase(text, part)


@pytest.mark.parametrize("pattern", ["*" * 121 + "bb", "*a" * 100 + "b", "a*" * 100 + "|" + "*" * 500 + "x"])
def test_many_stars(pattern: str) -> None:
    """A pattern is matched in linear time, whatever it is: this one once held the interpreter for hours."""
    assert not compile_pattern(f"|{pattern}")(event_id("a" * 500, "a" * 500, "a" * 500))


def test_an_event_about_no_object() -> None:
    """An event about no single object has VDSM's `no_id`."""
    assert event_id("light", "dimmed", "") == "|light|dimmed|no_id"


def test_event_types_are_known() -> None:
    """Every declared event can be listed."""
    assert Dimmed in event_types()
