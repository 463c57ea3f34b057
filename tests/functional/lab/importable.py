"""A small Linux on a disk, as another hypervisor has it, in an OVA; and what virt-v2v needs to convert it.

It has what an inspection looks for: a release, a table of file systems, a package with a kernel, a boot
loader's menu. Its programs are busybox and scripts that do nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.functional.lab.boot import kernel_package, run

MIB: Final = 2**20
SIZE: Final = 250 * MIB
FILES: Final = {
    "etc/debian_version": "12.5\n",
    "etc/os-release": 'NAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\nPRETTY_NAME="Small"\n',
    "etc/hostname": "small\n",
    "etc/fstab": "/dev/sda / ext4 defaults 0 1\n",
    "etc/modprobe.d/aliases.conf": "alias net-pf-10 off\n",
    "etc/initramfs-tools/modules": "# none\n",
    "etc/default/grub": 'GRUB_CMDLINE_LINUX=""\n',
    "etc/ssh/ssh_host_ecdsa_key": "a key of the host\n",
    "etc/letter": "what has to arrive\n",
}
SCRIPTS: Final = {
    "usr/sbin/update-initramfs": "#!/bin/sh\nexit 0\n",
    "usr/sbin/update-grub": "#!/bin/sh\nexit 0\n",
    "usr/sbin/grub-mkconfig": "#!/bin/sh\nexit 0\n",
    # The only query: the files of a package.
    "usr/bin/dpkg": '#!/bin/sh\ncat "/var/lib/dpkg/info/$2.list"\n',
}
FOLDERS: Final = ("dev", "proc", "sys", "tmp", "root", "var/log", "run", "usr/lib", "bin", "sbin")
PROGRAMS: Final = (
    "sh",
    "cat",
    "ls",
    "cp",
    "mv",
    "rm",
    "mkdir",
    "ln",
    "sed",
    "grep",
    "uname",
    "chmod",
    "touch",
)
DRIVERS: Final = ("virtio_blk", "virtio_net", "virtio_scsi")
GRUB: Final = """\
menuentry 'Small' {{
 linux /boot/vmlinuz-{version} root=/dev/sda ro
 initrd /boot/initrd.img-{version}
}}
"""
STATUS: Final = """\
Package: linux-image-{version}
Status: install ok installed
Architecture: amd64
Version: 1
Maintainer: the lab
Description: a kernel

"""
OVF: Final = """\
<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
  <References><File ovf:id="file1" ovf:href="small.vmdk"/></References>
  <DiskSection><Info>disks</Info>
    <Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="{size}"/></DiskSection>
  <VirtualSystem ovf:id="small"><Info>a machine</Info><Name>small</Name>
    <VirtualHardwareSection><Info>hardware</Info>
      <Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
      <Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>64</rasd:VirtualQuantity></Item>
      <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:ElementName>disk0</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/disk1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
      <Item><rasd:Connection>inside</rasd:Connection><rasd:ElementName>nic0</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID><rasd:ResourceSubType>E1000</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType></Item>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"""


@dataclass(frozen=True)
class Importable:
    """An OVA with a small Linux.

    :ivar ova: the file
    :ivar disk: its disk, as a raw image
    :ivar environment: what virt-v2v has to know of the kernel of its own small machine: a container has none
    """

    ova: Path
    disk: Path
    environment: dict[str, str]


def importable(work: Path) -> Importable:
    """Make it in a folder.

    :raises subprocess.CalledProcessError: the kernel package cannot be had
    """
    kernel = work / "kernel"
    run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", kernel_package(), cwd=work)
    (package,) = work.glob("linux-image-*.deb")
    run("dpkg-deb", "--extract", str(package), str(kernel))
    package.unlink()
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    version = image.name.removeprefix("vmlinuz-")
    run("depmod", "--basedir", str(kernel), version)
    # supermin looks at this folder, whatever SUPERMIN_MODULES says; a machine without a kernel lacks it.
    Path("/lib/modules").mkdir(exist_ok=True)
    guest = work / "guest"
    _lay_out(guest, kernel, version)
    disk = work / "small.img"
    with disk.open("wb") as file:
        file.truncate(SIZE)
    run("mke2fs", "-q", "-t", "ext4", "-d", str(guest), str(disk))
    (work / "small.ovf").write_text(OVF.format(size=SIZE))
    # The only format of disks that OVA files have, as virt-v2v sees it.
    image_of = ("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized")
    run(*image_of, str(disk), str(work / "small.vmdk"))
    ova = work / "small.ova"
    with tarfile.open(ova, "w") as archive:
        for name in ("small.ovf", "small.vmdk"):
            archive.add(work / name, name)
    shutil.rmtree(guest)
    return Importable(
        ova,
        disk,
        {
            "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg",
            "LIBGUESTFS_CACHEDIR": str(work),
            "SUPERMIN_KERNEL": str(image),
            "SUPERMIN_MODULES": str(kernel / "lib/modules" / version),
        },
    )


def _lay_out(guest: Path, kernel: Path, version: str) -> None:
    """Make the files of the small Linux."""
    for folder in FOLDERS:
        (guest / folder).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, guest / "bin/busybox")
    for program in PROGRAMS:
        (guest / "bin" / program).symlink_to("busybox")
    files = {
        **FILES,
        **SCRIPTS,
        "boot/grub/grub.cfg": GRUB.format(version=version),
        f"boot/initrd.img-{version}": "",
        "var/lib/dpkg/status": STATUS.format(version=version),
        f"var/lib/dpkg/info/linux-image-{version}.list": f"/boot/vmlinuz-{version}\n/lib/modules/{version}\n",
    }
    for name, text in files.items():
        (guest / name).parent.mkdir(parents=True, exist_ok=True)
        (guest / name).write_text(text)
        (guest / name).chmod(0o755 if name in SCRIPTS else 0o644)
    for path in (kernel / "boot").iterdir():
        shutil.copy(path, guest / "boot")
    modules = Path("lib/modules", version)
    (guest / modules).mkdir(parents=True)
    for path in (kernel / modules).glob("modules.*"):
        shutil.copy(path, guest / modules)
    for path in (kernel / modules).rglob("*.ko*"):
        if path.name.partition(".")[0] in DRIVERS:
            copy = guest / path.relative_to(kernel)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)


def read_file(disk: Path, name: str, work: Path) -> str:
    """Return the text of a file on a disk; empty if there is no such file.

    :raises subprocess.CalledProcessError: the disk has no file system of the guest's
    """
    raw = work / "converted.raw"
    run("qemu-img", "convert", "-O", "raw", str(disk), str(raw))
    return subprocess.run(
        ["debugfs", "-R", f"cat {name}", raw], capture_output=True, text=True, check=True
    ).stdout
