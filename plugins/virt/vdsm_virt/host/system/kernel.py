"""Settings of the running kernel and of the system that an engine schedules by."""

from __future__ import annotations

from vdsm_virt.host.system.libvirt_config import setting
from vdsm_virt.host.tree import Tree


def arguments(tree: Tree) -> str | None:
    """Return the command line the kernel was booted with."""
    return tree.text("proc/cmdline")


def boot_id(tree: Tree) -> str | None:
    """Return an id that changes with each boot."""
    return tree.text("proc/sys/kernel/random/boot_id")


def boot_time(tree: Tree) -> int | None:
    """Return when the kernel started, in seconds since 1970."""
    line = next((line for line in tree.lines("proc/stat") if line.startswith("btime ")), None)
    return int(line.split()[1]) if line else None


def realtime(tree: Tree) -> bool:
    return tree.integer("sys/kernel/realtime") == 1


def fips(tree: Tree) -> bool:
    return tree.integer("proc/sys/crypto/fips_enabled") == 1


def selinux(tree: Tree) -> int:
    """Return 1 if enforcing, 0 if permissive, -1 if disabled or not in the kernel."""
    mode = tree.integer("sys/fs/selinux/enforce")
    return -1 if mode is None else mode


def kdump(tree: Tree) -> int:
    """Return 1 if a crash kernel is loaded, 0 if none is, -1 if this kernel does not report it."""
    loaded = tree.integer("sys/kernel/kexec_crash_loaded")
    return -1 if loaded is None else loaded


def iommu(tree: Tree) -> bool:
    """Return whether the IOMMU is on, so that host devices can be given to guests."""
    return bool(tree.names("sys/kernel/iommu_groups"))


def random_sources(tree: Tree) -> list[str]:
    """Return sources of entropy that a guest's RNG device can be given, by VDSM's names."""
    return [
        name for name, device in (("hwrng", "dev/hwrng"), ("random", "dev/random")) if tree.exists(device)
    ]


def load_average(tree: Tree) -> float | None:
    """Return the load average of five minutes: VDSM reports the second field."""
    fields = (tree.text("proc/loadavg") or "").split()
    return float(fields[1]) if len(fields) > 1 else None


def vnc_encrypted(tree: Tree) -> bool:
    """Return whether QEMU's VNC servers use TLS (`vnc_tls` of libvirt's qemu.conf, off by default)."""
    return setting(tree, "etc/libvirt/qemu.conf", "vnc_tls") == "1"
