"""Where and how a machine goes: VDSM's parameters become libvirt's, or are refused by name."""

from __future__ import annotations

import uuid
from xml.etree import ElementTree as ET

import libvirt
import pytest

from vdsm_core.errors import InvalidArgument, MissingArgument
from vdsm_virt.errors import HasTransientDisk

#: MiB/s that QEMU takes for any.
NO_LIMIT = 2**43 - 1
POSTCOPY = {"init": [], "stalling": [{"limit": 1, "action": {"name": "postcopy", "params": []}}]}


def migrate(vms, vm_id, **params):
    vms.call("VM.migrate", vmID=vm_id, params={"dst": "there", **params})


@pytest.mark.parametrize(
    ("params", "argument"),
    [
        ({"dst": "qemu+ext://there/system"}, "params.dst"),
        ({"dst": "qemu+ssh://there/system?command=/tmp/x"}, "params.dst"),
        ({"dst": "qemu+unix:///system"}, "params.dst"),
        ({"dst": "test:///default"}, "params.dst"),
        ({"dst": "one two"}, "params.dst"),
        ({"dst": ""}, "params.dst"),
        ({"dst": "there\n"}, "params.dst"),
        ({"dstqemu": "tcp://there"}, "params.dstqemu"),
        ({"mode": "file"}, "params.mode"),
        ({"method": "postcopy"}, "params.method"),
        ({"incomingLimit": 0}, "params.incomingLimit"),
        ({"cpusets": ["0", "1"]}, "params.cpusets"),
        ({"cpusets": ["all"]}, "params.cpusets[0]"),
        ({"numaNodesets": ["0"]}, "params.numaNodesets"),
        ({"tunneled": True, "encrypted": True}, "params.encrypted"),
        ({"tunneled": True, "convergenceSchedule": POSTCOPY}, "params.convergenceSchedule"),
        ({"method": "offline", "convergenceSchedule": POSTCOPY}, "params.convergenceSchedule"),
        ({"downtime": 0}, "params.downtime"),
        ({"outgoingLimit": 0}, "params.outgoingLimit"),
        ({"zerocopy": True}, "params.zerocopy"),
        ({"zerocopy": True, "parallel": 2, "encrypted": True}, "params.zerocopy"),
        ({"zerocopy": True, "parallel": 2, "compressed": True}, "params.zerocopy"),
        ({"parallel": 2, "convergenceSchedule": POSTCOPY}, "params.convergenceSchedule"),
        ({"tunneled": True, "dstqemu": "there"}, "params.tunneled"),
        ({"tunneled": "true", "parallel": 2}, "params.tunneled"),
        (
            {"convergenceSchedule": {"init": [{"name": "postcopy", "params": []}]}},
            "params.convergenceSchedule.init[0].name",
        ),
        ({"vmId": str(uuid.uuid4())}, "params.vmId"),
    ],
)
def test_what_cannot_be_honoured_is_refused(movers, moving, params, argument):
    """By name, before anything is done."""
    vm_id = movers.create()
    with pytest.raises(InvalidArgument) as refusal:
        migrate(movers, vm_id, **params)
    assert refusal.value.facts["argument"] == argument
    assert (moving.journeys, moving.settings, movers.status(vm_id)) == ({}, [], "Up")


def test_a_destination_is_needed(movers):
    """There is no default."""
    with pytest.raises(MissingArgument, match="dst"):
        movers.call("VM.migrate", vmID=movers.create(), params={})


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "qemu+tls://there/system"),
        ({"dst": "there:54321"}, "qemu+tls://there/system"),
        ({"dst": "192.0.2.1"}, "qemu+tls://192.0.2.1/system"),
        ({"dst": "2001:db8::1"}, "qemu+tls://[2001:db8::1]/system"),
        ({"dst": "[2001:db8::1]:54321"}, "qemu+tls://[2001:db8::1]/system"),
        ({"dst": "qemu+tcp://there:16509/system"}, "qemu+tcp://there:16509/system"),
        ({"dst": "qemu+ssh://root@there/session"}, "qemu+ssh://root@there/session"),
    ],
)
def test_where_it_goes(movers, moving, params, expected):
    """A host becomes a URI by the configuration; the port of its management API is not libvirt's."""
    vm_id = movers.create()
    migrate(movers, vm_id, **params)
    assert moving.journey(vm_id).how[0] == expected


_BASE = libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
_LIVE = _BASE | libvirt.VIR_MIGRATE_LIVE


