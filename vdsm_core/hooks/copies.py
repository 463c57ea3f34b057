"""Copies of a hook's arguments."""

from __future__ import annotations

import copy
import math
from typing import Any, Final, TypeVar, cast
from xml.etree.ElementTree import Element

T = TypeVar("T")

#: Elements of one document at most, or values of a JSON document. A document that contains itself has no end.
MAX_ELEMENTS: Final = 500_000
#: Levels of a JSON document: some 20 in VDSM's deepest structs. Python's own limit is some 900.
MAX_DEPTH: Final = 100
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


def deep(value: T) -> T:
    """Copy an argument of a hook, or a dictionary of them.

    :raises ValueError: an XML document has more than `MAX_ELEMENTS`, or a JSON document more than that or
        than `MAX_DEPTH` levels
    """
    return cast("T", _Structure().copied(value, MAX_DEPTH))


def document(value: T) -> T:
    """Copy a document that an implementation has edited.

    :raises ValueError: it is too large, or neither an XML element nor a JSON value
    """
    return cast("T", _Structure(json_only=True).copied(value, MAX_DEPTH))


class _Structure:
    """Copies dictionaries and lists, with a limit of the values in all of them.

    :param json_only: whether anything but JSON is refused
    """

    def __init__(self, *, json_only: bool = False) -> None:
        self._json_only = json_only
        self._count = 0

    def copied(self, value: Any, depth: int) -> Any:
        """Copy one value, at most `depth` levels of it."""
        self._count += 1
        if depth < 0:
            raise ValueError(f"the document has more than {MAX_DEPTH} levels")
        if self._count > MAX_ELEMENTS:
            raise ValueError(f"the document has more than {MAX_ELEMENTS} values")
        # A subclass of one of these is copied by its own rules.
        kind = type(value)
        if kind is dict:
            if self._json_only:
                _check_names(value)
            return {name: self.copied(each, depth - 1) for name, each in value.items()}
        if kind is list:
            return [self.copied(each, depth - 1) for each in value]
        if kind in _SCALARS:
            if self._json_only and kind is float and not math.isfinite(value):
                raise ValueError(f"the document has the number {value}, which JSON does not have")
            return value
        if depth == MAX_DEPTH and isinstance(value, Element):
            return _element(value)
        if self._json_only:
            raise ValueError(f"the document has a value of type {kind.__name__}, which is not JSON")
        return _element(value) if isinstance(value, Element) else copy.deepcopy(value)


def _check_names(value: dict[Any, Any]) -> None:
    for name in value:
        if type(name) is not str:
            raise ValueError(f"the document has a name of type {type(name).__name__}, which is not JSON")


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
