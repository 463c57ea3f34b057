"""The document that a source sends of a machine: what an operator, such as another host, may announce."""

from __future__ import annotations

import uuid

import pytest

from vdsm_bridge.call.context import Context, Identity
from vdsm_core import types
from vdsm_core.errors import InvalidArgument
from vdsm_virt.api.migration import IncomingParams
from vdsm_virt.errors import NeedsAdmin
from vdsm_virt.policy.host_access import HostAccess
from vdsm_virt.policy.image_folders import ImageFolders

ID = "0b6f2c1e-8a7d-4f4e-9d3c-2b1a09f8e7d6"
#: What libvirt 9.0 made of a small machine (`virsh dumpxml --inactive --migratable`).
LIBVIRTS = f"""\
<domain type='kvm'>
  <name>a</name>
  <uuid>{ID}</uuid>
  <metadata>
    <vdsm:machine xmlns:vdsm="urn:vdsm:machine:1">
      <vdsm:created>1796057730.189</vdsm:created>
      <vdsm:custom>{{"tags":"web"}}</vdsm:custom>
    </vdsm:machine>
    <run:run xmlns:run="urn:vdsm:run:1">{{"started":1.0}}</run:run>
  </metadata>
  <memory unit='KiB'>131072</memory>
  <currentMemory unit='KiB'>131072</currentMemory>
  <vcpu placement='static'>1</vcpu>
  <resource><partition>/machine</partition></resource>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <boot dev='hd'/>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact' check='partial'><model fallback='allow'>qemu64</model></cpu>
  <clock offset='variable' adjustment='0' basis='utc'>
    <timer name='rtc' tickpolicy='catchup'/>
  </clock>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk' snapshot='no'>
      <driver name='qemu' type='raw' cache='none' error_policy='stop' io='threads'/>
      <source file='FOLDER/a.img'/>
      <target dev='vda' bus='virtio'/>
      <serial>0a7b0636</serial>
      <address type='pci' domain='0x0000' bus='0x03' slot='0x00' function='0x0'/>
    </disk>
    <controller type='usb' index='0' model='qemu-xhci'>
      <address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/>
    </controller>
    <controller type='pci' index='0' model='pcie-root'/>
    <controller type='pci' index='1' model='pcie-root-port'>
      <model name='pcie-root-port'/>
      <target chassis='1' port='0x10'/>
    </controller>
    <interface type='bridge'>
      <mac address='52:54:00:84:99:01'/>
      <source bridge='lab0'/>
      <model type='virtio'/>
    </interface>
    <serial type='pty'><target type='isa-serial' port='0'><model name='isa-serial'/></target></serial>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
      <address type='virtio-serial' controller='0' bus='0' port='1'/>
    </channel>
    <input type='mouse' bus='ps2'/>
    <graphics type='vnc' port='-1' autoport='yes'><listen type='address' address='0'/></graphics>
    <audio id='1' type='none'/>
    <video><model type='qxl' ram='65536' vram='32768' vgamem='16384' heads='1' primary='yes'/></video>
    <memballoon model='virtio'><stats period='5'/></memballoon>
  </devices>
  <seclabel type='dynamic' model='dac' relabel='yes'/>
</domain>
"""
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
#: What makes the document one that needs `admin`: the text that is replaced, the new one, and the reason.
HARMFUL = {
    "arguments of QEMU": (
        "<devices>",
        f'<q:commandline xmlns:q="{QEMU}"><q:arg value="-readconfig"/></q:commandline><devices>',
        "commandline",
    ),
    "an emulator": ("/usr/bin/qemu-system-x86_64", "/var/tmp/emulator", "devices/emulator"),
    "a file of the host": ("FOLDER/a.img", "/etc/shadow", "outside the image folders"),
    "a device file": ("type='file' device='disk'", "type='block' device='disk'", "a disk that is a device"),
    "a backing file": (
        "<target dev='vda'",
        "<backingStore type='file'><source file='/etc/shadow'/></backingStore><target dev='vda'",
        "backingStore",
    ),
    "a kernel": ("<boot dev='hd'/>", "<kernel>/etc/shadow</kernel>", "a kernel on the host"),
    "a device of the host": (
        "<input type='mouse' bus='ps2'/>",
        "<hostdev type='pci'/>",
        "a device of the host",
    ),
    "a file as a serial port": ("<serial type='pty'>", "<serial type='file'>", "'type' of <devices/serial>"),
    "a socket": (
        "<target type='virtio' name",
        "<source mode='bind' path='/run/x'/><target type='virtio' name",
        "a socket at a path",
    ),
    "a security label": ("type='dynamic' model='dac'", "type='none' model='dac'", "'type' of <seclabel>"),
    "a control group": ("/machine", "/system.slice", "resource/partition"),
    "a custom property": ('"tags":"web"', '"qemu_cmdline":"[]"', "custom property"),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.img").write_bytes(b"")
    return tmp_path


@pytest.fixture
def check(folder):
    """A function that checks an announcement of a role."""
    access = HostAccess(ImageFolders([str(folder)]), ["tags"])

    def check(role, **members):
        params = types.convert({"vmName": "a", "devices": [], **members}, IncomingParams)
        access.check_arrival(params, Context(identity=Identity("x", role)))

    return check


@pytest.mark.parametrize("member", ["_srcDomXML", "xml"])
def test_what_libvirt_makes_of_a_machine_is_harmless(check, folder, member):
    """Another host needs no more than the role `operator` for it."""
    check("operator", **{member: LIBVIRTS.replace("FOLDER", str(folder))})


@pytest.mark.parametrize("member", ["_srcDomXML", "xml"])
@pytest.mark.parametrize("what", HARMFUL)
def test_what_gives_a_machine_something_of_the_host(check, folder, member, what):
    """It needs `admin`, and the error names it; a host with that role may announce it."""
    before, after, reason = HARMFUL[what]
    assert before in LIBVIRTS
    text = LIBVIRTS.replace(before, after).replace("FOLDER", str(folder))
    with pytest.raises(NeedsAdmin, match=reason) as refusal:
        check("operator", **{member: text})
    assert refusal.value.facts["argument"].startswith(f"params.{member}")
    check("admin", **{member: text})


@pytest.mark.parametrize("role", ["operator", "admin"])
@pytest.mark.parametrize("text", ["", "<domain", "<network/>", "<!DOCTYPE x [<!ENTITY a 'b'>]><domain/>", 7])
def test_a_document_that_is_none(check, role, text):
    """It is refused whatever the role, unless it is empty: then there is none."""
    if text == "":
        check(role, _srcDomXML=text)
        return
    with pytest.raises(InvalidArgument, match="_srcDomXML"):
        check(role, _srcDomXML=text)


def test_a_document_about_another_machine(vms):
    """The document is of the machine that is announced, by id and name; nothing is kept otherwise."""
    own, other = ID, str(uuid.uuid4())
    for vm_id, name, what in ((other, "a", "uuid"), (own, "b", "name")):
        params = {"vmName": name, "_srcDomXML": LIBVIRTS}
        with pytest.raises(InvalidArgument, match=f"<{what}>"):
            vms.call("VM.migrationCreate", vmID=vm_id, params=params)
        assert vm_id not in vms.ids()
    vms.call("VM.migrationCreate", vmID=own, params={"vmName": "a", "_srcDomXML": LIBVIRTS})
    assert vms.status(own) == "Migration Destination"
