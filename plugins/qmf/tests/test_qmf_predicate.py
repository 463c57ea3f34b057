"""Predicates of queries, and the regular expressions in them."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vdsm_qmf.protocol.errors import InvalidQuery
from vdsm_qmf.protocol.pattern import BadPattern, compile_pattern
from vdsm_qmf.protocol.predicate import compile_predicate

VALUES = {"name": "g2", "memSize": 512, "lit": True, "text": "12", "marks": ["a"]}


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        (None, True),
        ([], True),
        (["true"], True),
        (["false"], False),
        (["eq", "name", ["quote", "g2"]], True),
        (["eq", ["quote", "g2"], "name"], True),
        (["eq", "name", "memSize"], False),
        (["ne", "name", ["quote", "g3"]], True),
        (["eq", "memSize", ["quote", "512"]], True),
        (["eq", "lit", ["quote", "true"]], True),
        (["eq", "marks", ["quote", ["a"]]], True),
        (["eq", "nothing", ["quote", "g2"]], False),
        (["ne", "nothing", ["quote", "g2"]], False),
        (["lt", "memSize", 513], True),
        (["ge", "text", ["quote", "9"]], True),
        (["gt", "name", ["quote", "g1"]], True),
        (["le", "nothing", 5], False),
        (["lt", "marks", 5], False),
        (["exists", "name"], True),
        (["exists", "nothing"], False),
        (["not", ["exists", "nothing"]], True),
        (["and", ["exists", "name"], ["gt", "memSize", 600]], False),
        (["or", ["exists", "name"], ["gt", "memSize", 600]], True),
        (["re_match", "name", ["quote", "^g[0-9]$"]], True),
        (["re_match", "memSize", ["quote", "5"]], False),
    ],
)
def test_predicates(predicate: Any, expected: bool) -> None:
    """They match as in QMFv2; an absent property is neither equal nor unequal."""
    assert compile_predicate(predicate)(VALUES) is expected


@pytest.mark.parametrize(
    ("predicate", "message"),
    [
        ("eq", "a predicate is a list that begins with an operator"),
        ([5], "a predicate is a list that begins with an operator"),
        (["like", "a", "b"], "there is no operator 'like'"),
        (["eq", "name"], "'eq' takes 2 operands"),
        (["exists"], "'exists' takes 1 operand"),
        (["exists", 5], "'exists' takes the name of a property"),
        (["not"], "'not' takes one predicate"),
        (["eq", "name", ["g2"]], r'a literal operand is written \["quote", value\]'),
        (["re_match", "name", ["quote", "("]], "'[(]' cannot be used as a regular expression: missing [)]"),
        (["re_match", "name", ["quote", "a" * 257]], "the pattern is longer than 256"),
    ],
)
def test_what_is_no_predicate(predicate: Any, message: str) -> None:
    """It is refused, and the words say why."""
    with pytest.raises(InvalidQuery, match=message):
        compile_predicate(predicate)(VALUES)


def test_nesting_is_bounded() -> None:
    """A predicate of a thousand levels is refused before it is understood."""
    predicate: Any = ["true"]
    for _ in range(1000):
        predicate = ["not", predicate]
    with pytest.raises(InvalidQuery, match="nested deeper than 32"):
        compile_predicate(predicate)


@pytest.mark.parametrize(
    "pattern", ["(a|a)*b", "(a*)*b", "(.|.)*(.|.)*z", "a?" * 80 + "a" * 80, ".*.*.*.*.*x"]
)
def test_no_pattern_holds_the_host(pattern: str) -> None:
    """Patterns on which Python's own engine takes exponential time end soon."""
    begun = time.monotonic()
    assert not compile_pattern(pattern)("a" * (79 if "?" in pattern else 1000))
    assert time.monotonic() - begun < 20.0


PARTS = st.sampled_from([*list("abc.^$"), "[ab]", "[^a]", "[a-b]", r"\d", r"\W", r"\.", "[]a]", "[a-]"])


@st.composite
def patterns(draw: st.DrawFn, depth: int = 3) -> str:
    """Expressions that both engines support."""
    if not depth or draw(st.booleans()):
        part = draw(PARTS)
    else:
        inner = patterns(depth - 1)
        part = draw(st.sampled_from(["({}|{})", "(?:{}{})", "({}{})"])).format(draw(inner), draw(inner))
    return part + (draw(st.sampled_from(["", "*", "+", "?", "*?"])) if part not in ("^", "$") else "")


@settings(max_examples=200, deadline=None)
@given(patterns(), st.text("abc1.-", max_size=8))
def test_same_as_pythons(pattern: str, text: str) -> None:
    """Both engines match alike what both support."""
    try:
        expected = re.search(pattern, text) is not None
    except re.error:
        # Python does not repeat an anchor.
        assume(False)
    assert compile_pattern(pattern)(text) == expected


@pytest.mark.parametrize("pattern", [")", "(", "[a", "*a", "a**", "(?=a)", r"(a)\1", "\\", "[b-a]"])
def test_what_is_no_pattern(pattern: str) -> None:
    """What RE2 cannot match in linear time, or what is no expression at all, is refused with the reason."""
    with pytest.raises(BadPattern, match=r"\w"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a{1000}){1000}",
        "(" * 12 + "a" + "){9}" * 12,
        "a{99999999}",
        "(?:(?:a{0,500}b?){0,500}){0,99}c",
        r"\pL{500}" * 30,
        r"[\p{L}\p{N}]{0,900}" * 12,
    ],
)
def test_no_pattern_takes_the_memory_of_the_host(pattern: str) -> None:
    """Repetition counts whose program would be large are refused, within a bounded time and memory."""
    begun, before = time.monotonic(), _resident()
    with pytest.raises(BadPattern, match=r"invalid repetition size|pattern too large"):
        compile_pattern(pattern)
    assert time.monotonic() - begun < 20.0
    assert _resident() - before < 32 * 1024 * 1024


def test_patterns_that_are_kept_are_small() -> None:
    """Ever new patterns fill a bounded cache with small entries."""
    text = "ab" * 512
    before = _resident()
    for number in range(400):
        assert not compile_pattern(f"(a|b)*a(a|b){{{10 + number % 15}}}c{number}")(text)
    assert _resident() - before < 64 * 1024 * 1024


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("a{2}", "aa", True),
        (r"\bb", "ab", False),
        ("(" * 30 + "a" + ")" * 30, "a", True),
        ("^.$", "\u00e9", True),
        ("^[\u00e0-\u00ff]$", "\u00e9", True),
        ("^a.$", "a\ud800", True),
        ("a$", "a\n", False),
    ],
)
def test_what_patterns_match(pattern: str, text: str, expected: bool) -> None:
    """Counts, word boundaries and nested groups work; a character is one letter, whatever its bytes are."""
    assert compile_pattern(pattern)(text) is expected
