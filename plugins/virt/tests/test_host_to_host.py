"""A migration that reserves a place on the destination itself: two hosts, and a wire within this process."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import libvirt
import pytest

from vdsm_bridge.call.context import Context, Identity
from vdsm_bridge.call.scope import ObjectScope, Scope
from vdsm_bridge.testing.polling import until
from vdsm_bridge.transport import CallOptions, CallRefused, Credentials, Transport, Unreachable
from vdsm_core.errors import OutOfScope, VdsmError
from vdsm_core.hypervisor import DomainLifecycle, open_libvirt
from vdsm_core.types import builtins
from vdsm_virt.errors import DestinationRefused, MigrationCanceled, MigrationFailed, NoSuchVM
from vdsm_virt.jobs.migration import peers, place

REFUSED = libvirt.VIR_ERR_OPERATION_FAILED
#: What an administrator gives another host.
PEER = Identity(
    "CN=here",
    "operator",
    "certificate",
    scope=Scope(
        verbs=("Host.ping", "VM.migrationCreate", "VM.destroy"), objects=(ObjectScope(of="VM", own=True),)
    ),
)


class Wire(Transport):
    """Calls the bridge of the other host, as the identity that it gives this one."""

    def __init__(self, url: str, credentials: Credentials, there: Any, faults: Callable[[str], None]) -> None:
        super().__init__(url, credentials)
        self._there = there
        self._faults = faults

    def call(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> Any:
        self._faults(verb)
        context = Context(identity=PEER, binding="wire", request_id=options.request_id)
        try:
            result = self._there.host.bridge.call(verb, builtins(arguments), context)
        except VdsmError as error:
            raise CallRefused(error.slug, error.code, str(error)) from None
        return builtins(result)

    @property
    def revision(self) -> str:
        return ""

    def preview(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> str:
        return ""

    def close(self) -> None:
        pass


class Pair:
    """The source, the destination, the calls that were made, and what becomes of them."""

    def __init__(self, here: Any, moving: Any, there: Any) -> None:
        self.here = here
        self.moving = moving
        self.there = there
        self.calls: list[str] = []
        self.fault: Callable[[str], None] = lambda _verb: None

    def open(self, url: str, credentials: Credentials) -> Transport:
        assert url == "https://there:8088"
        return Wire(url, credentials, self.there, self._called)

    def _called(self, verb: str) -> None:
        self.calls.append(verb)
        self.fault(verb)

    def migrate(self, vm_id: str, **params: Any) -> None:
        self.here.call("VM.migrate", vmID=vm_id, params={"dst": "there:54321", **params})

    def failure(self, vm_id: str) -> MigrationFailed:
        """How the migration ended, once it has failed."""

        def failed() -> MigrationFailed | None:
            try:
                self.here.call("VM.getMigrationStatus", vmID=vm_id)
            except MigrationFailed as error:
                return error
            return None

        return until(failed, 15)


NODE = "<node><cpu><mhz>1000</mhz><nodes>1</nodes><active>2</active></cpu><memory>4194304</memory></node>"


class Kept:
    """A connection that is shared by those who open it: a test driver of its own ends with its connection."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def close(self) -> int:
        return 0


@pytest.fixture
def pair(make_machines, moving, monkeypatch, tmp_path):
    """Two hosts in one process, each with machines of its own."""
    (tmp_path / "node.xml").write_text(NODE)
    other = open_libvirt(f"test://{tmp_path}/node.xml")
    here = make_machines(
        connect=moving.connect,
        config={"plugin": {"virt": {"peers": {"there": "https://{host}:8088"}, "peer_timeout": 20}}},
    )
    there = make_machines(connect=lambda _uri: Kept(other))
    made = Pair(here, moving, there)
    monkeypatch.setattr(peers, "open_transport", made.open)
    monkeypatch.setattr(place, "_FULL_PAUSE", 0.3)
    monkeypatch.setattr(place, "_ATTEMPTS", (0.0, 0.1))
    yield made
    for journey in list(moving.journeys.values()):
        journey.settle(REFUSED, "the test is over")
    until(lambda: not [one for one in threading.enumerate() if one.name.startswith(("place-", "leave-"))], 20)


