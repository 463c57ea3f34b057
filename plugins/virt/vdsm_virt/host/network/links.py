"""What kinds of network interfaces there are, from `/sys/class/net`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final

from vdsm_virt.host.tree import Tree

NET: Final = "sys/class/net"
#: Values of `type` (linux/if_arp.h) that carry machines' traffic: Ethernet and InfiniBand.
_TRUNK_TYPES: Final = (1, 32)


class Kind(Enum):
    NIC = "nic"
    BRIDGE = "bridge"
    BOND = "bond"
    VLAN = "vlan"


@dataclass(frozen=True)
class Link:
    name: str
    kind: Kind


class Links:
    """Finds the interfaces that VDSM's API speaks of.

    A NIC is an Ethernet or InfiniBand interface that a device stands behind, real or given by a hypervisor
    (virtio). Loopback and the ends that guests and tunnels hang on (tap, veth, ifb, ...) have none. What
    matches a glob of `fake_nics` counts as a NIC all the same, as VDSM's option of this name does, for
    hosts whose uplink is a veth or a dummy.
    """

    def __init__(self, tree: Tree, fake_nics: Sequence[str] = ()) -> None:
        self._tree = tree
        self._fake_nics = tuple(fake_nics)

    def all(self) -> list[Link]:
        """Return the NICs, bridges, bonds and VLANs, by name."""
        kinds = ((name, self._kind(name)) for name in self._tree.names(NET))
        return [Link(name, kind) for name, kind in kinds if kind is not None]

    def _kind(self, name: str) -> Kind | None:
        if self._tree.exists(f"{NET}/{name}/bridge"):
            return Kind.BRIDGE
        if self._tree.exists(f"{NET}/{name}/bonding"):
            return Kind.BOND
        if "DEVTYPE=vlan" in self._tree.lines(f"{NET}/{name}/uevent"):
            return Kind.VLAN
        if any(fnmatchcase(name, pattern) for pattern in self._fake_nics):
            return Kind.NIC
        if self._tree.exists(f"{NET}/{name}/device"):
            return Kind.NIC if self._tree.integer(f"{NET}/{name}/type") in _TRUNK_TYPES else None
        return None


def speed(tree: Tree, name: str) -> int:
    """Return Mbit/s; 0 when the link is down or its driver has no speed (virtio-net: -1)."""
    return max(0, tree.integer(f"{NET}/{name}/speed") or 0)


def state(tree: Tree, name: str) -> str:
    """Return `up`, `down`, or `unknown` when the driver does not follow RFC 2863's operational states."""
    value = tree.text(f"{NET}/{name}/operstate") or "unknown"
    return value if value in {"up", "unknown"} else "down"


def hardware_address(tree: Tree, name: str) -> str:
    return tree.text(f"{NET}/{name}/address") or ""
