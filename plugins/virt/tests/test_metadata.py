"""What a domain remembers for us survives XML and libvirt, whatever it is."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdsm_virt.domain import metadata
from vdsm_virt.domain.elements import parse
from vdsm_virt.domain.metadata import Exit, Metadata

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
METADATA = st.builds(
    Metadata,
    created=st.floats(0, 2**40),
    client_ip=TEXT,
    guaranteed_memory=st.integers(0, 2**40),
    custom=st.dictionaries(TEXT, TEXT, max_size=3),
    devices=st.dictionaries(TEXT, st.dictionaries(TEXT, TEXT, max_size=2), max_size=2),
    kept=st.dictionaries(TEXT, VALUES, max_size=3),
    exit=st.none() | st.builds(Exit, st.integers(0, 1), st.integers(0, 14), TEXT),
)


def _domain(element):
    domain = ET.Element("domain")
    ET.SubElement(domain, "metadata").append(element)
    return ET.tostring(domain, encoding="unicode")


@settings(deadline=None)
@given(METADATA)
def test_what_is_written_is_read(known):
    """Control characters, characters beyond the basic plane, nested values."""
    assert metadata.read(parse(_domain(metadata.write(known)))) == known


def test_libvirt_gives_back_what_it_was_given(make_machines):
    """It puts its own namespace on the element, and keeps the text."""
    vms = make_machines(config={"plugin": {"virt": {"kept_custom": ["*"]}}})
    custom = {"a": "\u20ac <b> &amp; \U0001f600\nsecond line\x00"}
    vm_id = vms.create(custom=custom)
    assert vms.call("VM.getInfo", vmID=vm_id).custom == custom
    known = Metadata(custom={"x": "\u0001y"}, exit=Exit(1, 3, "no & no"))
    vms.hypervisor.definitions.set_metadata(vm_id, metadata.URI, metadata.PREFIX, metadata.write_text(known))
    assert metadata.read(parse(vms.hypervisor.definitions.xml(vm_id))) == known


def test_a_domain_of_somebody_else_remembers_nothing():
    """Which distinguishes it from ours."""
    assert metadata.read(parse("<domain><metadata><x/></metadata></domain>")) is None


@pytest.mark.parametrize("inside", ["<created>x</created>", "<custom>[1]</custom>", "text", "<y/>"])
def test_what_somebody_edited_by_hand_is_no_error(inside):
    """The machine stays ours; what cannot be understood is as good as absent."""
    xml = f'<domain><metadata><m:machine xmlns:m="{metadata.URI}">{inside}</m:machine></metadata></domain>'
    assert metadata.read(parse(xml)) == Metadata()


@pytest.mark.parametrize(
    "text",
    ["<a", "", "<!DOCTYPE a><a/>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "<a>\x00</a>"],
)
def test_a_hostile_document_is_refused(text):
    """No entities, no DTD, no half documents."""
    with pytest.raises(ValueError, match="it "):
        parse(text)
