"""The documents of hook points, as text for scripts and back, and the difference that a script made."""

from __future__ import annotations

import difflib
import json
import re
from typing import Any, Final, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder, register_namespace, tostring

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from vdsm_hooks.points import Kind

#: Levels, and elements with attributes, of a document that a script leaves.
MAX_DEPTH: Final = 256
MAX_PARTS: Final = 150_000
#: Characters of documents that are compared, and of a difference that is kept.
MAX_COMPARED: Final = 200_000
MAX_DIFFERENCE: Final = 16_384
_HEADER: Final = "<?xml version='1.0' encoding='utf-8'?>\n"
_SECRET: Final = re.compile(
    r"""\b(passwd|password|secret|key)(\s*=\s*|"\s*:\s*)("[^"]*"|'[^']*')""", re.IGNORECASE
)

# The prefixes that scripts of VDSM's time look for.
register_namespace("ovirt-vm", "http://ovirt.org/vm/1.0")
register_namespace("ovirt-tune", "http://ovirt.org/vm/tune/1.0")
register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")


class BadDocument(ValueError):
    """A script left what is no document. The message is one clause."""


def to_text(kind: Kind, document: Any) -> str:
    """Return the text of the file that scripts get: UTF-8 without a line end at its end."""
    if kind == "empty":
        return ""
    if kind == "json":
        return json.dumps({} if document is None else document)
    return _HEADER + tostring(document, encoding="unicode")


def read(kind: Kind, data: bytes) -> Any:
    """Return the document that scripts have left.

    :raises BadDocument: it is none
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadDocument("it left a document that is not UTF-8") from None
    if kind == "json":
        try:
            return json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise BadDocument(f"it left a document that is no JSON: {error}") from None
    return _parse(text)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _parse(text: str) -> Element:
    parser = ElementTree.DefusedXMLParser(target=_Bounded(), forbid_dtd=True)
    try:
        # As text: what the first line says of the encoding is not true of it.
        parser.feed(re.sub(r"\A\s*<\?xml[^>]*\?>", "", text, count=1).lstrip())
        root: Element = parser.close()
    except ElementTree.ParseError as error:
        raise BadDocument(f"it left a document that is no well-formed XML: {error}") from None
    except DefusedXmlException:
        raise BadDocument("it left a document with a DTD or entities, which are not taken") from None
    return root


class _Bounded(TreeBuilder):
    def __init__(self) -> None:
        super().__init__()
        self._depth = self._parts = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        self._depth += 1
        self._parts += 1 + len(attrs)
        if self._depth > MAX_DEPTH or self._parts > MAX_PARTS:
            raise BadDocument("it left a document that is too deep or too large")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Element:
        self._depth -= 1
        return super().end(tag)


def replace(document: Any, by: Any) -> None:
    """Give a document, in place, the content of another one.

    :raises BadDocument: the other one is of another kind
    """
    if isinstance(document, Element):
        if not isinstance(by, Element) or by.tag != document.tag:
            raise BadDocument(f"it left a document whose root is not <{document.tag}>")
        document.clear()
        document.attrib.update(by.attrib)
        document.text = by.text
        document.extend(list(by))
        return
    if type(by) is not type(document):
        raise BadDocument("it left a JSON value of another type")
    if isinstance(document, list):
        document[:] = by
    else:
        document.clear()
        document.update(by)


def difference(before: str, after: str) -> str:
    """Return the difference of two documents, line by line, within limits and without passwords."""
    if before == after:
        return ""
    if len(before) + len(after) > MAX_COMPARED:
        return f"(changed; not compared, since both have more than {MAX_COMPARED} characters)"
    lines = difflib.unified_diff(_lines(before), _lines(after), "before", "after", lineterm="", n=1)
    return without_secrets("\n".join(lines))[:MAX_DIFFERENCE]


def _lines(text: str) -> list[str]:
    return re.sub(r">\s*<", ">\n<", text).replace(', "', ',\n"').splitlines()


def without_secrets(text: str) -> str:
    """Return a text with the values of what is named like a password replaced."""
    return _SECRET.sub(r"\1\2'***'", text)
