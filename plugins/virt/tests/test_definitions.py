"""The definitions of machines: started again, edited, renamed, adopted, forgotten."""

from __future__ import annotations

from types import SimpleNamespace
from xml.etree import ElementTree as ET

import libvirt
import pytest

from vdsm_bridge.call.context import Identity
from vdsm_bridge.testing.polling import until
from vdsm_core.errors import Forbidden, InvalidArgument
from vdsm_core.hooks import hookimpl
from vdsm_virt.definitions.autostart import obstacle, shared_file_system
from vdsm_virt.definitions.errors import (
    AutostartRefused,
    CannotAdoptVM,
    CannotStartVM,
    DefinitionRefused,
    NotAdopted,
)
from vdsm_virt.domain.metadata import Metadata
from vdsm_virt.errors import ForeignDefinition, NoSuchVM, VMExists, VMNotDown

#: A disk whose image is not made here.
UNMADE = "<devices><disk type='file'><source file='PAYLOAD:'/><target dev='vdz' bus='virtio'/></disk>"
DISPLAY = {"type": "graphics", "device": "vnc"}


@pytest.fixture
def driver():
    """A connection of another client."""
    connection = libvirt.open("test:///default")
    yield connection
    connection.close()


def before_start(function):
    """A plugin with one hook."""
    return SimpleNamespace(vdsm_before_vm_start=hookimpl(function))


def stop(vms, vm_id, driver):
    """End a run from outside: the definition stays."""
    driver.lookupByUUIDString(vm_id).destroy()
    vms.wait(vm_id, lambda stats: stats.status == "Down")


def xml_of(vms, vm_id, **arguments):
    return vms.call("VM.getXML", vmID=vm_id, **arguments)


def foreign(driver, name="theirs", *, run=False):
    """A machine of another client of libvirt; its id."""
    domain = driver.defineXML(
        f"<domain type='test'><name>{name}</name><memory>65536</memory><os><type>hvm</type></os></domain>"
    )
    if run:
        domain.create()
    return domain.UUIDString()


def known(vms, vm_id):
    """Wait until the daemon knows a machine of another client."""
    until(lambda: vm_id in vms.ids(), 5.0)
    until(lambda: vms.call("VM.getInfo", vmID=vm_id).vm_name, 5.0)
    return vm_id


def test_a_machine_that_was_stopped_starts_again(vms, driver):
    """It waits for its launch, runs, and is a new run: nothing of the last end is shown."""
    vm_id = vms.create()
    stop(vms, vm_id, driver)
    assert vms.stats(vm_id).exit_code == 0
    events = vms.listen()
    assert vms.call("VM.start", vmID=vm_id).status == "WaitForLaunch"
    vms.wait(vm_id, lambda stats: stats.status == "Up")
    assert [event["status"] for event in vms.received(events)] == ["WaitForLaunch", "Up"]
    events.close()
    again = vms.create(vmName="b")
    stop(vms, again, driver)
    vms.call("VM.start", vmID=again, launchPaused=True)
    vms.wait(again, lambda stats: stats.status == "Paused")


def test_only_a_machine_that_is_down_is_started(vms):
    """One that runs is refused, one that is not there is not found."""
    vm_id = vms.create()
    with pytest.raises(VMNotDown) as refusal:
        vms.call("VM.start", vmID=vm_id)
    assert refusal.value.facts["status"] == "Up"
    with pytest.raises(NoSuchVM):
        vms.call("VM.start", vmID="11111111-2222-3333-4444-555555555555")


def test_what_runs_elsewhere_or_was_saved_is_not_started(movers, moving, driver):
    """A machine that has moved would run twice."""
    vm_id = movers.create()
    movers.call("VM.migrate", vmID=vm_id, params={"dst": "there"})
    moving.journey(vm_id).settle()
    movers.wait(vm_id, lambda stats: stats.status == "Down")
    with pytest.raises(CannotStartVM):
        movers.call("VM.start", vmID=vm_id)


