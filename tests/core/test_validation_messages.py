"""msgspec's messages and their translation, pinned to the versions of msgspec that were tried.

The message of each case is the same in every version of the range in pyproject.toml. To widen the range:
install the new version, run this module, translate what has changed, and raise the bound.
"""

from __future__ import annotations

import enum
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from vdsm_core import validation_messages
from vdsm_core.types import TypeMismatch, convert
from vdsm_core.validation_messages import WORDS

ROOT = Path(__file__).parents[2]


class Colour(enum.Enum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


class Lamp(msgspec.Struct, forbid_unknown_fields=True):
    """A structure."""

    watts: int
    colour: Literal["blue", "red"] = "red"


Small = Annotated[list[int], Meta(max_length=1)]
Digits = Annotated[str, Meta(pattern=r"^\d+$", extra={WORDS: "some digits"})]
Quoted = Annotated[str, Meta(pattern="^'\\d'$")]

#: Type, data that does not fit, msgspec's message, and the sentence for callers.
CASES: list[tuple[Any, Any, str, str]] = [
    (int, "a", "Expected `int`, got `str`", "expected a whole number, got text"),
    (int, 1.5, "Expected `int`, got `float`", "expected a whole number, got a fraction"),
    (float, True, "Expected `float`, got `bool`", "expected a number, got true or false"),
    (bool, 1, "Expected `bool`, got `int`", "expected true or false, got a whole number"),
    (str, None, "Expected `str`, got `null`", "expected text, got nothing"),
    (None, [], "Expected `null`, got `array`", "expected nothing, got a list"),
    (Lamp, [1], "Expected `object`, got `array`", "expected a structure, got a list"),
    (list[int], {}, "Expected `array`, got `object`", "expected a list, got a structure"),
    (int | None, "a", "Expected `int | null`, got `str`", "expected a whole number or nothing, got text"),
    (Annotated[int, Meta(ge=3)], 1, "Expected `int` >= 3", "expected a whole number of at least 3"),
    (Annotated[int, Meta(gt=3)], 1, "Expected `int` >= 4", "expected a whole number of at least 4"),
    (Annotated[int, Meta(le=3)], 5, "Expected `int` <= 3", "expected a whole number of at most 3"),
    (Annotated[int, Meta(lt=3)], 5, "Expected `int` <= 2", "expected a whole number of at most 2"),
    (Annotated[float, Meta(ge=1)], 0.5, "Expected `float` >= 1.0", "expected a number of at least 1"),
    (Annotated[float, Meta(le=0.5)], 0.7, "Expected `float` <= 0.5", "expected a number of at most 0.5"),
    (Annotated[float, Meta(gt=0)], 0.0, "Expected `float` > 0.0", "expected a number of more than 0"),
    (Annotated[float, Meta(lt=2)], 2.5, "Expected `float` < 2.0", "expected a number of less than 2"),
    (
        Annotated[int, Meta(multiple_of=4)],
        5,
        "Expected `int` that's a multiple of 4",
        "expected a whole number that is a multiple of 4",
    ),
    (
        Annotated[str, Meta(min_length=2)],
        "a",
        "Expected `str` of length >= 2",
        "expected text of at least 2 characters",
    ),
    (
        Annotated[str, Meta(max_length=2)],
        "abc",
        "Expected `str` of length <= 2",
        "expected text of at most 2 characters",
    ),
    (Small, [1, 2], "Expected `array` of length <= 1", "expected a list of at most 1 items"),
    (
        Annotated[dict[str, int], Meta(min_length=2)],
        {},
        "Expected `object` of length >= 2",
        "expected a structure of at least 2 members",
    ),
    (
        tuple[int, int],
        [1, 2, 3],
        "Expected `array` of length 2, got 3",
        "expected a list of exactly 2 items, got 3",
    ),
    (Digits, "x", r"Expected `str` matching regex '^\\d+$'", "expected some digits"),
    (
        Quoted,
        "x",
        "Expected `str` matching regex \"^'\\\\d'$\"",
        "expected text that matches ^'\\d'$",
    ),
    (
        dict[Digits, int],
        {"x": 1},
        r"Expected `str` matching regex '^\\d+$' - at `key` in `$`",
        "one of its keys: expected some digits",
    ),
    (Literal["a", "b"], "c", "Invalid enum value 'c'", "'c' is not one of 'a', 'b'"),
    (Literal[1, 2], 7, "Invalid enum value 7", "7 is not one of 1, 2"),
    (Colour, "green", "Invalid enum value 'green'", "'green' is not one of 'red', 'blue'"),
    (list[int], [1, "a"], "Expected `int`, got `str` - at `$[1]`", "expected a whole number, got text"),
    (
        dict[str, Lamp],
        {"x": {"watts": 1, "colour": "green"}},
        "Invalid enum value 'green' - at `$[...].colour`",
        "'green' is not one of 'blue', 'red'",
    ),
    (Lamp, {}, "Object missing required field `watts`", "it is missing"),
    (Lamp, {"watts": 1, "x": 1}, "Object contains unknown field `x`", "it is not known"),
]


@pytest.mark.parametrize(("type_", "data", "message", "sentence"), CASES)
def test_each_message_of_msgspec_has_its_translation(
    type_: Any, data: Any, message: str, sentence: str
) -> None:
    """msgspec's message is the one that the translation expects, and callers get the sentence."""
    with pytest.raises(msgspec.ValidationError) as raw:
        msgspec.convert(data, type_)
    assert str(raw.value) == message, "msgspec changed this message: adapt vdsm_core/validation_messages.py"
    with pytest.raises(TypeMismatch) as sentences:
        convert(data, type_)
    assert sentences.value.reason == sentence


@pytest.mark.parametrize("table", ["_NOUNS", "_PARTS", "_COMPARED"])
def test_the_cases_leave_no_word_out(table: str) -> None:
    """Every word of the translation is in a case."""
    sentences = " / ".join(sentence for _, _, _, sentence in CASES)
    assert [word for word in vars(validation_messages)[table].values() if word not in sentences] == []


def test_the_cases_leave_no_kind_of_message_out() -> None:
    """Every form of message of the translation is in a case; an unknown form is passed on."""
    messages = [re.sub(" - at .*", "", message) for _, _, message, _ in CASES]
    expected = [match for message in messages if (match := validation_messages._EXPECTED.fullmatch(message))]
    rules = [match["rule"] for match in expected]
    for pattern in (validation_messages._LENGTH, validation_messages._RANGE, validation_messages._PATTERN):
        assert any(pattern.fullmatch(rule) for rule in rules)
    assert any(validation_messages._CHOICE.fullmatch(message) for message in messages)
    assert validation_messages.explain("Invalid UUID", "", str, {}) == "Invalid UUID"


def tried() -> SpecifierSet:
    """The versions of msgspec that vdsm may be installed with."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (found,) = (each for each in map(Requirement, dependencies) if each.name == "msgspec")
    return found.specifier


def untried(version: str) -> str:
    """Say that a version of msgspec is outside of the range; empty if it is inside."""
    if tried().contains(version, prereleases=True):
        return ""
    return (
        f"msgspec {version} is installed, but its messages are translated for {tried()} only. Run "
        f"{Path(__file__).name} with it, adapt vdsm_core/validation_messages.py, and change the range in "
        "pyproject.toml"
    )


def test_the_installed_msgspec_is_one_whose_messages_are_translated() -> None:
    """A new version is tried before it is allowed."""
    if sentence := untried(msgspec.__version__):
        pytest.fail(sentence)


def test_a_version_that_was_not_tried_is_named() -> None:
    """The next version is not in the range, whatever its number; those that were tried are."""
    assert untried("0.24.0").startswith("msgspec 0.24.0 is installed, but its messages are translated for ")
    assert untried("1.0")
    assert untried("0.18.4")
    assert not any(map(untried, ("0.18.5", "0.19.0", "0.20.0", "0.21.1", "0.22.0", "0.23.0")))
