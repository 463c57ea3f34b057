"""Calls on domains, through libvirt's own test driver."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core.hypervisor.support import TEST_DOMAIN, UNKNOWN, Listener, xml
from vdsm_bridge.testing.polling import until
from vdsm_core.errors import Conflict, HypervisorError, InvalidRequest, NotFound
from vdsm_core.hypervisor import (
    DomainExists,
    DomainLifecycle,
    DomainMetadata,
    DomainState,
    Hypervisor,
    NoSuchDomain,
    OperationInvalid,
    OperationUnsupported,
    XMLRefused,
)


def test_list(hypervisor: Hypervisor) -> None:
    """The list has every domain, equal to the result of reading it alone."""
    uuid = hypervisor.definitions.define(xml("second"))
    expected = [hypervisor.domains.get(TEST_DOMAIN), hypervisor.domains.get(uuid)]
    assert expected == sorted(hypervisor.domains.list_all(), key=lambda state: not state.active)
    assert expected[1] == DomainState(
        uuid=uuid, name="second", state="shutoff", reason="unknown", active=False, persistent=True, id=-1
    )


def test_life(hypervisor: Hypervisor) -> None:
    """A domain is defined, started, suspended, resumed, destroyed and undefined; each step is an event."""
    listener = Listener()
    hypervisor.events.listen(listener)
    uuid = hypervisor.definitions.define(xml("life"))
    states = []
    for step in (
        hypervisor.domains.start,
        hypervisor.domains.suspend,
        hypervisor.domains.resume,
        hypervisor.domains.destroy,
    ):
        step(uuid)
        states.append(hypervisor.domains.get(uuid).state)
    hypervisor.definitions.undefine(uuid)
    assert states == ["running", "paused", "running", "shutoff"]
    with pytest.raises(NoSuchDomain):
        hypervisor.domains.get(uuid)
    expected = [
        ("defined", "added"),
        ("started", "booted"),
        ("suspended", "paused"),
        ("resumed", "unpaused"),
        ("stopped", "destroyed"),
        ("undefined", "removed"),
    ]
    until(lambda: len(listener.of(DomainLifecycle)) == len(expected))
    assert [DomainLifecycle(uuid, "life", *step) for step in expected] == listener.of(DomainLifecycle)


def test_start_paused(hypervisor: Hypervisor) -> None:
    """A domain that is started paused does not run until it is resumed."""
    uuid = hypervisor.definitions.define(xml("paused"))
    hypervisor.domains.start(uuid, paused=True)
    assert hypervisor.domains.get(uuid).state == "paused"
    hypervisor.domains.resume(uuid)
    assert hypervisor.domains.get(uuid).state == "running"


def test_shutdown(hypervisor: Hypervisor) -> None:
    """The guest of the test driver obeys at once."""
    hypervisor.domains.reboot(TEST_DOMAIN)
    hypervisor.domains.shutdown(TEST_DOMAIN)
    assert hypervisor.domains.get(TEST_DOMAIN).reason == "shutdown"


def test_graceful_destroy(hypervisor: Hypervisor) -> None:
    """A graceful end is an end."""
    hypervisor.domains.destroy(TEST_DOMAIN, graceful=True)
    assert not hypervisor.domains.get(TEST_DOMAIN).active


def test_uuid_in_upper_case(hypervisor: Hypervisor) -> None:
    """A uuid may be given in upper case; it comes back in lower case."""
    assert hypervisor.domains.get(TEST_DOMAIN.upper()).uuid == TEST_DOMAIN


def test_xml(hypervisor: Hypervisor) -> None:
    """The XML of a running domain has its number, the kept definition has none."""
    assert "<domain type='test' id='1'>" in hypervisor.definitions.xml(TEST_DOMAIN, secure=True)
    assert "<domain type='test'>" in hypervisor.definitions.xml(TEST_DOMAIN, inactive=True)


@pytest.mark.parametrize("active", [True, False])
def test_metadata(hypervisor: Hypervisor, active: bool) -> None:
    """An element is written to all that is kept of a domain, read, and removed; each is an event."""
    listener = Listener()
    if not active:
        hypervisor.domains.destroy(TEST_DOMAIN)
    hypervisor.events.listen(listener)
    assert hypervisor.definitions.metadata(TEST_DOMAIN, "urn:vdsm") is None
    hypervisor.definitions.set_metadata(TEST_DOMAIN, "urn:vdsm", "v", "<vm><a/></vm>")
    assert "".join(str(hypervisor.definitions.metadata(TEST_DOMAIN, "urn:vdsm")).split()) == "<vm><a/></vm>"
    for inactive in (True, False):
        assert 'xmlns:v="urn:vdsm"' in hypervisor.definitions.xml(TEST_DOMAIN, inactive=inactive)
    hypervisor.definitions.set_metadata(TEST_DOMAIN, "urn:vdsm", "v", None)
    assert hypervisor.definitions.metadata(TEST_DOMAIN, "urn:vdsm") is None
    until(lambda: len(listener.of(DomainMetadata)) >= 2)
    assert DomainMetadata(TEST_DOMAIN, "test", "element", "urn:vdsm") == listener.of(DomainMetadata)[0]


CALLS: dict[str, Callable[[Hypervisor, str], object]] = {
    "domain": lambda hypervisor, uuid: hypervisor.domains.get(uuid),
    "undefine": lambda hypervisor, uuid: hypervisor.definitions.undefine(uuid),
    "start_domain": lambda hypervisor, uuid: hypervisor.domains.start(uuid),
    "destroy": lambda hypervisor, uuid: hypervisor.domains.destroy(uuid),
    "shutdown": lambda hypervisor, uuid: hypervisor.domains.shutdown(uuid),
    "reboot": lambda hypervisor, uuid: hypervisor.domains.reboot(uuid),
    "reset": lambda hypervisor, uuid: hypervisor.domains.reset(uuid),
    "suspend": lambda hypervisor, uuid: hypervisor.domains.suspend(uuid),
    "resume": lambda hypervisor, uuid: hypervisor.domains.resume(uuid),
    "domain_xml": lambda hypervisor, uuid: hypervisor.definitions.xml(uuid),
    "metadata": lambda hypervisor, uuid: hypervisor.definitions.metadata(uuid, "urn:vdsm"),
    "set_metadata": lambda hypervisor, uuid: hypervisor.definitions.set_metadata(
        uuid, "urn:vdsm", "v", "<a/>"
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("uuid", [UNKNOWN, "no uuid at all"])
def test_no_such_domain(hypervisor: Hypervisor, call: Callable[[Hypervisor, str], object], uuid: str) -> None:
    """Every call on a missing domain raises an error with the uuid."""
    with pytest.raises(NoSuchDomain) as caught:
        call(hypervisor, uuid)
    assert caught.value.facts == {"uuid": uuid}
    assert isinstance(caught.value, NotFound)


@pytest.mark.parametrize("name", ["destroy", "shutdown", "reboot", "reset", "suspend", "resume"])
def test_inactive(hypervisor: Hypervisor, name: str) -> None:
    """What needs a running machine is a conflict on one that is off."""
    hypervisor.domains.destroy(TEST_DOMAIN)
    with pytest.raises(OperationInvalid) as caught:
        CALLS[name](hypervisor, TEST_DOMAIN)
    assert isinstance(caught.value, Conflict)
    assert isinstance(caught.value, HypervisorError)


def test_active(hypervisor: Hypervisor) -> None:
    """A running machine is neither started nor resumed."""
    for call in (hypervisor.domains.start, hypervisor.domains.resume):
        with pytest.raises(OperationInvalid):
            call(TEST_DOMAIN)


@pytest.mark.parametrize("mode", ["agent", "acpi"])
def test_unsupported(hypervisor: Hypervisor, mode: str) -> None:
    """An operation that the driver does not support raises "unsupported"."""
    with pytest.raises(OperationUnsupported):
        hypervisor.domains.shutdown(TEST_DOMAIN, mode=mode)


@pytest.mark.parametrize(
    "document",
    [
        "",
        "<domain",
        "<host/>",
        "<domain type='test'/>",
        xml("bad", os_type="nothing"),
        xml("a/b"),
        xml("bad", uuid="not-a-uuid"),
        xml("bad").replace("8192", "-1"),
    ],
    ids=["empty", "malformed", "other root", "no name", "unknown OS", "bad name", "bad uuid", "bad memory"],
)
def test_refused_xml(hypervisor: Hypervisor, document: str) -> None:
    """XML that libvirt refuses is the caller's error, in one line, and nothing is defined."""
    with pytest.raises(XMLRefused) as caught:
        hypervisor.definitions.define(document)
    assert isinstance(caught.value, InvalidRequest)
    assert "\n" not in str(caught.value)
    assert len(hypervisor.domains.list_all()) == 1


