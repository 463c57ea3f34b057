"""Every method that VDSM had answers by its name, as soon as its verb is on the host."""

from __future__ import annotations

import re
import time
import uuid
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .conftest import LAMP, Serve, Served


class Old(NamedTuple):
    """One line of the table."""

    verb: str
    name: str
    arguments: list[str]
    required: int
    members: list[str]


def table() -> list[Old]:
    rows = []
    for line in Path(__file__).with_name("vdsm_methods.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            call, _, reply = line.partition(" -> ")
            verb, name, *arguments = call.split()
            required = sum(not argument.startswith("[") for argument in arguments)
            rows.append(Old(verb, name, [each.strip("[]") for each in arguments], required, reply.split()))
    return rows


OLD = table()
MACHINE = str(uuid.uuid4())
NEW = {"vmName": "old-client", "memSize": "64", "smp": "1", "display": "vnc", "vmType": "kvm"}
#: Calls that succeed, in this order. What changes the host itself has its tests where its verb is.
CALLS: dict[str, tuple[Any, ...]] = {
    "create": ({**NEW, "vmId": MACHINE},),
    "list": ("true", [MACHINE]),
    "getVmStats": (MACHINE,),
    "getAllVmStats": (),
    "pause": (MACHINE,),
    "cont": (MACHINE,),
    "reset": (MACHINE,),
    "setNumberOfCpus": (MACHINE, "1"),
    "setBalloonTarget": (MACHINE, "65536"),
    "shutdown": (MACHINE, "0", "bye", "false", "0", "false"),
    "destroy": (MACHINE,),
    "getVdsCapabilities": (),
    "getVdsHardwareInfo": (),
    "getVdsStats": (),
    "ping": (),
    "setLogLevel": ("INFO",),
    "getAllTasks": ({},),
    "getAllTasksInfo": (),
    "getAllTasksStatuses": (),
    "stopTask": ("LONG TASK",),
    "getTaskInfo": ("TASK",),
    "getTaskStatus": ("TASK",),
    "revertTask": ("TASK",),
    "clearTask": ("TASK",),
}


@pytest.fixture
def served(serve: Serve) -> Served:
    """A host with all that is installed, machines among it."""
    served = serve(installed=True)
    if "VM.create" not in served.host.bridge.verbs:
        pytest.skip("no installed feature has machines")
    return served


@pytest.fixture
def client(served: Served) -> Iterator[Any]:
    """The standard library's client, as VDSM's clients used it."""
    with served.proxy() as proxy:
        yield proxy


def there(served: Served) -> list[Old]:
    """The methods whose verb is on this host."""
    return [old for old in OLD if old.verb in served.host.bridge.verbs]


def test_the_table_is_whole() -> None:
    """As many verbs as VDSM had in XML-RPC, and as many names."""
    assert len({old.verb for old in OLD}) == 173
    assert len({old.name for old in OLD}) == 170


def test_every_name_is_offered(served: Served, client: Any) -> None:
    """A verb that VDSM had goes by VDSM's name, too."""
    assert len(there(served)) > 20
    assert {old.name for old in there(served)} - set(client.system.listMethods()) == set()


def test_positions(served: Served, client: Any) -> None:
    """Each takes as many arguments as VDSM's did, and no more."""
    wrong = {}
    for old in there(served):
        status = getattr(client, old.name)(*["true"] * len(old.arguments), "one too many")["status"]
        message = re.search(r"at most (\d+) are expected", status["message"])
        if message is None or int(message[1]) != len(old.arguments):
            wrong[old.name] = (old.arguments, status["message"])
    assert wrong == {}


def test_arguments_that_must_be_given(served: Served, client: Any) -> None:
    """What VDSM insisted on is missed. Only of methods that are known to change nothing of this machine."""
    wrong = {}
    for old in there(served):
        if old.required and old.name in CALLS:
            status = getattr(client, old.name)()["status"]
            if (status["code"], status["slug"]) != (11, "missing-argument"):
                wrong[old.name] = status
    assert wrong == {}


def call(client: Any, name: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """One call; repeated while the machine is on its way to the state that the call needs."""
    end = time.monotonic() + 10
    while True:
        reply: dict[str, Any] = getattr(client, name)(*arguments)
        if reply["status"]["code"] == 0 or time.monotonic() > end:
            return reply
        time.sleep(0.05)


def test_replies(served: Served, client: Any) -> None:
    """A success has the members that VDSM's had, beside `status`, and no others."""
    task, long = client.Lamp.burn(LAMP, 1)["uuid"], client.Lamp.burn(LAMP, 1000)["uuid"]
    words = {"TASK": task, "LONG TASK": long}
    rows = {old.name: old for old in there(served)}
    wrong = {}
    for name, arguments in CALLS.items():
        given = tuple(words.get(each, each) if isinstance(each, str) else each for each in arguments)
        reply = call(client, name, given)
        if reply["status"]["code"] or set(reply) != {"status", *rows[name].members}:
            wrong[name] = reply
    assert wrong == {}


def test_unknown_method(client: Any) -> None:
    """The one fault that VDSM knew."""
    with pytest.raises(xmlrpc.client.Fault) as caught:
        client.getNothing()
    assert caught.value.faultCode == 1


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"memSize": None}, 11),
        ({"memSize": "0"}, 11),
        ({"memSize": "much"}, 11),
        ({"vmId": "no uuid"}, 11),
        ({"smp": "many"}, 11),
        ({"boot": "z"}, 11),
        ({"drives": ["disk"]}, 11),
        ({"hiberVolHandle": "a,b"}, 11),
        ({"restoreState": "/a"}, 11),
        ({"_X_tpmdata": "a"}, 11),
        ({"resumeBehavior": "explode"}, 11),
        ({"display": "rdp"}, 9),
        ({"devices": [{"type": "graphics", "device": "rdp"}]}, 9),
    ],
    ids=str,
)
def test_codes_of_definitions(client: Any, params: dict[str, Any], code: int) -> None:
    """What is missing or wrong in a definition has VDSM's code, as has a display that VDSM does not know."""
    wanted = {**NEW, "vmId": str(uuid.uuid4()), **params}
    status = client.create({name: value for name, value in wanted.items() if value is not None})["status"]
    assert status["code"] == code, status


def test_codes_of_limits(client: Any) -> None:
    """A number that is none has the code of its verb."""
    for name, code in (("setBalloonTarget", 53), ("vmSetCpuTuneQuota", 62), ("vmSetCpuTunePeriod", 62)):
        assert getattr(client, name)(MACHINE, "much")["status"]["code"] == code
