"""Whether KVM works here, as far as can be found out without booting a guest."""

from __future__ import annotations

import fcntl
import os
from typing import Final

from vdsm_virt.host.system.emulator_user import may_open
from vdsm_virt.host.tree import Tree

# linux/kvm.h: _IO(KVMIO, 0x00) and _IO(KVMIO, 0x01), KVMIO being 0xAE.
_KVM_GET_API_VERSION: Final = 0xAE00
_KVM_CREATE_VM: Final = 0xAE01
#: The one version there has been since Linux 2.6.22; the kernel's API document asks to refuse any other.
_KVM_API_VERSION: Final = 12
_DEFAULT_MACHINE_TYPE: Final = 0


def usable(tree: Tree) -> bool:
    """Return whether KVM works: emulators and this process can open it, and it creates a machine.

    A device node may lack a driver, hardware support (switched off in the firmware), or
    permission. It runs no guest code, so it does not show whether guests will
    run: below another hypervisor that emulates virtualization badly, the machine is created and
    the guest's kernel fails later. Costs a system call that allocates a machine (some milliseconds).
    """
    if not may_open(tree, "dev/kvm"):
        return False
    try:
        device = os.open(tree.root / "dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if fcntl.ioctl(device, _KVM_GET_API_VERSION, 0) != _KVM_API_VERSION:
            return False
        os.close(fcntl.ioctl(device, _KVM_CREATE_VM, _DEFAULT_MACHINE_TYPE))
    except OSError:
        return False
    finally:
        os.close(device)
    return True


def nested(tree: Tree) -> bool:
    """Return whether guests may use KVM, too. The parameter is `Y` or `1`; on POWER the module is kvm_hv."""
    modules = ("kvm_intel", "kvm_amd", "kvm", "kvm_hv")
    values = (tree.text(f"sys/module/{module}/parameters/nested") for module in modules)
    return any(value in {"Y", "1"} for value in values)
