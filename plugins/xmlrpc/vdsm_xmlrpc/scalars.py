"""Single values as XML-RPC: text that XML can carry, numbers that fit, VDSM's spellings."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable
from typing import Any, Final

from vdsm_bridge.types import SPELL_1, SPELL_2, SPELL_TEXT, SPELL_TITLE

#: An XML-RPC `<int>` is signed 32 bit (specification of 1999); larger numbers are sent as text.
INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1

# The complement of XML 1.0, production 2 (Char); includes lone surrogates.
_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def escape(text: str) -> str:
    """Return text as XML content. What XML 1.0 cannot carry becomes U+FFFD; carriage returns are kept."""
    if "&" in text:
        text = text.replace("&", "&amp;")
    if "<" in text:
        text = text.replace("<", "&lt;")
    if ">" in text:
        text = text.replace(">", "&gt;")
    # Printable text needs no further escape, and the check is faster than a search.
    return text if text.isprintable() else _NOT_XML.sub(_REPLACEMENT, text).replace("\r", "&#13;")


def string(value: str) -> str:
    """Return the `<value>` of a text."""
    return f"<value><string>{escape(value)}</string></value>"


def integer(value: int) -> str:
    """Return the `<value>` of a whole number: `<int>` within 32 bits, otherwise decimal text."""
    if INT_MIN <= value <= INT_MAX:
        return f"<value><int>{value}</int></value>"
    return f"<value><string>{value}</string></value>"


def boolean(value: bool) -> str:
    """Return the `<value>` of a boolean."""
    return f"<value><boolean>{value:d}</boolean></value>"


def double(value: float) -> str:
    """Return the `<value>` of a float; infinity and NaN, which XML-RPC lacks, are sent as text."""
    if math.isfinite(value):
        return f"<value><double>{value!r}</double></value>"
    return f"<value><string>{value!r}</string></value>"


def binary(value: bytes | bytearray | memoryview) -> str:
    """Return the `<value>` of bytes."""
    return f"<value><base64>{base64.b64encode(value).decode()}</base64></value>"


def spelled(value: Any, spelling: str) -> str:
    """Return the `<value>` of a number or boolean that VDSM sent as text.

    :param spelling: one of the `SPELL_*` values of the type
    :raises ValueError: the spelling is unknown
    """
    return f"<value><string>{TEXTS[spelling](value)}</string></value>"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape(str(value))


#: Functions that return the text of a value, by spelling.
TEXTS: Final[dict[str, Callable[[Any], str]]] = {
    SPELL_TEXT: _plain,
    SPELL_TITLE: lambda value: "True" if value else "False",
    SPELL_2: lambda value: f"{value:.2f}",
    SPELL_1: lambda value: f"{value:.1f}",
}