@pytest.mark.parametrize(
    ("params", "flags", "parameters"),
    [
        ({}, _LIVE, {}),
        ({"src": "here", "dstparams": "", "mode": "remote"}, _LIVE, {}),
        ({"method": "offline"}, _BASE, {}),
        ({"maxBandwidth": "32"}, _LIVE, {"bandwidth": 32}),
        ({"dstqemu": "192.0.2.1"}, _LIVE, {"migrate_uri": "tcp://192.0.2.1"}),
        ({"dstqemu": "2001:db8::1"}, _LIVE, {"migrate_uri": "tcp://[2001:db8::1]"}),
        ({"autoConverge": True}, _LIVE | libvirt.VIR_MIGRATE_AUTO_CONVERGE, {}),
        ({"compressed": "true"}, _LIVE | libvirt.VIR_MIGRATE_COMPRESSED, {}),
        ({"abortOnError": True}, _LIVE | libvirt.VIR_MIGRATE_ABORT_ON_ERROR, {}),
        ({"tunneled": True}, _LIVE | libvirt.VIR_MIGRATE_TUNNELLED, {}),
        ({"encrypted": True}, _LIVE | libvirt.VIR_MIGRATE_TLS, {"tls.destination": "there"}),
        (
            {"encrypted": True, "dst": "qemu+tls://root@there:16514/system", "dstqemu": "192.0.2.1"},
            _LIVE | libvirt.VIR_MIGRATE_TLS,
            {"tls.destination": "there", "migrate_uri": "tcp://192.0.2.1"},
        ),
        ({"convergenceSchedule": POSTCOPY}, _LIVE | libvirt.VIR_MIGRATE_POSTCOPY, {}),
        ({"enableGuestEvents": True, "incomingLimit": 2}, _LIVE, {}),
        ({"parallel": 2}, _LIVE | libvirt.VIR_MIGRATE_PARALLEL, {"parallel.connections": 2}),
        (
            {"parallel": 2, "zerocopy": True},
            _LIVE | libvirt.VIR_MIGRATE_PARALLEL | libvirt.VIR_MIGRATE_ZEROCOPY,
            {"parallel.connections": 2},
        ),
    ],
)
def test_how_it_goes(movers, moving, params, flags, parameters):
    """Each of VDSM's parameters is libvirt's."""
    vm_id = movers.create()
    migrate(movers, vm_id, **params)
    assert moving.journey(vm_id).how[1:] == ({"bandwidth": NO_LIMIT, **parameters}, flags)


def test_the_display_is_told_to_viewers(movers, moving):
    """By the kind of display that the machine has."""
    vm_id = movers.create(display="vnc")
    migrate(movers, vm_id, consoleAddress="there")
    assert moving.journey(vm_id).how[1]["graphics_uri"] == "vnc://there"


@pytest.mark.parametrize(
    ("paths", "shared"),
    [
        (["/shared/a", "/shared/more/b"], True),
        (["/shared/a", "/own/b"], False),
        (["/shared/../own/b"], False),
        (["/sharedish/a"], False),
        ([], False),
    ],
)
def test_libvirt_is_told_that_disks_are_shared(make_machines, moving, paths, shared):
    """Only if that holds for all of them."""
    vms = make_machines(
        connect=moving.connect, config={"plugin": {"virt": {"shared_folders": ["/shared", "/other"]}}}
    )
    disks = [{"type": "disk", "device": "disk", "path": path, "format": "raw"} for path in paths]
    vm_id = vms.create(devices=disks)
    migrate(vms, vm_id)
    assert bool(moving.journey(vm_id).how[2] & libvirt.VIR_MIGRATE_UNSAFE) is shared
    moving.journey(vm_id).settle()


def test_processors_and_nodes_of_the_destination(movers, moving):
    """The document of the destination has them instead of the present ones, and all else as it is."""
    cells = [{"cpus": "0", "memory": 32, "nodeIndex": 0}, {"cpus": "1", "memory": 32, "nodeIndex": 1}]
    vm_id = movers.create(smp=2, cpuPinning={"0": "0", "1": "0"}, guestNumaNodes=cells)
    migrate(movers, vm_id, cpusets=["1", "2-3"], numaNodesets=["0", "1"])
    xml = moving.journey(vm_id).how[1][libvirt.VIR_MIGRATE_PARAM_DEST_XML]
    domain = ET.fromstring(xml)
    assert [pin.attrib for pin in domain.findall("cputune/vcpupin")] == [
        {"vcpu": "0", "cpuset": "1"},
        {"vcpu": "1", "cpuset": "2-3"},
    ]
    assert [(cell.get("cellid"), cell.get("nodeset")) for cell in domain.findall("numatune/memnode")] == [
        ("0", "0"),
        ("1", "1"),
    ]
    assert domain.findtext("uuid") == vm_id


def test_transient_disks_do_not_move(movers, moving, tmp_path):
    """What was written to one exists on this host only."""
    image = tmp_path / "disk"
    image.touch()
    disk = {"type": "disk", "device": "disk", "path": str(image), "format": "raw", "shared": "transient"}
    vm_id = movers.create(devices=[disk])
    with pytest.raises(HasTransientDisk) as refusal:
        migrate(movers, vm_id)
    assert (refusal.value.code, moving.journeys, movers.status(vm_id)) == (59, {}, "Up")