def test_a_start_that_fails_is_the_exit_of_the_machine(make_machines, driver):
    """A hook that refuses leaves the machine down with its reason; the definition stays."""
    refuse = []

    def vdsm_before_vm_start(vm_id):
        if refuse:
            raise VMExists(member="vmName", value="refused by the test")

    vms = make_machines(hooks={"strict": before_start(vdsm_before_vm_start)})
    vm_id = vms.create()
    stop(vms, vm_id, driver)
    refuse.append(1)
    vms.call("VM.start", vmID=vm_id)
    stats = vms.wait(vm_id, lambda stats: stats.status == "Down")
    assert "refused by the test" in stats.exit_message
    refuse.clear()
    vms.call("VM.start", vmID=vm_id)
    vms.wait(vm_id, lambda stats: stats.status == "Up")


def test_hooks_edit_each_start_anew(make_machines, driver):
    """What a hook adds for a run is in the running document once, whatever the number of starts."""

    def vdsm_before_vm_start(domain):
        description = ET.SubElement(domain, "description")
        description.text = (domain.findtext("description") or "") + "edited"
        for old in domain.findall("description")[:-1]:
            domain.remove(old)

    vms = make_machines(hooks={"adds": before_start(vdsm_before_vm_start)})
    vm_id = vms.create()
    vms.wait(vm_id, lambda stats: stats.status == "Up")
    for _ in range(2):
        running = ET.fromstring(xml_of(vms, vm_id, running=True))
        assert running.findtext("description") == "edited"
        assert ET.fromstring(xml_of(vms, vm_id)).find("description") is None
        stop(vms, vm_id, driver)
        vms.call("VM.start", vmID=vm_id)
        vms.wait(vm_id, lambda stats: stats.status == "Up")


def test_an_edited_definition_is_used_by_the_next_start(vms, driver):
    """A running machine goes on; what needs a restart is named, and no password is lost or shown."""
    vm_id = vms.create(devices=[DISPLAY])
    text = xml_of(vms, vm_id)
    assert "passwd=" not in text
    before = driver.lookupByUUIDString(vm_id).XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
    secret = ET.fromstring(before).find("devices/graphics").get("passwd")
    assert secret
    done = vms.call("VM.setXML", vmID=vm_id, xml=text.replace(">65536<", ">131072<"))
    assert done.changed == done.needs_restart == ["currentMemory", "memory"]
    kept = driver.lookupByUUIDString(vm_id).XMLDesc(
        libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE
    )
    assert ET.fromstring(kept).find("devices/graphics").get("passwd") == secret
    stop(vms, vm_id, driver)
    assert vms.call("VM.getInfo", vmID=vm_id).mem_size == 128
    done = vms.call("VM.setXML", vmID=vm_id, xml=xml_of(vms, vm_id).replace(">131072<", ">262144<"))
    assert (done.changed, done.needs_restart) == (["currentMemory", "memory"], [])
    assert vms.call("VM.setXML", vmID=vm_id, xml=xml_of(vms, vm_id)).changed == []


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("<name>a</name>", "<name>b</name>", InvalidArgument),
        ("<uuid>", "<uuid>1", InvalidArgument),
        ("<domain", "<network", InvalidArgument),
        (
            "<devices>",
            UNMADE,
            InvalidArgument,
        ),
        (">65536<", ">much<", DefinitionRefused),
    ],
)
def test_an_edit_that_is_not_acceptable_changes_nothing(vms, old, new, error):
    """The error says why, and the definition is the same."""
    vm_id = vms.create()
    text = xml_of(vms, vm_id)
    changed = text.replace(old, new)
    if new == "<network":
        changed = changed.replace("</domain>", "</network>")
    with pytest.raises(error):
        vms.call("VM.setXML", vmID=vm_id, xml=changed)
    # The mark of the run may be written meanwhile.
    assert xml_of(vms, vm_id).partition("</metadata>")[2] == text.partition("</metadata>")[2]


