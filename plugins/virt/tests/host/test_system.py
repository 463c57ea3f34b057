"""Kernel, software, adapters, libvirt's documents, KVM."""

import os
from pathlib import Path

import pytest

from vdsm_core.types import builtins
from vdsm_virt.host.hardware import hba
from vdsm_virt.host.system import hypervisor, kernel, kvm, software
from vdsm_virt.host.system.emulator_user import may_open
from vdsm_virt.host.tree import Tree


def test_documents_of_libvirt(documents):
    """Machines and domain types of the host's own architecture; models that a guest can be given."""
    read = hypervisor.read(documents())
    assert read.machines == ("pc", "pc-q35-7.2")
    assert read.domain_types == {"qemu", "kvm"}
    assert read.cpu_models == ("Nehalem", "qemu64")
    assert (read.tsc_frequency, read.tsc_scaling) == ("2596122000", True)
    assert (read.libvirt, read.emulator, read.is_qemu) == ("9.0.0", "7.2.22", True)


def test_driver_without_domain_capabilities_knows_no_models(documents):
    """libvirt's test driver is such a one."""
    assert hypervisor.read(documents(domain=None)).cpu_models == ()


def test_kernel_settings(tree):
    """Each from its file."""
    host = tree(
        {
            "proc/cmdline": "ro quiet\n",
            "proc/stat": "cpu 1 2\nbtime 1700000000\nprocesses 3\n",
            "proc/loadavg": "0.10 0.25 0.70 1/200 99\n",
            "proc/sys/crypto/fips_enabled": "1\n",
            "sys/kernel/realtime": "1\n",
            "sys/fs/selinux/enforce": "0",
            "sys/kernel/kexec_crash_loaded": "1\n",
            "sys/kernel/iommu_groups/0/type": "DMA",
            "dev/random": "",
            "etc/libvirt/qemu.conf": "#vnc_tls = 0\nvnc_tls = 1 # yes\nvnc_tls_x509_verify = 0\n",
        }
    )
    assert kernel.arguments(host) == "ro quiet"
    assert kernel.boot_time(host) == 1700000000
    assert kernel.load_average(host) == 0.25
    assert kernel.fips(host)
    assert kernel.realtime(host)
    assert kernel.selinux(host) == 0
    assert kernel.kdump(host) == 1
    assert kernel.iommu(host)
    assert kernel.random_sources(host) == ["random"]
    assert kernel.vnc_encrypted(host)


def test_kernel_without_the_features(tree):
    """What is not there is off, or not known."""
    host = tree({})
    features = (kernel.fips, kernel.realtime, kernel.iommu, kernel.vnc_encrypted)
    assert [ask(host) for ask in features] == [False] * 4
    assert (kernel.selinux(host), kernel.kdump(host)) == (-1, -1)
    assert kernel.boot_time(host) is None
    assert kernel.load_average(host) is None
    assert kernel.arguments(host) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n',
            software.OsVersion(
                name="Debian", version="12", release="", pretty_name="Debian GNU/Linux 12 (bookworm)"
            ),
        ),
        (
            "ID='centos'\nVERSION_ID=8.4\n",
            software.OsVersion(name="RHEL", version="8", release="4", pretty_name=""),
        ),
        ("ID=plan9\n\n", software.OsVersion(name="unknown", version="", release="", pretty_name="")),
    ],
    ids=["debian", "centos", "other"],
)
def test_operating_system(tree, text, expected):
    """VDSM's names; the file may quote as a shell does."""
    assert software.operating_system(tree({"etc/os-release": text})) == expected


DPKG = """Package: qemu-system-x86
Status: install ok installed
Version: 1:7.2+dfsg-7+deb12u18
Description: emulator

Package: qemu-utils
Status: deinstall ok config-files
Version: 1:7.2+dfsg-7

Package: libvirt-daemon
Status: install ok installed
Version: 9.0.0-4+deb12u2
"""


