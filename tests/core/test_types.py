"""Conversion of plain data, and the messages for data that does not fit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from vdsm_core.types import (
    UUID,
    Open,
    Record,
    Request,
    TextBool,
    TextInt,
    TypeMismatch,
    builtins,
    convert,
    to_json,
)
from vdsm_core.validation_messages import WORDS

ID = "11111111-2222-4333-8444-555555555555"


class Inner(Request, frozen=True):
    """Known members."""

    disk_size: Annotated[int, Meta(ge=1, le=10)]
    bus: Literal["virtio", "ide"] = "virtio"


class Inners(Open[Inner]):
    """Open inside."""


class Outer(Request, frozen=True):
    """A record with everything in it."""

    vm_id: UUID = ID
    disks: list[Inner] = []
    by_name: dict[str, Inner] = {}
    open_disk: Inners | msgspec.UnsetType = msgspec.UNSET
    name: Annotated[str, Meta(min_length=1, max_length=3)] = "a"
    choice: Literal["b", "a"] | None = None
    pair: tuple[int, int] = (1, 2)
    ratio: float = 0.5
    flag: bool = False
    keys: dict[UUID, int] = {}


class Outers(Open[Outer]):
    """An open dictionary around an open dictionary."""


CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"flag": 1}, "flag", "expected true or false, got a whole number"),
    ({"ratio": "x"}, "ratio", "expected a number, got text"),
    ({"name": 5}, "name", "expected text, got a whole number"),
    ({"name": None}, "name", "expected text, got nothing"),
    ({"name": ""}, "name", "expected text of at least 1 characters"),
    ({"name": "four"}, "name", "expected text of at most 3 characters"),
    ({"vmId": "x"}, "vmId", "expected a UUID, 8-4-4-4-12 hexadecimal digits"),
    ({"keys": {"x": 1}}, "keys", "one of its keys: expected a UUID, 8-4-4-4-12 hexadecimal digits"),
    ({"pair": [1]}, "pair", "expected a list of exactly 2 items, got 1"),
    ({"pair": [1, 1.5]}, "pair[1]", "expected a whole number, got a fraction"),
    ({"disks": {}}, "disks", "expected a list, got a structure"),
    ({"disks": [{"diskSize": 11}]}, "disks[0].diskSize", "expected a whole number of at most 10"),
    ({"disks": [{"diskSize": 1, "bus": "scsi"}]}, "disks[0].bus", "'scsi' is not one of 'ide', 'virtio'"),
    ({"byName": {"a": {"diskSize": 0}}}, "byName[...].diskSize", "expected a whole number of at least 1"),
    (
        {"byName": {"a": {"diskSize": 1, "bus": "x"}}},
        "byName[...].bus",
        "'x' is not one of 'ide', 'virtio'",
    ),
    ({"openDisk": []}, "openDisk", "expected a structure, got a list"),
    ({"openDisk": {"diskSize": 1, "bus": "x"}}, "openDisk.bus", "'x' is not one of 'ide', 'virtio'"),
    ({"choice": "c"}, "choice", "'c' is not one of 'a', 'b'"),
    ({"choice": 3}, "choice", "expected text or nothing, got a whole number"),
]


@pytest.mark.parametrize("type_", [Outer, Outers])
@pytest.mark.parametrize(
    ("data", "path", "reason"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_mismatch_names_the_member_and_what_was_expected(
    data: dict[str, Any], path: str, reason: str, type_: Any
) -> None:
    """The error has the wire name of the member and what was expected."""
    with pytest.raises(TypeMismatch) as caught:
        convert(data, type_)
    assert (caught.value.path, caught.value.reason, caught.value.kind) == (path, reason, "bad")


def test_mismatch_at_the_top() -> None:
    """Data that is no structure at all has the empty path."""
    with pytest.raises(TypeMismatch) as caught:
        convert([], Outer)
    assert (caught.value.path, caught.value.reason) == ("", "expected a structure, got a list")


@pytest.mark.parametrize(
    ("data", "path", "kind"),
    [
        ({"disks": [{}]}, "disks[0].diskSize", "missing"),
        ({"openDisk": {}}, "openDisk.diskSize", "missing"),
        ({"nme": 1}, "nme", "unknown"),
        ({"disks": [{"diskSize": 1, "size": 2}]}, "disks[0].size", "unknown"),
    ],
)
def test_missing_and_unknown_members(data: dict[str, Any], path: str, kind: str) -> None:
    """A missing or unknown member is distinguished from one with a bad value, with its own path."""
    with pytest.raises(TypeMismatch) as caught:
        convert(data, Outer)
    assert (caught.value.path, caught.value.kind) == (path, kind)


@pytest.mark.parametrize(
    ("spelled", "type_", "value"),
    [
        ("12", int, 12),
        ("-3", TextInt, -3),
        ("true", bool, True),
        ("False", TextBool, False),
        ("0.25", float, 0.25),
        (str(2**63), int, 2**63),
    ],
)
def test_text_protocols(spelled: str, type_: Any, value: Any) -> None:
    """From a text protocol numbers and booleans may come as text; from others they may not."""
    assert convert(spelled, type_, text=True) == value
    with pytest.raises(TypeMismatch):
        convert(spelled, type_)


@pytest.mark.parametrize(("spelled", "type_"), [("", int), ("1.5", int), ("yes", bool), ("one", float)])
def test_text_that_is_no_number(spelled: str, type_: Any) -> None:
    """Text that spells no value of the type is refused."""
    with pytest.raises(TypeMismatch):
        convert(spelled, type_, text=True)


def test_text_reaches_into_open_dictionaries() -> None:
    """The known part of an open dictionary is converted from text, too; the unknown part stays as it came."""
    made = convert({"diskSize": "3", "other": "4"}, Inners, text=True)
    assert made == Inners(Inner(disk_size=3), {"other": "4"})


def test_open_dictionary_keeps_what_it_does_not_know() -> None:
    """Unknown members survive the way in and out, and the typed ones win."""
    data = {"diskSize": 3, "bus": "ide", "specParams": {"x": [1]}}
    made = convert(data, Inners)
    assert made.unknown == {"specParams": {"x": [1]}}
    assert builtins(made) == data
    assert msgspec.json.decode(to_json([made])) == [data]


def test_open_dictionary_equality() -> None:
    """Two are equal if both parts are; they are shown with both parts, and cannot be keys."""
    one, other = Inners(Inner(disk_size=1), {"a": 1}), Inners(Inner(disk_size=1))
    assert one == Inners(Inner(disk_size=1), {"a": 1})
    assert one != other
    assert "a" in repr(one)
    with pytest.raises(TypeError):
        hash(one)


def test_absent_members_are_left_out() -> None:
    """A member that is absent is not encoded; there is no null for it."""

    class Result(Record, frozen=True):
        here: int
        gone: int | msgspec.UnsetType = msgspec.UNSET

    assert builtins(Result(here=1)) == {"here": 1}


def test_what_cannot_be_encoded_is_named() -> None:
    """A result of no known type is an error with the type's name."""
    with pytest.raises(NotImplementedError, match="object"):
        builtins(object())


def test_a_uuid_ends_where_it_ends() -> None:
    """A line end behind it is not part of it, though Python's `$` would let it pass."""
    uuid = "11111111-1111-1111-1111-111111111111"
    assert convert(uuid, UUID) == uuid
    with pytest.raises(TypeMismatch, match="expected a UUID, 8-4-4-4-12 hexadecimal digits"):
        convert(f"{uuid}\n", UUID)


def test_a_pattern_without_words() -> None:
    """The backslashes of a regular expression are not doubled."""
    digits = Annotated[str, Meta(pattern=r"^\d+$")]
    with pytest.raises(TypeMismatch) as caught:
        convert("x", digits)
    assert caught.value.reason == r"expected text that matches ^\d+$"


def test_a_pattern_may_have_words() -> None:
    """They replace the pattern in the message, for a member, in a choice, and for a key."""
    digits = Annotated[str, Meta(pattern=r"^\d+$", extra={WORDS: "some digits"})]
    for data, type_ in (("x", digits), (["x"], list[int | digits]), ({"x": 1}, dict[digits, int])):
        with pytest.raises(TypeMismatch, match="expected some digits"):
            convert(data, type_)
