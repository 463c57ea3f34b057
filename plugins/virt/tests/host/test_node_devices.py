"""The devices of the host in VDSM's form, and the number of virtual functions in sysfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from vdsm_core.errors import OperationFailed
from vdsm_core.types import builtins
from vdsm_virt.host.hardware.node_devices import in_vdsms_form, read, read_all
from vdsm_virt.privileged import write_virtual_functions

NIC = """
<device>
  <name>pci_0000_05_00_0</name><parent>pci_0000_00_01_0</parent><driver><name>igb</name></driver>
  <capability type='pci'>
    <domain>0</domain><bus>5</bus><slot>0</slot><function>0</function>
    <product id='0x10c9'>82576 Gigabit</product><vendor id='0x8086'>Intel</vendor>
    <capability type='virt_functions' maxCount='7'/>
    <capability type='mdev_types'>
      <type id='nvidia-11'><name>GRID M60-0B</name><deviceAPI>vfio-pci</deviceAPI>
        <availableInstances>16</availableInstances></type>
    </capability>
    <iommuGroup number='15'><address domain='0x0000' bus='0x05' slot='0x00' function='0x0'/></iommuGroup>
    <numa node='1'/>
  </capability>
</device>"""
FUNCTION = """
<device>
  <name>pci_0000_05_10_0</name><parent>pci_0000_00_01_0</parent>
  <capability type='pci'>
    <domain>0</domain><bus>5</bus><slot>16</slot><function>0</function>
    <capability type='phys_function'>
      <address domain='0x0000' bus='0x05' slot='0x00' function='0x0'/></capability>
  </capability>
</device>"""
BRIDGE = """
<device><name>pci_0000_00_01_0</name>
  <capability type='pci'><domain>0</domain><bus>0</bus><slot>1</slot><function>0</function>
    <capability type='pci-bridge'/></capability></device>"""
USB = """
<device><name>usb_1_2</name><parent>usb_usb1</parent>
  <capability type='usb_device'><bus>1</bus><device>4</device>
    <product id='0x0811'>Stick</product><vendor id='0x0951'/></capability></device>"""
SCSI = """
<device><name>scsi_2_0_0_1</name><parent>scsi_target2_0_0</parent>
  <capability type='scsi'><host>2</host><bus>0</bus><target>0</target><lun>1</lun></capability></device>"""
BLOCK = """
<device><name>block_sdb</name><parent>scsi_2_0_0_1</parent>
  <capability type='storage'><block>/dev/sdb</block></capability></device>"""
GENERIC = """
<device><name>scsi_generic_sg1</name><parent>scsi_2_0_0_1</parent>
  <capability type='scsi_generic'><char>/dev/sg1</char></capability></device>"""
FIBRE = """
<device><name>scsi_host3</name>
  <capability type='scsi_host'><host>3</host><capability type='fc_host'/></capability></device>"""
MEDIATED = """
<device><name>mdev_c0ffee00_0000_4000_8000_000000000001_0000_05_00_0</name>
  <capability type='mdev'><type id='nvidia-11'/><uuid>C0FFEE00-0000-4000-8000-000000000001</uuid></capability>