def test_refused_metadata(hypervisor: Hypervisor) -> None:
    """An element that is not well-formed is refused."""
    with pytest.raises(XMLRefused):
        hypervisor.definitions.set_metadata(TEST_DOMAIN, "urn:vdsm", "v", "<a>")


@pytest.mark.parametrize(
    "document", [xml("test", uuid=UNKNOWN), xml("other", uuid=TEST_DOMAIN)], ids=["name", "uuid"]
)
def test_exists(hypervisor: Hypervisor, document: str) -> None:
    """A name or a uuid that another domain has is a conflict."""
    with pytest.raises(DomainExists) as caught:
        hypervisor.definitions.define(document)
    assert isinstance(caught.value, Conflict)


def test_redefine(hypervisor: Hypervisor) -> None:
    """The definition of the same name and uuid takes the place of the old one."""
    changed = xml("test", uuid=TEST_DOMAIN)
    assert hypervisor.definitions.define(changed) == TEST_DOMAIN
    assert len(hypervisor.domains.list_all()) == 1


def test_undefine_active(hypervisor: Hypervisor) -> None:
    """A running domain without its definition goes on as a transient one."""
    hypervisor.definitions.undefine(TEST_DOMAIN)
    state = hypervisor.domains.get(TEST_DOMAIN)
    assert (state.active, state.persistent) == (True, False)
    assert hypervisor.domains.list_all() == [state]


def test_errors_keep_nothing_of_libvirt(hypervisor: Hypervisor) -> None:
    """A stored error does not keep libvirt's objects, and with them a connection, alive."""
    with pytest.raises(OperationInvalid) as caught:
        hypervisor.domains.start(TEST_DOMAIN)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
