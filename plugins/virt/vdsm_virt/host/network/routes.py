"""The routes of the host, from `/proc/net/route` and `/proc/net/ipv6_route` (main table)."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from vdsm_virt.host.tree import Tree

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IP = ipaddress.IPv4Address | ipaddress.IPv6Address

_RTF_UP = 0x0001  # linux/route.h
_RTF_REJECT = 0x0200


@dataclass(frozen=True)
class Route:
    """`gateway` is None for a network on the link itself. A lower metric wins."""

    network: IPNetwork
    gateway: IP | None
    interface: str
    metric: int

    @property
    def is_default(self) -> bool:
        return self.network.prefixlen == 0


def routes(tree: Tree) -> list[Route]:
    return [*_ipv4(tree), *_ipv6(tree)]


def default_gateway(table: list[Route], interface: str, version: int) -> IP | None:
    """Return the default gateway of an IP version over one interface."""
    matching = (route for route in table if route.is_default and route.gateway is not None)
    candidates = [r for r in matching if r.interface == interface and r.network.version == version]
    return min(candidates, key=lambda route: route.metric).gateway if candidates else None


def default_interface(table: list[Route], version: int) -> str | None:
    """Return the interface that the default route of an IP version takes."""
    candidates = [route for route in table if route.is_default and route.network.version == version]
    return min(candidates, key=lambda route: route.metric).interface if candidates else None


def interface_towards(table: list[Route], address: IP) -> str | None:
    """Return the interface a packet to `address` leaves by: the longest prefix, then the lowest metric."""
    matching = [r for r in table if r.network.version == address.version and address in r.network]
    if not matching:
        return None
    return min(matching, key=lambda route: (-route.network.prefixlen, route.metric)).interface


def _ipv4(tree: Tree) -> list[Route]:
    found = []
    for line in tree.lines("proc/net/route")[1:]:
        interface, destination, gateway, flags, _, _, metric, mask, *_ = line.split()
        if int(flags, 16) & (_RTF_UP | _RTF_REJECT) != _RTF_UP:
            continue
        via = _ipv4_address(gateway)
        network = ipaddress.IPv4Network((int(_ipv4_address(destination)), _prefix(mask)))
        found.append(Route(network, via if int(via) else None, interface, int(metric)))
    return found


def _ipv4_address(text: str) -> ipaddress.IPv4Address:
    """Return the address that the kernel prints as it lies in memory, in the machine's byte order."""
    return ipaddress.IPv4Address(struct.pack("=I", int(text, 16)))


def _prefix(mask: str) -> int:
    return int(_ipv4_address(mask)).bit_count()


def _ipv6(tree: Tree) -> list[Route]:
    found = []
    for line in tree.lines("proc/net/ipv6_route"):
        destination, prefix, _, _, gateway, metric, _, _, flags, interface = line.split()
        if int(flags, 16) & (_RTF_UP | _RTF_REJECT) != _RTF_UP:
            continue
        via = ipaddress.IPv6Address(bytes.fromhex(gateway))
        network = ipaddress.IPv6Network((bytes.fromhex(destination), int(prefix, 16)), strict=False)
        found.append(Route(network, via if int(via) else None, interface, int(metric, 16)))
    return found
