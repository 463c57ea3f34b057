"""Copies of a hook's arguments."""

from __future__ import annotations

import copy
from typing import Any, Final, TypeVar
from xml.etree.ElementTree import Element

T = TypeVar("T")

#: Elements of one document at most. A document that contains itself has no end.
MAX_ELEMENTS: Final = 500_000


def deep(value: T) -> T:
    """Copy an argument of a hook, or a dictionary of them.

    :raises ValueError: an XML document has more than `MAX_ELEMENTS`
    """
    values = value.values() if isinstance(value, dict) else (value,)
    # Elements come first, from the memo: deepcopy recurses in C, and ends the process on deep documents.
    memo: dict[int, Any] = {id(each): _element(each) for each in values if isinstance(each, Element)}
    return copy.deepcopy(value, memo)


def _element(root: Element) -> Element:
    copied = _alone(root)
    copied.extend(root)
    left, count = [copied], 1
    while left:
        parent = left.pop()
        for place, child in enumerate(parent):
            parent[place] = new = _alone(child)
            new.extend(child)
            left.append(new)
        count += len(parent)
        if count > MAX_ELEMENTS:
            raise ValueError(f"the document <{root.tag}> has more than {MAX_ELEMENTS} elements")
    return copied


def _alone(element: Element) -> Element:
    """An element without its children. `copy.copy` would share the attributes."""
    copied = Element(element.tag, element.attrib)
    copied.text, copied.tail = element.text, element.tail
    return copied
