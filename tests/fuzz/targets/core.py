"""Decoders of the core: patterns of subscriptions, and plain data that becomes typed."""

from __future__ import annotations

import contextlib

import msgspec

from vdsm_bridge.testing.sample import LampParams
from vdsm_core.errors import VdsmError
from vdsm_core.events.vocabulary import compile_pattern, may_match
from vdsm_core.types import TypeMismatch, builtins, convert


def event_pattern(data: bytes) -> None:
    """A pattern of a subscription is refused, or decides about any event."""
    text = data.decode("utf-8", errors="surrogateescape")  # lone surrogates, too
    try:
        matches = compile_pattern(text)
    except VdsmError:
        return
    matches("|virt|VM_status|00000000-0000-0000-0000-000000000000")
    may_match(text, "virt", "VM_status")


def typed_data(data: bytes) -> None:
    """JSON for a structured argument becomes the structure, or a mismatch that names a place."""
    try:
        plain = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    for text in (False, True):
        with contextlib.suppress(TypeMismatch):
            value = convert(plain, LampParams, text=text)
            # What was taken is taken again in its plain form.
            convert(builtins(value), LampParams, text=text)
