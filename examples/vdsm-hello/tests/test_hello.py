"""The example, tested as a third party would: with the kit that vdsm ships."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from vdsm_hello import Hello, hooks

from vdsm_bridge.errors import InvalidArgument
from vdsm_bridge.testing import TestHost


@pytest.fixture
def host():
    config = {"plugin": {"hello": {"salutation": "Good day"}}}
    with TestHost(verbs={"hello": Hello}, hooks={"hello": hooks}, config=config) as host:
        yield host


def test_words_use_the_configured_salutation(host):
    """The option is in force."""
    assert host.call("Greeting.getWords", name="Ada") == "Good day, Ada!"


def test_greeting_is_an_event(host):
    """Subscribers learn whom the host greeted."""
    subscription = host.bridge.subscribe("|hello|greeted|*")
    host.call("Greeting.greet", name="Ada")
    (event,) = subscription.next(timeout=5)
    subscription.close()
    assert event.params["name"] == "Ada"


def test_the_event_is_described_to_clients(host):
    """Three lines of declaration: the host describes its events, those of third parties included."""
    (kind,) = (kind for kind in host.call("Events.getKinds") if kind.component == "hello")
    assert (kind.operation, kind.summary, kind.bulk) == ("greeted", "A greeting was sent.", False)
    assert kind.params["properties"]["name"]["type"] == "string"


def test_greeting_all_is_a_task(host):
    """The task ends with every greeting as its result."""
    finished = host.bridge.subscribe("|task|status|*")
    task_id = host.call("Greeting.greetAll", names=["Ada", "Bob"]).task_id
    while not any(event.params["state"] == "finished" for event in finished.next(timeout=5)):
        pass
    finished.close()
    assert host.call("Task.getStatus", taskID=task_id).result == ["Good day, Ada!", "Good day, Bob!"]


def test_empty_names_are_refused(host):
    """The annotation is the check; there is no second one."""
    with pytest.raises(InvalidArgument, match="name"):
        host.call("Greeting.greet", name="")


def test_hook_adds_a_greeting_only_where_asked():
    """A machine without the custom property stays as it is."""
    domain = ET.fromstring("<domain><os/></domain>")
    hooks.vdsm_before_vm_start(domain=domain, custom={})
    assert domain.find("sysinfo") is None
    hooks.vdsm_before_vm_start(domain=domain, custom={"greeting": "hi"})
    assert domain.findtext("sysinfo/oemStrings/entry") == "greeting:hi"
