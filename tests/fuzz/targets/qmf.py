"""What arrives over the bus."""

from __future__ import annotations

import contextlib

import msgspec

from vdsm_core.errors import VdsmError
from vdsm_qmf.protocol.errors import Malformed
from vdsm_qmf.protocol.message import parse
from vdsm_qmf.protocol.predicate import compile_predicate
from vdsm_qmf.schema import v1

_VALUES = ({"name": "a", "size": 3, "flag": True, "inner": {"x": 1}}, {})


def message(data: bytes) -> None:
    """A message is parsed, its head is, or it is refused as malformed."""
    with contextlib.suppress(Malformed):
        request = parse(data)
        request.text("x-amqp-0-10.app-id")
        if v1.is_request(request.body):
            v1.parse_request(request.body)


def schema_request(data: bytes) -> None:
    """A request of the first QMF is parsed, or refused as malformed."""
    with contextlib.suppress(Malformed):
        v1.parse_request(data)


def predicate(data: bytes) -> None:
    """A predicate is refused, or decides about any object, in bounded time."""
    try:
        plain = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    try:
        fits = compile_predicate(plain)
    except VdsmError:
        return
    for values in _VALUES:
        with contextlib.suppress(VdsmError):  # a pattern may be an operand that is no literal
            fits(values)
