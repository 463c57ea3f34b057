"""The host itself: what it is (`HostFacts`) and how loaded it is (`HostSampler`).

Everything is read from the kernel below a root directory and from libvirt; a fact that cannot be read is left
out of the record.
"""

from vdsm_virt.host.capabilities import Capabilities, HostFacts, Promises
from vdsm_virt.host.hardware.dmi import HardwareInformation
from vdsm_virt.host.sampler import HostSampler
from vdsm_virt.host.stats import HostStats, Machines
from vdsm_virt.host.tree import Tree

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
