"""The vocabulary of types, for bindings and declarations: `vdsm_core.types` and `vdsm_core.secret`."""

from vdsm_core.secret import Secret
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
    "Secret",
    "TypeMismatch",
    "builtins",
    "convert",
    "to_json",
]
