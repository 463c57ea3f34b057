"""Replies: VDSM's envelope, the fault, and the document around them, as lists of pieces."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

from vdsm_xmlrpc import scalars
from vdsm_xmlrpc.source import STRUCT, STRUCT_END, member

_HEAD: Final = b"<?xml version='1.0' encoding='UTF-8'?>\n<methodResponse>"
_TAIL: Final = b"</methodResponse>\n"

#: Fault codes. VDSM had one, for an unknown method; the others are from the specification for fault code
#: interoperability (XML-RPC EPI, 2001).
UNKNOWN_METHOD: Final = 1
NOT_WELL_FORMED: Final = -32700
NOT_XMLRPC: Final = -32600


def status(code: int, message: str, slug: str = "") -> str:
    """Return the member `status` of a reply; with `slug` if the call failed."""
    members = member("code", scalars.integer(code)) + member("message", scalars.string(message))
    if slug:
        members += member("slug", scalars.string(slug))
    return f"{STRUCT}{members}{STRUCT_END}"


@functools.lru_cache(maxsize=1_024)
def success(message: str) -> str:
    """Return the member `status` of a successful call; cached, since few messages exist."""
    return status(0, message)


def envelope(status_: str, members: Mapping[str, list[bytes]]) -> list[bytes]:
    """Return VDSM's envelope: the status, and beside it the members of the reply."""
    pieces = [f"{STRUCT}{member('status', status_)}".encode()]
    for name, value in members.items():
        pieces += [f"<member><name>{scalars.escape(name)}</name>".encode(), *value, b"</member>"]
    pieces.append(STRUCT_END.encode())
    return pieces


def fault(code: int, message: str) -> bytes:
    """Return the struct of a fault."""
    members = member("faultCode", scalars.integer(code)) + member("faultString", scalars.string(message))
    return f"{STRUCT}{members}{STRUCT_END}".encode()


def response(value: list[bytes]) -> list[bytes]:
    """Return the document of a reply."""
    return [_HEAD, b"<params><param>", *value, b"</param></params>", _TAIL]


def fault_response(code: int, message: str) -> list[bytes]:
    """Return the document of a fault."""
    return [_HEAD, b"<fault>", fault(code, message), b"</fault>", _TAIL]
