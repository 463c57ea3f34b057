"""Names that libvirt makes file names of, and documents that no reader should meet."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from xml.etree.ElementTree import SubElement

import pytest

from vdsm_core.errors import InvalidArgument
from vdsm_core.hooks import hookimpl
from vdsm_core.types import MAX_UNKNOWN, MAX_UNKNOWN_DEPTH, MAX_UNKNOWN_SIZE, MAX_UNKNOWN_TOTAL
from vdsm_virt.create.launch_plan import MAX_METADATA_BYTES
from vdsm_virt.machine.naming import MAX_NAME_BYTES

DOCUMENT = """<domain type='test'><name>{name}</name><memory unit='MiB'>64</memory>
<os><type>hvm</type></os>{more}</domain>"""
#: Each of these would leave libvirt's folder, or cannot be a file's name.
BAD = [".", "..", "../x", "a/b", "a\n", "a\x7f", "\U0001f600" * 62, "x" * (MAX_NAME_BYTES + 1)]


def deep(levels: int) -> str:
    return "<a>" * levels + "</a>" * levels


def nested(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("name", [*BAD, "a\x00", "\ud800"], ids=ascii)
def test_a_name_that_is_no_file_name_is_refused(vms, name):
    """`vmName` of `VM.create` and of `VM.migrationCreate`: invalid argument, and no machine."""
    vm_id = str(uuid.uuid4())
    with pytest.raises(InvalidArgument):
        vms.call("VM.create", vmParams={"vmName": name, "memSize": 64})
    with pytest.raises(InvalidArgument):
        vms.call("VM.migrationCreate", vmID=vm_id, params={"vmId": vm_id, "vmName": name})
    assert vms.ids() == []


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_name_in_a_document_is_held_to_the_same(vms, name):
    """`<name>` of a client's own document names its machine's files, too."""
    with pytest.raises(InvalidArgument):
        vms.call("VM.create", vmParams={"xml": DOCUMENT.format(name=name, more="")})
    assert vms.ids() == []


@pytest.mark.parametrize("name", ["...", "-x", "a b", "ü" * 100, "\U0001f600" * 40, "x" * MAX_NAME_BYTES])
def test_an_unusual_name_that_is_a_file_name_is_taken(vms, name):
    """Dots, dashes, blanks and any characters whose bytes suffice name a machine."""
    vm_id = vms.create(vmName=name, memSize=64)
    assert vms.call("VM.getInfo", vmID=vm_id).vm_name == name


@pytest.mark.parametrize("channel", ["..", "../../x", "a\n", "x" * 65])
def test_a_channel_is_a_file_too(vms, channel):
    """libvirt puts its socket into a folder of the machine, under the channel's name."""
    device = {"type": "channel", "device": "unix", "name": channel}
    with pytest.raises(InvalidArgument):
        vms.call("VM.create", vmParams={"vmName": "a", "memSize": 64, "devices": [device]})
    with pytest.raises(InvalidArgument):
        vms.call("VM.create", vmParams={"vmName": "a", "memSize": 64, "agentChannelName": channel})
    if "\n" not in channel:
        xml = f"<devices><channel type='unix'><target type='virtio' name='{channel}'/></channel></devices>"
        with pytest.raises(InvalidArgument):
            vms.call("VM.create", vmParams={"xml": DOCUMENT.format(name="a", more=xml)})


@pytest.mark.parametrize("fault", ["channel", "depth"])
def test_a_document_that_a_hook_changed_is_checked_after_it(make_machines, fault):
    """What a hook wrote is held to the same as what a client wrote; the machine is down, with the reason."""

    @hookimpl
    def vdsm_before_vm_start(vm_id, domain, custom):
        if fault == "channel":
            channel = SubElement(domain.find("devices"), "channel", type="unix")
            SubElement(channel, "target", type="virtio", name="../../x")
            return
        place = domain
        for _ in range(5000):
            place = SubElement(place, "a")

    vms = make_machines(hooks={"careless": SimpleNamespace(vdsm_before_vm_start=vdsm_before_vm_start)})
    vm_id = vms.call("VM.create", vmParams={"vmName": "a", "memSize": 64}).vm_id
    vms.wait(vm_id, lambda stats: stats.status == "Down")
    assert "a hook changed the domain document" in vms.call("VM.getStats", vmID=vm_id)[0].exit_message


@pytest.mark.parametrize(
    "more", [deep(40_000), deep(257), "<a/>" * 60_000], ids=["40000 levels", "257 levels", "60000 elements"]
)
def test_a_document_of_no_reasonable_shape_is_refused(vms, more):
    """Invalid argument by name, whatever Python's own limit of recursion is."""
    with pytest.raises(InvalidArgument) as refusal:
        vms.call("VM.create", vmParams={"xml": DOCUMENT.format(name="a", more=more)})
    assert refusal.value.facts["argument"] == "vmParams.xml"
    assert vms.ids() == []


@pytest.mark.parametrize(
    ("unknown", "limit"),
    [
        ({f"m{number}": 1 for number in range(9_000)}, MAX_UNKNOWN),
        ({"m": "x" * 70_000}, MAX_UNKNOWN_SIZE),
        ({"m": ["€" * 22_000]}, MAX_UNKNOWN_SIZE),
        ({f"m{number}": "x" * 40_000 for number in range(4)}, MAX_UNKNOWN_TOTAL),
        ({"m": nested(40)}, MAX_UNKNOWN_DEPTH),
        ({"m": nested(100_000)}, MAX_UNKNOWN_DEPTH),
        ({"x" * 300: 1}, 256),
        ({"custom": {str(number): "x" for number in range(300)}}, 256),
        ({"custom": {str(number): "x" * 60_000 for number in range(3)}}, MAX_METADATA_BYTES),
    ],
    ids=[
        "many",
        "large",
        "large in bytes",
        "large in sum",
        "deep",
        "very deep",
        "name",
        "custom",
        "custom sum",
    ],
)
def test_what_is_kept_is_bounded(vms, unknown, limit):
    """A machine keeps unknown members and custom properties up to limits, which the error names."""
    with pytest.raises(InvalidArgument, match=str(limit)):
        vms.call("VM.create", vmParams={"vmName": "a", "memSize": 64, **unknown})
    assert vms.ids() == []


def test_what_engines_send_is_kept(vms):
    """Members that engines send and that mean nothing here are kept where they are harmless."""
    vm_id = vms.create(memSize=64, transparentHugePages="true", rack={"row": [1, 2, {"deep": "€"}]})
    assert vms.call("VM.getInfo", vmID=vm_id).kept == {"transparentHugePages": "true"}