def test_debian_packages(tree, documents):
    """Versions without epoch; a package that was removed does not count."""
    found = builtins(software.packages(tree({"var/lib/dpkg/status": DPKG}), hypervisor.read(documents())))
    assert found["qemu-kvm"] == {"version": "7.2+dfsg", "release": "7+deb12u18"}
    assert found["libvirt"] == {"version": "9.0.0", "release": "4+deb12u2"}
    assert "qemu-img" not in found


def test_packages_elsewhere(tree, documents):
    """Without a package database, the versions of those that run are known, and the rest is left out."""
    found = software.packages(tree({}), hypervisor.read(documents()))
    assert found["kernel"].version == os.uname().release.partition("-")[0]
    assert found["libvirt"] == software.SoftwarePackageInfo(version="9.0.0", release="")
    assert found["qemu-kvm"].version == "7.2.22"
    assert "spice-server" not in found


def test_adapters(tree):
    """Fibre Channel ports without the 0x, and the initiator."""
    host = tree(
        {
            "etc/iscsi/initiatorname.iscsi": "## made up\nInitiatorName=iqn.1993-08.org.debian:01:abc=1\n",
            "sys/class/fc_host/host3/port_name": "0x21000024ff000001\n",
            "sys/class/fc_host/host3/node_name": "0x20000024ff000001\n",
            "sys/class/fc_host/host3/symbolic_name": "QLE2562 FW:v5.03 DVR:v8\n",
        }
    )
    assert builtins(hba.inventory(host)) == {
        "FC": [{"model": "QLE2562", "wwpn": "21000024ff000001", "wwnn": "20000024ff000001"}],
        "iSCSI": [{"InitiatorName": "iqn.1993-08.org.debian:01:abc=1"}],
    }


def test_host_without_adapters(tree):
    """Nothing is listed, and no name given."""
    assert builtins(hba.inventory(tree({}))) == {"FC": [], "iSCSI": []}
    assert hba.initiator_name(tree({})) == ""


def test_device_node_alone_is_no_kvm(tree):
    """A file that opens and answers no ioctl is not KVM."""
    assert not kvm.usable(tree({"dev/kvm": ""}))
    assert not kvm.usable(Tree(tree({}).root / "elsewhere"))


PASSWD = "root:x:0:0::/root:/bin/sh\nlibvirt-qemu:x:64055:107::/:/bin/false\nme:x:1000:1000::/:/bin/sh\n"
GROUP = "kvm:x:107:\ndisk:x:6:me,libvirt-qemu\nother:x:993:me\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="changes owners, and the question is root's")
@pytest.mark.parametrize(
    ("mode", "group", "config", "expected"),
    [
        (0o600, 0, "", False),
        (0o660, 107, "", True),
        (0o640, 107, "", False),
        (0o660, 6, "", True),
        (0o660, 993, "", False),
        (0o660, 993, 'user = "me"\n', True),
        (0o660, 993, 'user = "+1000"\n', True),
        (0o666, 993, "", True),
        (0o600, 0, 'user = "root"  # lab\n', True),
        (0o600, 0, '#user = "root"\n', False),
        (0o600, 0, 'user = "absent-user"\n', True),
    ],
)
def test_device_must_be_open_to_emulators(tree, mode, group, config, expected):
    """libvirt runs QEMU as a user of its own, who needs both reading and writing, by the class that fits."""
    host = tree({"dev/kvm": "", "etc/libvirt/qemu.conf": config, "etc/passwd": PASSWD, "etc/group": GROUP})
    (host.root / "dev/kvm").chmod(mode)
    os.chown(host.root / "dev/kvm", 0, group)
    assert may_open(host, "dev/kvm") is expected


def test_no_device_is_left_open(tree):
    """Asked often, the check keeps no descriptors."""
    host = tree({"etc/libvirt/qemu.conf": 'user = "root"'})
    (host.root / "dev").symlink_to("/dev")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        kvm.usable(host)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(("value", "expected"), [("Y", True), ("1", True), ("N", False), ("0", False)])
def test_nested(tree, value, expected):
    """Modules spell booleans in two ways."""
    assert kvm.nested(tree({"sys/module/kvm_intel/parameters/nested": f"{value}\n"})) is expected
