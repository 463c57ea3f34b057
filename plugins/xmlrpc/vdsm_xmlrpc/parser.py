"""Parsing of requests, bounded: the cost of a request is proportional to its size.

Well-formedness and the ban of document types and entities (so-called XML bombs) are defusedxml's; this module
counts depth and values while the text is read, and knows the values of XML-RPC.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import Any, Final
from xml.parsers.expat import ExpatError

import msgspec
from defusedxml.common import DefusedXmlException
from defusedxml.xmlrpc import DefusedExpatParser

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,20}")  # 64 bits, with room for clients that pad with zeros
_MAX_METHOD: Final = 256
#: Bytes that expat receives at once, and the most bytes of one tag or comment.
_PIECE: Final = 16_384
_MAX_TAG: Final = 8_192
#: Elements with the text of a value.
_SCALARS: Final = frozenset(
    {"string", "int", "i4", "i8", "boolean", "double", "base64", "dateTime.iso8601", "nil"}
)
_FRAME: Final = frozenset({"methodCall", "params", "param"})


class Limits(msgspec.Struct, frozen=True):
    """Limits of one request: depth of arrays and structs, and number of values."""

    depth: int
    values: int


class Request(msgspec.Struct, frozen=True):
    """A decoded call. Base64 values are bytes, dates stay text, nil is None."""

    method: str
    params: list[Any]


class NotWellFormed(Exception):
    """The request is not XML, or XML that is not accepted."""


class NotXmlRpc(Exception):
    """The request is XML, but not an XML-RPC call, or it exceeds a limit."""


def parse(body: bytes, limits: Limits) -> Request:
    """Decode a request.

    :raises NotWellFormed: not XML, or XML with a document type or entities
    :raises NotXmlRpc: not a `methodCall`, or over a limit; the message says what is wrong, not what was sent
    """
    target = _Target(limits)
    parser = DefusedExpatParser(target, forbid_dtd=True)
    expat = parser._parser  # noqa: SLF001 - set up by defusedxml, which has no way to feed it with a bound
    expat.buffer_text = True
    try:
        for begin in range(0, len(body), _PIECE):
            piece = body[begin : begin + _PIECE]
            parser.feed(piece)
            # expat reports text at once, but a tag only when it is complete, and holds the interpreter lock
            # while it parses one: 300,000 attributes took seconds.
            if begin + len(piece) - expat.CurrentByteIndex > _MAX_TAG:
                raise NotXmlRpc(f"a tag or comment is longer than {_MAX_TAG} bytes")
        parser.close()
    except ExpatError as error:
        raise NotWellFormed(f"line {error.lineno}, column {error.offset}") from None
    except DefusedXmlException:
        raise NotWellFormed("document types and entities are not accepted") from None
    except (LookupError, ValueError, UnicodeError):
        # An encoding that Python lacks, or that expat cannot use.
        raise NotWellFormed("the encoding cannot be read") from None
    return target.request()


class _Open:
    """An array or struct that is not closed yet."""

    __slots__ = ("items", "name", "names")

    def __init__(self, names: bool) -> None:
        self.items: list[Any] = []
        self.names: dict[str, Any] | None = {} if names else None
        self.name: str | None = None

    def add(self, value: Any) -> None:
        if self.names is None:
            self.items.append(value)
        elif self.name is None:
            raise NotXmlRpc("a member of a struct has no name")
        else:
            self.names[self.name] = value
            self.name = None


class _Target:
    """The target of the XML parser. Builds one value at each depth."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._count = 0
        self._params = 0
        self._text: list[str] = []
        self._method = ""
        self._root = _Open(names=False)
        self._stack = [self._root]
        #: Whether the innermost open `<value>` is complete.
        self._typed = True
        self._elements: list[str] = []

    def request(self) -> Request:
        """Return the call, after everything was read."""
        if not self._method:
            raise NotXmlRpc("there is no method name")
        return Request(self._method, self._root.items)

    def xml(self, encoding: str | None, standalone: Any) -> None:
        """Ignore the XML declaration; expat handles the encoding."""

    def start(self, tag: str, _attributes: Any) -> None:
        """Handle the start of an element."""
        parent = self._elements[-1] if self._elements else ""
        if tag not in _ALLOWED.get(parent, ()):
            raise NotXmlRpc(f"an element is in the wrong place, at depth {len(self._elements)}")
        self._elements.append(tag)
        self._text.clear()
        if tag == "value":
            self._typed = False
            self._count += 1
            if self._count > self._limits.values:
                raise NotXmlRpc(f"more than {self._limits.values} values ([plugin.xmlrpc] max_values)")
        elif parent == "value":
            if self._typed:
                raise NotXmlRpc("a value has two types")
            self._typed = True
            if tag in ("array", "struct"):
                self._push(tag == "struct")

    def data(self, text: str) -> None:
        """Handle text within an element."""
        self._text.append(text)

    def end(self, tag: str) -> None:
        """Handle the end of an element."""
        self._elements.pop()
        if tag == "value":
            if not self._typed:
                self._stack[-1].add("".join(self._text))
                self._typed = True
        elif tag in _SCALARS:
            self._stack[-1].add(_scalar(tag, "".join(self._text)))
        elif tag == "name":
            self._stack[-1].name = "".join(self._text)
        elif tag == "methodName":
            self._name_method("".join(self._text).strip())
        elif tag in ("array", "struct"):
            self._pop()
        elif tag == "param":
            self._params += 1
            if len(self._root.items) != self._params:
                raise NotXmlRpc("a parameter is not exactly one value")
        elif tag == "member" and self._stack[-1].name is not None:
            raise NotXmlRpc("a member of a struct has no value")
        self._text.clear()

    def _name_method(self, name: str) -> None:
        if self._method or not name or len(name) > _MAX_METHOD:
            raise NotXmlRpc(f"there must be one method name, of 1 to {_MAX_METHOD} characters")
        self._method = name

    def _push(self, names: bool) -> None:
        if len(self._stack) > self._limits.depth:
            raise NotXmlRpc(f"values are nested deeper than {self._limits.depth} ([plugin.xmlrpc] max_depth)")
        self._stack.append(_Open(names))

    def _pop(self) -> None:
        closed = self._stack.pop()
        self._stack[-1].add(closed.items if closed.names is None else closed.names)
        # The enclosing `<value>` is complete now.
        self._typed = True


_VALUE_TYPES: Final = _SCALARS | {"array", "struct"}
#: Elements and the elements that they may contain.
_ALLOWED: Final[dict[str, frozenset[str]]] = {
    "": frozenset({"methodCall"}),
    "methodCall": frozenset({"methodName", "params"}),
    "params": frozenset({"param"}),
    "param": frozenset({"value"}),
    "value": _VALUE_TYPES,
    "array": frozenset({"data"}),
    "data": frozenset({"value"}),
    "struct": frozenset({"member"}),
    "member": frozenset({"name", "value"}),
}


def _scalar(tag: str, text: str) -> Any:
    if tag in ("string", "dateTime.iso8601"):
        return text
    if tag == "boolean":
        return _boolean(text.strip())
    if tag == "double":
        return _double(text.strip())
    if tag == "base64":
        return _bytes(text)
    if tag == "nil":
        return None
    return _integer(text.strip())


def _integer(text: str) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise NotXmlRpc("a whole number is not one")
    return int(text)


def _boolean(text: str) -> bool:
    if text not in ("0", "1"):
        raise NotXmlRpc("a boolean is neither 0 nor 1")
    return text == "1"


def _double(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise NotXmlRpc("a double is not a finite number")
    return value


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise NotXmlRpc("base64 is not well formed") from None
