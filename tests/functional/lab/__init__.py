"""A host of the tests' own: libvirtd, QEMU and a bridge in private namespaces, and guests that boot."""

from tests.functional.lab.agent import GuestAgent
from tests.functional.lab.boot import BootFiles, boot_files
from tests.functional.lab.guest import POWERS_OFF, UP, Guest
from tests.functional.lab.host import BRIDGE, LabHost, Unusable, why_unusable
from tests.functional.lab.pair import ADDRESSES, LabPair

__all__ = [
    "ADDRESSES",
    "BRIDGE",
    "POWERS_OFF",
    "UP",
    "BootFiles",
    "Guest",
    "GuestAgent",
    "LabHost",
    "LabPair",
    "Unusable",
    "boot_files",
    "why_unusable",
]
