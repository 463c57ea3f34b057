"""Declarations: what can be checked completely is accepted, anything else is refused at the import."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from tests.core.privileged import sample
from vdsm_core.errors import InvalidArgument
from vdsm_core.privileged import Entry, Name, Root, operation, operations_of


class Loose(msgspec.Struct):
    """Unknown members would be ignored."""

    level: sample.Small


class Endless(msgspec.Struct, forbid_unknown_fields=True):
    """Nested without an end."""

    inner: Endless | None = None


BAD: dict[str, tuple[Any, str]] = {
    "text without bounds": (str, "text needs a pattern and a max_length"),
    "text without a pattern": (Annotated[str, Meta(max_length=9)], "text needs a pattern"),
    "a number without bounds": (int, "a number needs a least and a greatest value"),
    "a fraction without bounds": (Annotated[float, Meta(ge=0)], "a number needs a least"),
    "bytes without bounds": (bytes, "bytes need a max_length"),
    "a list without bounds": (list[Name], "a list or dictionary needs a max_length"),
    "anything": (Any, "AnyType cannot be checked"),
    "a loose struct": (Loose, "Loose needs forbid_unknown_fields=True"),
    "an endless struct": (Endless, "nested deeper than 6 levels"),
    "raw data": (msgspec.Raw, "RawType cannot be checked"),
    "a path without a root": (Entry, "a path needs the annotation Within"),
}


@pytest.mark.parametrize("why", BAD)
def test_a_type_that_cannot_be_checked_is_refused(why: str) -> None:
    """The error names the operation, the parameter and what is missing."""
    type_, said = BAD[why]

    def act(thing: Any) -> None:
        """Act."""

    act.__annotations__["thing"] = type_
    with pytest.raises(TypeError, match=f"^operation act: thing: .*{said}"):
        operation(deadline=1.0)(act)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"deadline": 0.0}, "its deadline is not between 0 and 3600 s"),
        ({"deadline": 9_999.0}, "its deadline"),
        ({"deadline": 1.0, "capabilities": ("CAP_EVERYTHING",)}, "there is no capability 'CAP_EVERYTHING'"),
    ],
)
def test_a_bad_declaration_is_refused(options: dict[str, Any], said: str) -> None:
    """A deadline has bounds, a capability is one of the kernel's."""

    def act() -> None:
        """Act."""

    with pytest.raises(TypeError, match=said):
        operation(**options)(act)


def test_an_operation_has_a_docstring_and_types() -> None:
    """Neither is optional, and arguments have places."""

    def undescribed() -> None:
        pass

    def untyped(thing, *, more: sample.Small) -> None:  # type: ignore[no-untyped-def]
        """Act."""

    with pytest.raises(TypeError, match="it has no docstring"):
        operation(deadline=1.0)(undescribed)
    with pytest.raises(TypeError, match="thing: it has no type; more: parameters are passed by position"):
        operation(deadline=1.0)(untyped)


@pytest.mark.parametrize("path", ["relative", "/a/../b", "/a/", "//a", ""])
def test_a_root_is_absolute(path: str) -> None:
    """And in its shortest form."""
    with pytest.raises(ValueError, match="a root is an absolute path"):
        Root(path)


def test_operations_of_a_module() -> None:
    """All of them, by name; what is no operation is left out."""
    names = [each.name for each in operations_of(sample)]
    assert names == sorted(names)
    assert {"add", "remove", "fail"} <= set(names)
    assert "Small" not in names


def test_arguments_travel() -> None:
    """By position or by name, with defaults, nested, paths as text."""
    assert sample.add.unpack(sample.add.pack(2)) == {"left": 2, "right": 1}
    assert sample.add.unpack(sample.add.pack(right=3, left=2)) == {"left": 2, "right": 3}
    mode = sample.Mode(level=3, names=["x"])
    packed = sample.describe.pack("n", "a", mode, on=True)
    assert sample.describe.unpack(packed) == {"name": "n", "kind": "a", "mode": mode, "on": True}
    assert sample.remove.unpack(sample.remove.pack(Entry("a/b")))["entry"].path == "a/b"


@pytest.mark.parametrize("value", ["\ud800", 2**70, object()])
def test_what_cannot_travel_is_an_invalid_argument(value: Any) -> None:
    """A lone surrogate, a number beyond 64 bits, an object: refused before anything is sent."""
    with pytest.raises(InvalidArgument, match="it cannot be encoded"):
        sample.describe.pack(value, "a", sample.Mode(1), on=True)


def test_the_error_names_the_parameter() -> None:
    """And what was expected of it."""
    with pytest.raises(InvalidArgument, match=r"'right'.*a whole number of at most 10"):
        sample.add.unpack(sample.add.pack(1, 11))
    with pytest.raises(InvalidArgument, match=r"'name'.*a name without separators"):
        sample.describe.unpack(sample.describe.pack("a/b", "a", sample.Mode(1), on=True))
    with pytest.raises(InvalidArgument, match=r"'entry'.*a relative path without"):
        sample.remove.unpack(sample.remove.pack(Entry("../b")))


def test_a_path_is_bound_in_the_helper_only() -> None:
    """In the daemon it is text."""
    with pytest.raises(RuntimeError, match="resolved in the helper only"):
        _ = Entry("a").folder
