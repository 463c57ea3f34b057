"""Small help for writing and reading XML elements."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, tostring

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException
from msgspec import UnsetType

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
    """The child of this name, made if there is none."""
    child = parent.find(tag)
    return SubElement(parent, tag) if child is None else child


def parse(text: str) -> Element:
    """The root of a document from outside, which must not define entities.

    :raises ValueError: it is not well-formed, or it tries what no domain needs
    """
    try:
        root: Element = ElementTree.fromstring(text, forbid_dtd=True)
    except ElementTree.ParseError as error:
        raise ValueError(f"it is not well-formed XML: {error}") from None
    except DefusedXmlException:
        raise ValueError("it has a DTD or entities, which are not taken") from None
    return root


def to_text(element: Element) -> str:
    """The XML of an element."""
    return tostring(element, encoding="unicode")


def on_off(value: bool) -> str:
    """As libvirt spells most switches."""
    return "on" if value else "off"


def yes_no(value: bool) -> str:
    """As libvirt spells the other switches."""
    return "yes" if value else "no"