def test_what_the_daemon_keeps_is_not_edited(vms):
    """A client cannot write the daemon's own metadata."""
    vm_id = vms.create(custom={"a": "1"})
    text = xml_of(vms, vm_id)
    assert "clientIp" in text or "client_ip" in text
    root = ET.fromstring(text)
    root.remove(root.find("metadata"))
    vms.call("VM.setXML", vmID=vm_id, xml=ET.tostring(root, encoding="unicode"))
    assert "client_ip" in xml_of(vms, vm_id)


def test_only_an_admin_edits(make_machines):
    """A ready document can give a machine anything of the host."""
    vms = make_machines()
    vm_id = vms.create()
    text = xml_of(vms, vm_id)
    with pytest.raises(Forbidden):
        vms.host.call("VM.setXML", vmID=vm_id, xml=text, identity=Identity("o", "operator"))


def test_a_machine_that_is_down_is_renamed(vms, driver):
    """Its id stays; a name that is taken, or a machine that runs, is refused."""
    vm_id = vms.create()
    other = vms.create(vmName="taken")
    with pytest.raises(VMNotDown):
        vms.call("VM.rename", vmID=vm_id, name="b")
    stop(vms, vm_id, driver)
    with pytest.raises(VMExists):
        vms.call("VM.rename", vmID=vm_id, name="taken")
    assert vms.call("VM.rename", vmID=vm_id, name="b").vm_name == "b"
    until(lambda: vms.call("VM.getInfo", vmID=vm_id).vm_name == "b", 5.0)
    assert set(vms.ids()) == {vm_id, other}
    assert vms.create(vmName="a") in vms.ids()


def test_a_machine_that_is_down_is_forgotten(vms, driver):
    """One that runs is not ended by it."""
    vm_id = vms.create()
    with pytest.raises(VMNotDown):
        vms.call("VM.forget", vmID=vm_id)
    assert vms.status(vm_id) == "Up"
    stop(vms, vm_id, driver)
    vms.call("VM.forget", vmID=vm_id)
    assert vms.ids() == []


def test_machines_of_others_are_started_stopped_and_adopted(vms, driver):
    """Adopted, such a machine is like one that the daemon defined."""
    vm_id = known(vms, foreign(driver))
    vms.call("VM.start", vmID=vm_id)
    vms.wait(vm_id, lambda stats: stats.status == "Up")
    vms.call("VM.destroy", vmID=vm_id)
    vms.wait(vm_id, lambda stats: stats.status == "Down")
    for verb, arguments in [("rename", {"name": "b"}), ("setXML", {"xml": xml_of(vms, vm_id)})]:
        with pytest.raises(NotAdopted):
            vms.call(f"VM.{verb}", vmID=vm_id, **arguments)
    with pytest.raises(ForeignDefinition):
        vms.call("VM.forget", vmID=vm_id)
    with pytest.raises(NotAdopted):
        vms.call("VM.setAutostart", vmID=vm_id, enabled=True)
    vms.call("VM.adopt", vmID=vm_id)
    vms.call("VM.adopt", vmID=vm_id)
    assert vms.call("VM.rename", vmID=vm_id, name="ours").vm_name == "ours"
    vms.call("VM.forget", vmID=vm_id)
    assert vm_id not in vms.ids()


def test_a_running_machine_is_adopted_as_it_runs(vms, driver):
    """Nothing of its run changes; what libvirt starts by itself is settled first."""
    vm_id = known(vms, foreign(driver, run=True))
    driver.lookupByUUIDString(vm_id).setAutostart(1)
    with pytest.raises(CannotAdoptVM):
        vms.call("VM.adopt", vmID=vm_id)
    assert vms.call("VM.getAutostart", vmID=vm_id) is True
    vms.call("VM.setAutostart", vmID=vm_id, enabled=False)
    assert vms.call("VM.adopt", vmID=vm_id).status == "Up"
    assert driver.lookupByUUIDString(vm_id).isActive()
    vms.call("VM.destroy", vmID=vm_id)
    assert vm_id not in vms.ids()


