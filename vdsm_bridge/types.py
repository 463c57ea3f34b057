"""The vocabulary of types, for bindings and for declarations of verbs; it is `vdsm_core.types`."""

from vdsm_core.types import (
    BLANK_UUID,
    SPELL_1,
    SPELL_2,
    SPELL_TEXT,
    SPELL_TITLE,
    SPELLING,
    UUID,
    Open,
    Record,
    Request,
    TypeMismatch,
    builtins,
    convert,
    to_json,
)

__all__ = [
    "BLANK_UUID",
    "SPELLING",
    "SPELL_1",
    "SPELL_2",
    "SPELL_TEXT",
    "SPELL_TITLE",
    "UUID",
    "Open",
    "Record",
    "Request",
    "TypeMismatch",
    "builtins",
    "convert",
    "to_json",
]