</device>"""
ALL = (NIC, FUNCTION, BRIDGE, USB, SCSI, BLOCK, GENERIC, FIBRE, MEDIATED)


def test_pci():
    """A NIC with functions, a function with its NIC, and a bridge, which no machine can have."""
    shown = builtins(in_vdsms_form(read_all(ALL), ["pci"], {}))
    assert set(shown) == {"pci_0000_05_00_0", "pci_0000_05_10_0", "pci_0000_00_01_0"}
    assert shown["pci_0000_05_00_0"]["params"] == {
        "capability": "pci",
        "parent": "pci_0000_00_01_0",
        "driver": "igb",
        "vendor": "Intel",
        "vendor_id": "0x8086",
        "product": "82576 Gigabit",
        "product_id": "0x10c9",
        "iommu_group": "15",
        "numa_node": "1",
        "totalvfs": 7,
        "is_assignable": True,
        "address": {"domain": "0", "bus": "5", "slot": "0", "function": "0"},
        "mdev": {"nvidia-11": {"name": "GRID M60-0B", "available_instances": "16"}},
    }
    assert shown["pci_0000_05_10_0"]["params"]["physfn"] == "pci_0000_05_00_0"
    assert shown["pci_0000_00_01_0"]["params"]["is_assignable"] is False


def test_other_kinds():
    """USB, SCSI with its paths, mediated devices; kinds within a kind are found, too."""
    devices = read_all(ALL)
    shown = builtins(in_vdsms_form(devices, [], {}))
    assert set(shown) == set(devices)
    assert len(devices) == len(ALL)
    assert shown["usb_1_2"]["params"]["address"] == {"bus": "1", "device": "4"}
    scsi = shown["scsi_2_0_0_1"]["params"]
    assert scsi["address"] == {"host": "2", "bus": "0", "target": "0", "lun": "1"}
    assert (scsi["block_path"], scsi["udev_path"]) == ("/dev/sdb", "/dev/sg1")
    assert set(in_vdsms_form(devices, ["fc_host"], {})) == {"scsi_host3"}
    assert read(MEDIATED).address == ("mdev", "c0ffee00-0000-4000-8000-000000000001")


def test_the_machine_that_has_one():
    """Is found by the address."""
    owners = {("usb_device", "1", "4"): "c0ffee00-0000-4000-8000-000000000042"}
    shown = builtins(in_vdsms_form(read_all(ALL), ["usb_device", "scsi"], owners))
    assert shown["usb_1_2"]["vmId"] == "c0ffee00-0000-4000-8000-000000000042"
    assert "vmId" not in shown["scsi_2_0_0_1"]


def test_listed_over_the_api(vms):
    """The devices of the test driver's host, all and by kind; an unknown kind is refused."""
    listed = vms.call("Host.hostdevListByCaps")
    assert "computer" in listed
    assert set(vms.call("Host.hostdevListByCaps", caps=["fc_host"])) <= set(listed) - {"computer"}
    with pytest.raises(Exception, match="caps"):
        vms.call("Host.hostdevListByCaps", caps=["nonsense"])


def test_reattach_and_functions_of_what_is_absent(vms):
    """A device that the host does not have; one that is no PCI device."""
    for verb, arguments in (("Host.hostdevReattach", {}), ("Host.hostdevChangeNumvfs", {"numvfs": 2})):
        with pytest.raises(Exception, match="no device 'pci_0000_05_00_0'"):
            vms.call(verb, deviceName="pci_0000_05_00_0", **arguments)
    vms.call("Host.hostdevReattach", deviceName="scsi_host1")
    with pytest.raises(Exception, match="no PCI device"):
        vms.call("Host.hostdevChangeNumvfs", deviceName="scsi_host1", numvfs=1)


def sysfs(root: Path, total: str | None = "7", now: str = "0") -> Path:
    """A folder of PCI devices with one device."""
    device = root / "0000:05:00.0"
    device.mkdir()
    if total is not None:
        (device / "sriov_totalvfs").write_text(f"{total}\n")
        (device / "sriov_numvfs").write_text(f"{now}\n")
    return root


def test_virtual_functions(tmp_path):
    """The number is written; the same number is left alone, so that no function is removed."""
    devices = sysfs(tmp_path)
    write_virtual_functions(devices, "0000:05:00.0", 4)
    assert (devices / "0000:05:00.0/sriov_numvfs").read_text() == "4"
    (devices / "0000:05:00.0/sriov_numvfs").chmod(0o400)
    write_virtual_functions(devices, "0000:05:00.0", 4)


@pytest.mark.parametrize(
    ("address", "total", "count", "reason"),
    [
        ("0000:06:00.0", "7", 1, "no PCI device 0000:06:00.0"),
        ("0000:05:00.0", None, 1, "no SR-IOV"),
        ("0000:05:00.0", "7", 8, "at most 7"),
    ],
)
def test_virtual_functions_refused(tmp_path, address, total, count, reason):
    """No such device, none that has functions, too many."""
    with pytest.raises(OperationFailed, match=reason):
        write_virtual_functions(sysfs(tmp_path, total), address, count)


def test_a_driver_that_refuses(tmp_path):
    """The kernel's reason is in the error."""
    devices = sysfs(tmp_path)
    (devices / "0000:05:00.0/sriov_numvfs").unlink()
    (devices / "0000:05:00.0/sriov_numvfs").mkdir()
    with pytest.raises(OperationFailed, match="Is a directory"):
        write_virtual_functions(devices, "0000:05:00.0", 3)
