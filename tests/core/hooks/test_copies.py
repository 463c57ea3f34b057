"""Copies of what hooks get."""

from __future__ import annotations

from types import SimpleNamespace
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

import pytest

from vdsm_core.errors import OperationFailed
from vdsm_core.hooks import copies, hookimpl
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hooks.specs.vm import vdsm_before_vm_start as before_start

DOCUMENT = "<a x='1'>text<b y='2'><c>deep</c>tail</b><!-- note --><b /></a>"


def test_a_document_is_copied_whole() -> None:
    """The same text, and no element of the one is in the other."""
    document = fromstring(DOCUMENT)
    arguments = copies.deep({"domain": document, "custom": {"a": ["b"]}})
    copied = arguments["domain"]
    assert isinstance(copied, Element)
    assert tostring(copied) == tostring(document)
    assert not {id(each) for each in copied.iter()} & {id(each) for each in document.iter()}
    for each in copied.iter():
        each.set("x", "changed")
    assert tostring(document) == tostring(fromstring(DOCUMENT))


def test_a_deep_document() -> None:
    """Its depth is unlimited here, and does not crash the process."""
    document = place = Element("a")
    for _ in range(300_000):
        place = SubElement(place, "a")
    copied = copies.deep(document)
    assert sum(1 for _ in _line(copied)) == 300_001


def _line(document: Element):
    place = document
    while place is not None:
        yield place
        place = next(iter(place), None)


def test_a_document_that_contains_itself() -> None:
    """A hook with such a mistake fails the operation, by name."""

    @hookimpl
    def vdsm_before_vm_start(domain: Element) -> None:
        domain.append(domain)

    hooks = Hooks()
    hooks.register("careless", SimpleNamespace(vdsm_before_vm_start=vdsm_before_vm_start))
    with pytest.raises(OperationFailed, match=r"plugin 'careless': the document <domain> has more than"):
        hooks.run(before_start, Element("domain"), vm_id="v", custom={})
