"""The host itself: what it is (`HostFacts`) and how loaded it is (`HostSampler`).

Everything is read from the kernel below a root directory and from libvirt; a fact that cannot be read is left
out of the record.
"""

from .capabilities import Capabilities, HostFacts, Promises
from .dmi import HardwareInformation
from .sampler import HostSampler
from .stats import HostStats, Machines
from .tree import Tree

__all__ = [
    "Capabilities",
    "HardwareInformation",
    "HostFacts",
    "HostSampler",
    "HostStats",
    "Machines",
    "Promises",
    "Tree",
]
