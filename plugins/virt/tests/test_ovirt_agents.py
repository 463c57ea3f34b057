"""oVirt's guest agents: what they say becomes VDSM's facts; what is asked of them is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vdsm_bridge.testing import Clock
from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import AgentUnavailable, DomainLifecycle, DomainReboot
from vdsm_virt.guest.errors import DesktopAgentSilent
from vdsm_virt.guest.facts import GuestFacts, OvirtAgentFacts
from vdsm_virt.guest.ovirt_agents import SILENCE, OvirtAgents
from vdsm_virt.guest.ovirt_messages import MAX_MESSAGE, BadMessage, decode, merged

ID = "9b6f7d32-0c3f-4a0d-8c7e-0f2f6b1c7f55"


class FakeChannel:
    """This side of a channel, as the hypervisor gives it."""

    def __init__(self, name: str, received: Any, closed: Any) -> None:
        self.name = name
        self.received = received
        self.closed = closed
        self.sent: list[dict[str, Any]] = []
        self.is_open = True
        self.reads = True

    def send(self, data: bytes) -> None:
        if not self.reads:
            raise AgentUnavailable(operation="send", reason="the guest does not read", libvirt_code=0)
        self.sent += [json.loads(line) for line in data.splitlines()]

    def close(self) -> None:
        self.is_open = False


class Guests:
    """Agents of one machine, without a hypervisor: it stands for the parts that they need."""

    def __init__(self, port: str = "com.redhat.rhevm.vdsm") -> None:
        self.clock = Clock()
        self.facts = GuestFacts()
        self.opened: list[FakeChannel] = []
        self.refuse = False
        self.channels = self
        self.id, self.active, self.details, self.ovirt_port = ID, True, self, port
        self.agents = OvirtAgents(self, self, self, self.facts, self.clock)  # type: ignore[arg-type]

    def open_soon(self, vm_id: str, name: str, *, received: Any, closed: Any, opened: Any) -> FakeChannel:
        if self.refuse:
            raise VdsmError(reason="no")
        channel = FakeChannel(name, received, closed)
        self.opened.append(channel)
        opened(channel)
        return channel

    def all(self) -> list[Any]:
        return [self]

    def get(self, _vm_id: str) -> Any:
        return self

    def plan(self, _purpose: str, work: Any, **_how: Any) -> None:
        work()

    def report(self, *messages: dict[str, Any]) -> None:
        self.opened[-1].received(b"".join(json.dumps(each).encode() + b"\n" for each in messages))


@pytest.fixture
def guests() -> Guests:
    """A guest whose channel is open."""
    made = Guests()
    made.agents.look()
    return made


def test_what_an_agent_says(guests: Guests) -> None:
    """Each message of the protocol becomes the facts that VDSM makes of it; versions are agreed on."""
    (channel,) = guests.opened
    assert (channel.name, channel.sent) == (
        "com.redhat.rhevm.vdsm",
        [{"__name__": "refresh", "apiVersion": 3}],
    )
    memory = {"mem_total": "1000", "mem_free": 500, "mem_unused": 400, "swap_in": 1}
    guests.report(
        {"__name__": "heartbeat", "free-ram": "70", "memory-stat": memory, "apiVersion": 9},
        {"__name__": "host-name", "name": "guest\u0001"},
        {"__name__": "fqdn", "fqdn": "guest.example.org"},
        {"__name__": "os-version", "version": "5.10"},
        {"__name__": "os-info", "type": "linux", "arch": "x86_64", "kernel": "5.10"},
        {"__name__": "timezone", "zone": "CET", "offset": 60},
        {
            "__name__": "network-interfaces",
            "interfaces": [
                {"name": "eth0", "hw": "52:54:00:00:00:01", "inet": ["192.0.2.4"], "inet6": ["2001:db8::4"]},
                {"name": "eth1", "hw": "", "inet": ["192.0.2.5"]},
            ],
        },
        {"__name__": "applications", "applications": ["kernel-5.10", "vim"]},
        {"__name__": "active-user", "name": "ann"},
        {"__name__": "session-lock"},
        {"__name__": "containers", "list": [{"id": "1", "names": ["web"], "image": "i", "status": "Up"}]},
        {
            "__name__": "disks-usage",
            "disks": [{"path": "/", "fs": "ext4", "total": "100", "used": 7}],
            "mapping": {"SERIAL": {"name": "/dev/vda"}, "bad": 1},
        },
        {"__name__": "number-of-cpus", "count": "2"},
        {"__name__": "of-the-future", "x": 1},
    )
    assert channel.sent[1:] == [{"__name__": "api-version", "apiVersion": 3}]
    known = guests.facts.ovirt(ID)
    assert (known.mem_usage, known.heartbeat, known.memory_stats.mem_total) == (70, True, 1000)
    shown = guests.facts.members(ID)
    assert (shown["guest_name"], shown["guest_fqdn"], shown["guest_os"]) == (
        "guest\ufffd",
        "guest.example.org",
        "5.10",
    )
    assert (shown["guest_os_info"].arch, shown["guest_timezone"].offset) == ("x86_64", 60)
    assert shown["guest_ips"] == "192.0.2.4 192.0.2.5"
    assert [nic.inet6 for nic in shown["net_ifaces"]] == [["2001:db8::4"], []]
    assert (shown["apps_list"], shown["username"], shown["session"]) == (
        ["kernel-5.10", "vim"],
        "ann",
        "Locked",
    )
    assert shown["guest_containers"][0].names == ["web"]
    assert (shown["disks_usage"][0].total, shown["disk_mapping"]["SERIAL"].name) == (100, "/dev/vda")
    assert shown["guest_cpu_count"] == 2
    guests.agents.handle(DomainReboot(ID, "a"))
    again = guests.facts.ovirt(ID)
    assert (again.username, again.last_user, again.heartbeat) == ("Unknown", "ann", False)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nothing",
        b"[" * 100_000,
        b'{"free-ram": 1}',
        b'{"__name__": 1}',
        b'{"__name__": "heartbeat"}',
        b'{"__name__": "heartbeat", "free-ram": 1e300}',
        b'{"__name__": "network-interfaces", "interfaces": [1]}',
        b'{"__name__": "network-interfaces", "interfaces": [{"inet": 5}]}',
        b'{"__name__": "applications", "applications": {"a": 1}}',
        b'{"__name__": "disks-usage", "disks": [{}]}',
        b'{"__name__": "disks-usage", "disks": [], "mapping": 5}',
        b'{"__name__": "active-user"}',
    ],
)
def test_what_is_no_message(line: bytes) -> None:
    """It is refused, and changes nothing."""
    with pytest.raises(BadMessage):
        merged(OvirtAgentFacts(), decode(line), 1.0, 2.0)


def test_messages_in_pieces(guests: Guests) -> None:
    """A message may arrive in pieces; one that is too long is left out, and the next one is understood."""
    (channel,) = guests.opened
    for piece in (b'{"__name__": "fq', b'dn", "fqdn": "a"}', b"\n"):
        channel.received(piece)
    assert guests.facts.ovirt(ID).guest_fqdn == "a"
    channel.received(b'{"__name__": "fqdn", "fqdn": "' + b"x" * MAX_MESSAGE)
    channel.received(b'"}\n{"__name__": "host-name", "name": "b"}\n')
    known = guests.facts.ovirt(ID)
    assert (known.guest_fqdn, known.guest_name) == ("a", "b")


def test_a_guest_that_floods_is_cut_off(guests: Guests) -> None:
    """What is not read yet has a bound: a guest beyond it is cut off for some time."""
    guests.plan = lambda *_args, **_kwargs: None  # type: ignore[method-assign]  # nothing is read
    (channel,) = guests.opened
    for _ in range(5):
        channel.received(b"x" * MAX_MESSAGE)
    assert not channel.is_open
    guests.agents.look()
    assert len(guests.opened) == 1
    guests.clock.move(601)
    guests.agents.look()
    assert len(guests.opened) == 2


def test_an_agent_that_falls_silent(guests: Guests) -> None:
    """It is commanded only while it says something; the error says what is missing."""
    with pytest.raises(DesktopAgentSilent, match="has said nothing"):
        guests.agents.send(ID, "lock-screen")
    guests.report({"__name__": "session-startup"})
    guests.agents.send(ID, "login", username="ann@corp", password="secret")
    assert guests.opened[0].sent[-1] == {"__name__": "login", "username": "ann@corp", "password": "secret"}
    guests.opened[0].reads = False
    with pytest.raises(DesktopAgentSilent, match="does not read"):
        guests.agents.send(ID, "lock-screen")
    guests.clock.move(SILENCE + 1)
    with pytest.raises(DesktopAgentSilent, match="has said nothing for 120 s"):
        guests.agents.send(ID, "lock-screen")


def test_channels_are_opened_again(guests: Guests) -> None:
    """After a pause that grows; not for a machine that has stopped, nor for one without a port."""
    for pause in (5, 10, 20):
        guests.opened[-1].closed("QEMU closed it")
        guests.agents.look()
        count = len(guests.opened)
        guests.clock.move(pause)
        guests.agents.look()
        assert len(guests.opened) == count + 1
    guests.report({"__name__": "fqdn", "fqdn": "a"})
    guests.agents.handle(DomainLifecycle(ID, "a", "stopped", "shutdown"))
    assert not guests.opened[-1].is_open
    assert guests.facts.ovirt(ID).guest_fqdn != "a"
    without = Guests(port="")
    without.agents.look()
    assert without.opened == []


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("VM.desktopLogin", {"domain": "d", "username": "u", "password": "p"}),
        ("VM.desktopLogoff", {"force": True}),
        ("VM.desktopLock", {}),
        ("VM.desktopSendHcCommand", {"message": "echo"}),
    ],
)
def test_verbs_without_an_agent(vms: Any, verb: str, arguments: dict[str, Any]) -> None:
    """Each verb says that no agent is there, with VDSM's code."""
    vm_id = vms.create()
    with pytest.raises(DesktopAgentSilent) as refused:
        vms.call(verb, vmID=vm_id, **arguments)
    assert refused.value.code == 19