def test_autostart_happens_once_after_a_boot(make_machines, tmp_path, driver):
    """A daemon that starts in a new boot starts the machines that are to be; a restart does not."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    config = {"daemon": {"run_dir": str(run_dir), "state_dir": str(tmp_path / "state")}}
    vms = make_machines(config=config)
    vm_id, quiet = vms.create(), vms.create(vmName="b")
    vms.call("VM.setAutostart", vmID=vm_id, enabled=True)
    assert vms.call("VM.getAutostart", vmID=vm_id) is True
    assert vms.call("VM.getAutostart", vmID=quiet) is False
    for each in (vm_id, quiet):
        stop(vms, each, driver)
    vms.host.host.stop()
    again = make_machines(config=config)
    assert again.status(vm_id) == "Down"
    again.host.host.stop()
    (run_dir / "autostart.boot").write_text("an earlier boot")
    booted = make_machines(config=config)
    booted.wait(vm_id, lambda stats: stats.status == "Up")
    assert booted.status(quiet) == "Down"
    booted.call("VM.setAutostart", vmID=vm_id, enabled=False)
    assert booted.call("VM.getAutostart", vmID=vm_id) is False


@pytest.mark.parametrize(
    ("devices", "word"),
    [
        ("<lease><lockspace>a</lockspace></lease>", "lease"),
        ("<disk type='network'><source protocol='rbd' name='p/i'/><target dev='vda'/></disk>", "network"),
        ("<disk type='block'><source dev='/dev/sdx'/><target dev='vda'/></disk>", "block"),
        ("<disk type='file'><source file='/shared/a'/><target dev='vda'/></disk>", "nfs4"),
        ("<disk type='file'><source file='/a'/><target dev='vda'/><shareable/></disk>", "shared"),
        ("<disk type='file'><source file='/stored'/><target dev='vdb'/></disk>", "storage domain"),
        ("<disk type='file'><source file='/shared/i'/><target dev='sda'/><readonly/></disk>", ""),
        ("<disk type='file'><source file='/local/a'/><target dev='vda'/></disk>", ""),
    ],
)
def test_autostart_is_for_machines_that_no_other_host_runs(devices, word):
    """Leases and storage that others may use are named."""
    mounts = "/dev/sda / ext4 rw 0 0\nserver:/x /shared nfs4 rw 0 0\n"
    ids = {"domainID": "1", "imageID": "2", "poolID": "3", "volumeID": "4"}
    domain = ET.fromstring(f"<domain><devices>{devices}</devices></domain>")
    reason = obstacle(domain, Metadata(devices={"vdb": ids}), mounts)
    assert word in reason
    assert bool(reason) == bool(word)


def test_the_innermost_mount_decides():
    """Names with spaces are escaped in the kernel's list; of two mounts at one place, the last is seen."""
    mounts = "a / nfs rw 0 0\nb / ext4 rw 0 0\nc /with\\040space fuse.sshfs rw 0 0\n"
    assert shared_file_system("/x", mounts) == ""
    assert shared_file_system("/with space/x", mounts) == "fuse.sshfs"
    assert shared_file_system("/x", "") == ""


def test_autostart_is_refused_by_name(vms, monkeypatch):
    """The refusal has the reason, and the machine stays as it is."""
    vm_id = vms.create()
    monkeypatch.setattr("vdsm_virt.definitions.autostart.obstacle", lambda *_: "it holds a lease")
    with pytest.raises(AutostartRefused) as refusal:
        vms.call("VM.setAutostart", vmID=vm_id, enabled=True)
    assert refusal.value.facts["reason"] == "it holds a lease"
    assert vms.call("VM.getAutostart", vmID=vm_id) is False
