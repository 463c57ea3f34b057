"""Small help for writing and reading XML elements."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element, SubElement, TreeBuilder, tostring

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException
from msgspec import UnsetType

#: Levels of elements. Domain documents have about ten, libxml2 takes 256; Python's own limit is some 900,
#: beyond which writing a document fails.
MAX_DEPTH: Final = 256
#: Elements and attributes of one document.
MAX_ELEMENTS: Final = 50_000
MAX_ATTRIBUTES: Final = 100_000

Value = str | int | UnsetType | None


def add(parent: Element, tag: str, text: Value = None, /, **attributes: Value) -> Element:
    """Append an element; attributes without a value are left out, `_` at the end of a name is dropped."""
    child = SubElement(parent, tag)
    for name, value in attributes.items():
        if value is not None and not isinstance(value, UnsetType):
            child.set(name.rstrip("_"), str(value))
    if text is not None and not isinstance(text, UnsetType):
        child.text = str(text)
    return child


def under(parent: Element, tag: str) -> Element:
    """Return the child of this name, made if there is none."""
    child = parent.find(tag)
    return SubElement(parent, tag) if child is None else child


class _Bounded(TreeBuilder):
    """Builds elements, and stops at a document that is too deep or too large."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = self._elements = self._attributes = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        """Open an element.

        :raises ValueError: there are too many
        """
        self._depth += 1
        self._elements += 1
        self._attributes += len(attrs)
        _check(self._depth, self._elements, self._attributes)
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Element:
        """Close an element."""
        self._depth -= 1
        return super().end(tag)


def _check(depth: int, elements: int, attributes: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"its elements are nested more than {MAX_DEPTH} levels deep")
    if elements > MAX_ELEMENTS:
        raise ValueError(f"it has more than {MAX_ELEMENTS} elements")
    if attributes > MAX_ATTRIBUTES:
        raise ValueError(f"it has more than {MAX_ATTRIBUTES} attributes")


def check_shape(root: Element) -> None:
    """Check a document that `parse` has not checked: hooks may build any.

    :raises ValueError: it is too deep or too large
    """
    level, depth, elements, attributes = [root], 0, 0, 0
    while level:
        depth += 1
        elements += len(level)
        attributes += sum(len(element.attrib) for element in level)
        _check(depth, elements, attributes)
        level = [child for element in level for child in element]


def parse(text: str) -> Element:
    """Return the root of a document from outside, which must not define entities.

    :raises ValueError: it is not well-formed, too deep, too large, or has a DTD
    """
    parser = ElementTree.DefusedXMLParser(target=_Bounded(), forbid_dtd=True)
    try:
        parser.feed(text)
        root: Element = parser.close()
    except ElementTree.ParseError as error:
        raise ValueError(f"it is not well-formed XML: {error}") from None
    except DefusedXmlException:
        raise ValueError("it has a DTD or entities, which are not taken") from None
    return root


def to_text(element: Element) -> str:
    """Return the XML of an element."""
    return tostring(element, encoding="unicode")


def on_off(value: bool) -> str:
    """Return a truth value as libvirt spells most switches."""
    return "on" if value else "off"


def yes_no(value: bool) -> str:
    """Return a truth value as libvirt spells the other switches."""
    return "yes" if value else "no"