def test_the_source_reserves_the_place(pair):
    """One call by the engine; the machine is expected there before libvirt begins."""
    vm_id = pair.here.create(custom={"tags": "web"})
    pair.migrate(vm_id)
    journey = pair.moving.journey(vm_id)
    assert pair.calls == ["Host.ping", "VM.migrationCreate"]
    assert pair.there.status(vm_id) == "Migration Destination"
    journey.settle()
    pair.here.wait(vm_id, lambda stats: stats.status == "Down")
    assert pair.calls == ["Host.ping", "VM.migrationCreate"]


def test_a_migration_that_fails_gives_up_the_place(pair):
    """The destination has nothing of it then, and the status has the reason."""
    vm_id = pair.here.create()
    pair.migrate(vm_id)
    pair.moving.journey(vm_id).settle(REFUSED, "no room")
    assert pair.failure(vm_id).code == 102
    until(lambda: vm_id not in pair.there.ids(), 10)
    assert pair.here.status(vm_id) == "Up"
    assert pair.calls[-1] == "VM.destroy"


def test_a_place_of_the_caller_is_used_and_left(pair):
    """An engine that calls both hosts, as before, need not change: its place is its own."""
    vm_id = pair.here.create()
    info = builtins(pair.here.call("VM.getInfo", vmID=vm_id))
    pair.there.call("VM.migrationCreate", vmID=vm_id, params=info)
    pair.migrate(vm_id)
    pair.moving.journey(vm_id).settle(REFUSED, "no room")
    pair.failure(vm_id)
    assert pair.there.status(vm_id) == "Migration Destination"
    assert "VM.destroy" not in pair.calls


def test_a_destination_that_refuses(pair):
    """The status of the migration is that of the destination, with its code; nothing was moved."""
    vm_id = pair.here.create(vmName="a")
    pair.there.create(vmName="a")
    pair.migrate(vm_id)
    failure = pair.failure(vm_id)
    assert isinstance(failure, DestinationRefused)
    assert (failure.code, failure.facts["slug"]) == (4, "vm-exists")
    assert (pair.moving.journeys, pair.here.status(vm_id)) == ({}, "Up")
    assert "vmName" in pair.here.stats(vm_id).migration_error


@pytest.mark.parametrize(
    ("error", "reason", "code"),
    [
        (Unreachable("cannot reach the host: connection refused"), "connection refused", 12),
        (CallRefused("no-such-verb", 100, "There is no verb"), "There is no verb", 100),
        (CallRefused("unauthenticated", 100, "Cannot identify the caller"), "Cannot identify", 100),
        (ValueError("a bug"), "cannot be called", 12),
    ],
)
def test_a_destination_that_is_away_or_older(pair, error, reason, code):
    """The machine runs on here, and the status has the reason."""
    vm_id = pair.here.create()

    def fault(verb):
        if verb == "VM.migrationCreate":
            raise error

    pair.fault = fault
    pair.migrate(vm_id)
    failure = pair.failure(vm_id)
    assert reason in str(failure)
    assert failure.code == code
    assert (pair.moving.journeys, pair.here.status(vm_id)) == ({}, "Up")


def test_a_destination_that_does_not_answer_in_time(pair):
    """What it may have done is taken back."""
    vm_id = pair.here.create()
    info = builtins(pair.here.call("VM.getInfo", vmID=vm_id))

    def fault(verb):
        if verb == "VM.migrationCreate":
            context = Context(identity=PEER)
            pair.there.host.bridge.call(verb, {"vmID": vm_id, "params": info}, context)
            raise Unreachable("the host did not answer within 20 s")

    pair.fault = fault
    pair.migrate(vm_id)
    assert "did not answer" in str(pair.failure(vm_id))
    until(lambda: vm_id not in pair.there.ids(), 10)


