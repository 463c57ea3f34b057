"""Secrets are shown only by `reveal`."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, UnsetType

from vdsm_bridge.api.schema import type_schema
from vdsm_core.secret import NOT_KEPT, Secret
from vdsm_core.types import Open, Request, TypeMismatch, builtins, convert, to_json


class Password(Secret, max_length=8):
    """A short one."""


class Ticket(Request, frozen=True):
    """A structure with secrets at several depths."""

    password: Password
    other: Secret | UnsetType = UNSET
    many: list[Secret] = []
    by_name: dict[str, Secret] = {}


class Params(Open[Ticket]):
    """An open one."""


DATA = {"password": "canary-1", "other": "canary-2", "many": ["canary-3"], "byName": {"x": "canary-4"}}


@pytest.mark.parametrize("type_", [Ticket, Params])
@pytest.mark.parametrize(
    "show", [repr, str, to_json, builtins, lambda value: f"{value}", lambda v: [v].__repr__()]
)
def test_nothing_shows(type_: Any, show: Any) -> None:
    """No representation, and no encoding, of a structure with secrets holds one of them."""
    value = convert(DATA, type_)
    assert "canary" not in str(show(value))


def test_reveal() -> None:
    """The text is there for who asks for it by name."""
    ticket = convert(DATA, Ticket)
    assert (ticket.password.reveal(), ticket.many[0].reveal()) == ("canary-1", "canary-3")
    assert Secret("x")
    assert not Secret("")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (1, "expected text, got a whole number"),
        (None, "expected text, got nothing"),
        ("123456789", "expected text of at most 8 characters"),
        (NOT_KEPT, "secrets are not stored; send the request again"),
    ],
)
def test_refused(given: Any, reason: str) -> None:
    """What is no secret is refused without being shown."""
    with pytest.raises(TypeMismatch) as raised:
        convert({"password": given}, Ticket)
    assert (raised.value.path, raised.value.reason) == ("password", reason)


def test_what_is_stored_cannot_be_taken_for_a_secret() -> None:
    """JSON of arguments holds a placeholder, which is not read back as a password."""
    stored = msgspec.json.decode(to_json(convert({"password": "canary"}, Ticket)))
    with pytest.raises(TypeMismatch, match="secrets are not stored"):
        convert(stored, Ticket)


def test_equality() -> None:
    """Secrets are equal by their text, and to nothing else."""
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("\ud800")}) == 2


def test_not_pickled() -> None:
    """A secret does not leave the process by pickle; a deep copy stays a secret."""
    with pytest.raises(TypeError):
        pickle.dumps(Secret("canary"))
    assert copy.deepcopy(Secret("canary")) == Secret("canary")


def test_schema() -> None:
    """Clients learn that a member is a secret, and how long it may be."""
    assert type_schema(Password) == {
        "type": "string",
        "format": "password",
        "writeOnly": True,
        "maxLength": 8,
    }
