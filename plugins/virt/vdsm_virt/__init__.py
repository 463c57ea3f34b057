"""Virtual machines on libvirt: the verbs of `VM`, and those of `Host` about hardware and machines."""

from __future__ import annotations

from vdsm_virt.feature import Virt

__all__ = ["Virt"]
