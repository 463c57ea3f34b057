"""What is harmless in the document of a machine that arrives, beside what is in that of a new machine.

libvirt completes each document that it is given. Whatever it adds that names nothing of the host is listed
here; an element or an attribute that is on neither list needs `admin`, as in a document that a client sends.
"""

from __future__ import annotations

from typing import Final

from vdsm_virt.policy.document import Additions


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Emulators of distributions; only root can replace them.
_EMULATORS: Final = frozenset(
    {"/usr/bin/qemu-kvm", "/usr/bin/kvm", "/usr/libexec/qemu-kvm"}
    | {
        f"/usr/bin/qemu-system-{architecture}"
        for architecture in ("aarch64", "i386", "ppc64", "riscv64", "s390x", "x86_64")
    }
)

ARRIVING: Final = Additions(
    elements={
        path: _words(attributes)
        for path, attributes in {
            "": "id",
            "currentMemory": "unit",
            "vcpu": "placement cpuset",
            "on_poweroff": "",
            "on_reboot": "",
            "on_crash": "",
            "pm": "",
            "pm/suspend-to-mem": "enabled",
            "pm/suspend-to-disk": "enabled",
            "resource": "",
            "resource/partition": "",
            "seclabel": "type model relabel",
            "cpu": "check migratable",
            "cpu/model": "fallback",
            "cpu/vendor": "",
            "cpu/topology": "dies clusters",
            "features/apic": "eoi",
            "features/pae": "",
            "features/gic": "version",
            "features/vmport": "state",
            "features/hyperv": "mode",
            "clock": "basis timezone",
            "os/bios": "useserial rebootTimeout",
            "devices/emulator": "",
            "devices/audio": "id type",
            "devices/disk": "model",
            "devices/disk/driver": "queues detect_zeroes",
            "devices/disk/source": "index",
            "devices/disk/target": "tray removable rotation_rate",
            "devices/disk/blockio": "logical_block_size physical_block_size",
            "devices/disk/backingStore": "",
            "devices/controller": "vectors",
            "devices/controller/model": "name",
            "devices/controller/target": "chassis port busNr hotplug index",
            "devices/graphics": "port tlsPort listen defaultMode sharePolicy",
            "devices/graphics/image": "compression",
            "devices/graphics/streaming": "mode",
            "devices/graphics/mouse": "mode",
            "devices/video/model": "primary vram64",
            "devices/serial": "type",
            "devices/serial/target": "type port",
            "devices/serial/target/model": "name",
            "devices/memballoon": "autodeflate freePageReporting",
        }.items()
    },
    values={
        ("vcpu", "placement"): _words("static auto"),
        ("seclabel", "type"): _words("dynamic"),
        ("seclabel", "relabel"): _words("yes"),
        ("devices/audio", "type"): _words("none spice"),
        ("devices/serial", "type"): _words("pty"),
    },
    texts={
        "devices/emulator": _EMULATORS,
        "resource/partition": _words("/machine"),
    },
)