def test_a_destination_without_a_place(make_machines, pair):
    """It is asked again; a cancellation ends the wait."""
    first, second = (pair.here.create(vmName=name) for name in "ab")
    for place_ in range(2):
        expected = str(uuid.uuid4())
        params = {"vmName": f"x{place_}", "devices": []}
        pair.there.call("VM.migrationCreate", vmID=expected, params=params)
    pair.migrate(first)
    until(lambda: pair.calls.count("VM.migrationCreate") >= 3, 10)
    assert (pair.moving.journeys, pair.here.status(first)) == ({}, "Migration Source")
    pair.here.call("VM.migrateCancel", vmID=first)
    assert pair.here.status(first) == "Up"
    assert isinstance(pair.failure(first), MigrationCanceled)
    pair.there.call("VM.destroy", vmID=expected)
    pair.migrate(second, incomingLimit=2)
    pair.moving.journey(second, 10)
    assert pair.there.status(second) == "Migration Destination"


def test_a_cancellation_during_the_handshake(pair):
    """It does not wait for the destination, which gives up the place when it has answered at last."""
    vm_id = pair.here.create()
    asked, answer = threading.Event(), threading.Event()

    def fault(verb):
        if verb == "VM.migrationCreate":
            asked.set()
            assert answer.wait(30)

    pair.fault = fault
    pair.migrate(vm_id)
    assert asked.wait(10)
    pair.here.call("VM.migrateCancel", vmID=vm_id)
    assert pair.here.status(vm_id) == "Up"
    assert pair.failure(vm_id).code == 47
    answer.set()
    until(lambda: pair.calls[-1] == "VM.destroy", 10)
    until(lambda: vm_id not in pair.there.ids(), 10)


def test_what_another_host_may_do(pair):
    """Reserve a place and give it up again; not what concerns machines that it has not announced."""
    bridge = pair.there.host.bridge
    context = Context(identity=PEER)
    own, theirs = str(uuid.uuid4()), pair.there.create(vmName="b")
    announced = str(uuid.uuid4())
    pair.there.call("VM.migrationCreate", vmID=announced, params={"vmName": "c"})
    bridge.call("VM.migrationCreate", {"vmID": own, "params": {"vmName": "d"}}, context)
    for vm_id in (theirs, announced):
        with pytest.raises(OutOfScope):
            bridge.call("VM.destroy", {"vmID": vm_id}, context)
    for verb in ("VM.pause", "VM.migrate", "VM.getInfo", "Host.getVMList", "VM.create"):
        with pytest.raises(OutOfScope):
            bridge.call(verb, {"vmID": own}, context)
    bridge.call("VM.destroy", {"vmID": own}, context)
    with pytest.raises(NoSuchVM):
        pair.there.status(own)


def test_a_machine_that_has_arrived_is_not_its_sources(pair):
    """The host that it came from cannot destroy it any more."""
    context = Context(identity=PEER)
    vm_id = str(uuid.uuid4())
    bridge = pair.there.host.bridge
    bridge.call("VM.migrationCreate", {"vmID": vm_id, "params": {"vmName": "d"}}, context)
    for event in (("started", "migrated"), ("resumed", "migrated")):
        pair.there.hypervisor._dispatcher.announce(DomainLifecycle(vm_id, "d", *event))
    pair.there.wait(vm_id, lambda stats: stats.status == "Up")
    with pytest.raises(OutOfScope):
        bridge.call("VM.destroy", {"vmID": vm_id}, context)


def test_a_host_that_is_not_configured_is_not_called(pair):
    """Its API is called by the caller of `VM.migrate`."""
    vm_id = pair.here.create()
    pair.migrate(vm_id, dst="elsewhere")
    pair.moving.journey(vm_id)
    assert pair.calls == []
