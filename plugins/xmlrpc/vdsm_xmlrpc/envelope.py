"""Whole replies: VDSM's envelope, the fault, and the document around them; in pieces, which nobody joins."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

from vdsm_xmlrpc import scalars
from vdsm_xmlrpc.source import STRUCT, STRUCT_END, member

_HEAD: Final = b"<?xml version='1.0' encoding='UTF-8'?>\n<methodResponse>"
_TAIL: Final = b"</methodResponse>\n"

#: Fault codes. VDSM knew one fault, of an unknown method; the others are those of the specification for
#: fault code interoperability (XML-RPC EPI, 2001).
UNKNOWN_METHOD: Final = 1
NOT_WELL_FORMED: Final = -32700
NOT_XMLRPC: Final = -32600


def status(code: int, message: str, slug: str = "") -> str:
    """The member `status` that each reply has; `slug` stands there if the call failed."""
    members = member("code", scalars.integer(code)) + member("message", scalars.string(message))
    if slug:
        members += member("slug", scalars.string(slug))
    return f"{STRUCT}{members}{STRUCT_END}"


@functools.lru_cache(maxsize=1_024)
def success(message: str) -> str:
    """The member `status` of a call that succeeded; verbs have few different sentences."""
    return status(0, message)


def envelope(status_: str, members: Mapping[str, list[bytes]]) -> list[bytes]:
    """VDSM's envelope: the status, and beside it the members of the reply."""
    pieces = [f"{STRUCT}{member('status', status_)}".encode()]
    for name, value in members.items():
        pieces += [f"<member><name>{scalars.escape(name)}</name>".encode(), *value, b"</member>"]
    pieces.append(STRUCT_END.encode())
    return pieces


def fault(code: int, message: str) -> bytes:
    """The struct of a fault."""
    members = member("faultCode", scalars.integer(code)) + member("faultString", scalars.string(message))
    return f"{STRUCT}{members}{STRUCT_END}".encode()


def response(value: list[bytes]) -> list[bytes]:
    """The document of a reply."""
    return [_HEAD, b"<params><param>", *value, b"</param></params>", _TAIL]


def fault_response(code: int, message: str) -> list[bytes]:
    """The document of a fault."""
    return [_HEAD, b"<fault>", fault(code, message), b"</fault>", _TAIL]
