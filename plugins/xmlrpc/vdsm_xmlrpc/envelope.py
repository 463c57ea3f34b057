"""Whole replies: VDSM's envelope, the fault, and the document around them; lists of texts until the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vdsm_xmlrpc import scalars
from vdsm_xmlrpc.source import STRUCT, STRUCT_END, member

_HEAD: Final = "<?xml version='1.0' encoding='UTF-8'?>\n<methodResponse>"

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


def envelope(status_: str, members: Mapping[str, list[str]]) -> list[str]:
    """VDSM's envelope: the status, and beside it the members of the reply."""
    texts = [STRUCT, member("status", status_)]
    for name, value in members.items():
        texts += [f"<member><name>{scalars.escape(name)}</name>", *value, "</member>"]
    texts.append(STRUCT_END)
    return texts


def fault(code: int, message: str) -> str:
    """The struct of a fault."""
    members = member("faultCode", scalars.integer(code)) + member("faultString", scalars.string(message))
    return f"{STRUCT}{members}{STRUCT_END}"


def response(value: list[str]) -> bytes:
    """The document of a reply."""
    return _document([_HEAD, "<params><param>", *value, "</param></params></methodResponse>\n"])


def fault_response(code: int, message: str) -> bytes:
    """The document of a fault."""
    return _document([_HEAD, "<fault>", fault(code, message), "</fault></methodResponse>\n"])


def _document(texts: list[str]) -> bytes:
    # Encoding each text first leaves one large copy instead of two.
    return b"".join([text.encode() for text in texts])
