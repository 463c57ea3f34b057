"""The operating system and the versions of the software that matters to an engine."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
from typing import Final

from vdsm_core.types import Record
from vdsm_virt.host.system.hypervisor import Virtualization
from vdsm_virt.host.tree import Tree

#: VDSM's enumeration (OSName) by the `ID` of os-release; CentOS and its kin it called RHEL.
_OS_NAMES: Final = {
    "debian": "Debian",
    "fedora": "Fedora",
    "rhel": "RHEL",
    "centos": "RHEL",
    "rocky": "RHEL",
    "almalinux": "RHEL",
}
#: VDSM's package names, and what Debian calls the package that holds the same program.
_DEBIAN_PACKAGES: Final = {
    "qemu-kvm": ("qemu-system-x86", "qemu-system-arm", "qemu-system-ppc", "qemu-system-misc"),
    "qemu-img": ("qemu-utils",),
    "libvirt": ("libvirt-daemon", "libvirt0"),
    "spice-server": ("libspice-server1",),
}


class OsVersion(Record, frozen=True, kw_only=True, rename=None):
    """The operating system. `name` is Debian, Fedora, RHEL or unknown; `pretty_name` is free text."""

    name: str
    version: str
    release: str
    pretty_name: str


class SoftwarePackageInfo(Record, frozen=True, kw_only=True):
    """Upstream version, and the distribution's release of it (empty: unknown)."""

    version: str
    release: str


def operating_system(tree: Tree) -> OsVersion:
    facts: dict[str, str] = {}
    for line in tree.lines("etc/os-release") or tree.lines("usr/lib/os-release"):
        key, separator, value = line.partition("=")
        if separator:
            # The values are quoted as in a shell (os-release(5)).
            facts[key] = "".join(shlex.split(value))
    version, _, release = facts.get("VERSION_ID", "").partition(".")
    return OsVersion(
        name=_OS_NAMES.get(facts.get("ID", ""), "unknown"),
        version=version,
        release=release,
        pretty_name=facts.get("PRETTY_NAME", ""),
    )


def own_version() -> str:
    """Return the version of the `vdsm` distribution; empty when it runs uninstalled."""
    try:
        return importlib.metadata.version("vdsm")
    except importlib.metadata.PackageNotFoundError:
        return ""


def packages(tree: Tree, virtualization: Virtualization) -> dict[str, SoftwarePackageInfo]:
    """Return versions of the programs that serve guests, by VDSM's package names.

    The kernel is the running one, libvirt and QEMU are those that answer. Debian's package database, a text
    file, adds the releases and the other packages; where there is none, what remains unknown is left out.
    """
    found = {"kernel": _split(os.uname().release), "libvirt": _split(virtualization.libvirt)}
    if virtualization.is_qemu and virtualization.emulator:
        found["qemu-kvm"] = _split(virtualization.emulator)
    if version := own_version():
        found["vdsm"] = _split(version)
    found.update(_debian(tree.text("var/lib/dpkg/status") or ""))
    return found


def _debian(database: str) -> dict[str, SoftwarePackageInfo]:
    found = {}
    for name, candidates in _DEBIAN_PACKAGES.items():
        version = next(filter(None, (_debian_version(database, package) for package in candidates)), None)
        if version:
            _, _, without_epoch = version.rpartition(":")
            found[name] = _split(without_epoch)
    return found


def _debian_version(database: str, package: str) -> str | None:
    start = f"\n{database}".find(f"\nPackage: {package}\n")
    if start < 0:
        return None
    end = database.find("\n\n", start)
    stanza = database[start : end if end >= 0 else None]
    if "ok installed" not in stanza:
        return None
    version = re.search(r"^Version: (.+)$", stanza, re.MULTILINE)
    return version[1] if version else None


def _split(version: str) -> SoftwarePackageInfo:
    upstream, _, release = version.partition("-")
    return SoftwarePackageInfo(version=upstream, release=release)
