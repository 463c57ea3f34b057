"""The bridge of NICs that are not connected to a network."""

from __future__ import annotations

from typing import Final

#: VDSM's bridge without a port. libvirt can move a running NIC to another bridge only from a bridge.
UNPLUGGED: Final = ";vdsmdummy;"
