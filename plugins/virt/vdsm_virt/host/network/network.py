"""The network as capabilities show it: NICs, bridges, bonds, VLANs, their addresses and routes."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypedDict

from msgspec import UNSET, UnsetType

from vdsm_core.types import Record, TextUint
from vdsm_virt.host.network.addresses import Address
from vdsm_virt.host.network.links import NET, Kind, Links, hardware_address, speed
from vdsm_virt.host.network.routes import Route, default_gateway, default_interface, interface_towards, routes
from vdsm_virt.host.tree import Tree

AddressSource = Callable[[], Mapping[str, list[Address]]]

#: Bonding options an administrator sets (Documentation/networking/bonding.rst).
_BOND_OPTIONS: Final = (
    "mode",
    "miimon",
    "updelay",
    "downdelay",
    "lacp_rate",
    "xmit_hash_policy",
    "primary",
    "fail_over_mac",
    "arp_interval",
    "arp_ip_target",
    "use_carrier",
)
#: Bridge options an administrator sets; times are in centiseconds, as the kernel shows them.
_BRIDGE_OPTIONS: Final = (
    "forward_delay",
    "hello_time",
    "max_age",
    "ageing_time",
    "priority",
    "multicast_snooping",
    "multicast_querier",
    "vlan_filtering",
)


class _Addressed(Record, frozen=True, kw_only=True):
    """Addresses of an interface.

    `addr` and `netmask` are the first IPv4 address (empty without one). `ipv4addrs` and `ipv6addrs` hold
    all of them with their prefix length, `ipv6addrs` without the link-local ones. `dhcpv4` and `dhcpv6`: an
    address was leased by a server for a limited time.
    """

    addr: str
    netmask: str
    ipv4addrs: list[str]
    ipv6addrs: list[str]
    gateway: str
    ipv6gateway: str
    ipv4defaultroute: bool
    dhcpv4: bool
    dhcpv6: bool
    ipv6autoconf: bool


class _AddressedMembers(TypedDict):
    addr: str
    netmask: str
    ipv4addrs: list[str]
    ipv6addrs: list[str]
    gateway: str
    ipv6gateway: str
    ipv4defaultroute: bool
    dhcpv4: bool
    dhcpv6: bool
    ipv6autoconf: bool


class NetInfoNic(_Addressed, frozen=True, kw_only=True):
    """A network card. `speed` in Mbit/s, 0: unknown; `permhwaddr` only while it is part of a bond."""

    hwaddr: str
    mtu: TextUint
    speed: int
    permhwaddr: str | UnsetType = UNSET


class NetInfoBridge(_Addressed, frozen=True, kw_only=True):
    """A bridge. `stp` is `on` or `off`."""

    mtu: TextUint
    ports: list[str]
    stp: str
    opts: dict[str, str]


class NetInfoBond(_Addressed, frozen=True, kw_only=True, rename=None):
    """A bond. `active_slave` is empty in modes that use all slaves; `opts` has the mode as its number."""

    hwaddr: str
    mtu: TextUint
    slaves: list[str]
    active_slave: str
    opts: dict[str, str]


class NetInfoVlan(_Addressed, frozen=True, kw_only=True):
    """A VLAN with its tag, on the interface `iface`."""

    iface: str
    vlanid: int
    mtu: int


@dataclass(frozen=True)
class Inventory:
    """All interfaces, by kind and name, and what belongs to none of them."""

    nics: dict[str, NetInfoNic]
    bridges: dict[str, NetInfoBridge]
    bondings: dict[str, NetInfoBond]
    vlans: dict[str, NetInfoVlan]
    nameservers: list[str]
    supports_ipv6: bool
    client_interface: str
    client_side_address: str


class Network:
    """Reads the inventory. `addresses` asks the kernel, or a test's table."""

    def __init__(self, tree: Tree, links: Links, addresses: AddressSource) -> None:
        self._tree = tree
        self._links = links
        self._addresses = addresses

    def inventory(self, client_address: str | None) -> Inventory:
        """The network now. `client_interface` is the way to the client, `client_side_address` the first
        address there, of IPv4 if it has one; both are empty when there is none.
        """
        table = routes(self._tree)
        common = _Common(self._tree, table, self._addresses())
        named: dict[Kind, list[str]] = {kind: [] for kind in Kind}
        for link in self._links.all():
            named[link.kind].append(link.name)
        towards_client = _client_interface(table, client_address)
        return Inventory(
            nics={name: _nic(self._tree, common, name) for name in named[Kind.NIC]},
            bridges={name: _bridge(self._tree, common, name) for name in named[Kind.BRIDGE]},
            bondings={name: _bond(self._tree, common, name) for name in named[Kind.BOND]},
            vlans={name: _vlan(self._tree, common, name) for name in named[Kind.VLAN]},
            nameservers=_nameservers(self._tree),
            supports_ipv6=self._tree.exists("proc/net/if_inet6"),
            client_interface=towards_client,
            client_side_address=common.first_address(towards_client),
        )


class _Common:
    """The members that all kinds of interfaces share."""

    def __init__(self, tree: Tree, table: list[Route], addresses: Mapping[str, list[Address]]) -> None:
        self._tree = tree
        self._table = table
        self._addresses = addresses
        self._default = default_interface(table, 4)

    def first_address(self, name: str) -> str:
        """Return an IPv4 address if there is one; empty without any."""
        own = sorted(self._addresses.get(name, []), key=lambda address: address.ip.version)
        return str(own[0].ip.ip) if own else ""

    def members(self, name: str) -> _AddressedMembers:
        own = self._addresses.get(name, [])
        ipv4 = [address for address in own if address.ip.version == 4]
        ipv6 = [address for address in own if address.ip.version == 6 and not address.ip.is_link_local]
        return {
            "addr": str(ipv4[0].ip.ip) if ipv4 else "",
            "netmask": str(ipv4[0].ip.netmask) if ipv4 else "",
            "ipv4addrs": [str(address.ip) for address in ipv4],
            "ipv6addrs": [str(address.ip) for address in ipv6],
            "gateway": str(default_gateway(self._table, name, 4) or ""),
            # VDSM returned "none" with the unspecified address here, with nothing above.
            "ipv6gateway": str(default_gateway(self._table, name, 6) or "::"),
            "ipv4defaultroute": name == self._default,
            "dhcpv4": any(address.leased for address in ipv4),
            # Router advertisements give prefixes of 64 bits, DHCPv6 whole addresses.
            "dhcpv6": any(address.leased and address.ip.network.prefixlen == 128 for address in ipv6),
            "ipv6autoconf": self._tree.integer(f"proc/sys/net/ipv6/conf/{name}/autoconf") == 1,
        }


def _nic(tree: Tree, common: _Common, name: str) -> NetInfoNic:
    permanent = tree.text(f"{NET}/{name}/bonding_slave/perm_hwaddr")
    return NetInfoNic(
        hwaddr=hardware_address(tree, name),
        mtu=_mtu(tree, name),
        speed=speed(tree, name),
        permhwaddr=permanent or UNSET,
        **common.members(name),
    )


def _bridge(tree: Tree, common: _Common, name: str) -> NetInfoBridge:
    return NetInfoBridge(
        mtu=_mtu(tree, name),
        ports=tree.names(f"{NET}/{name}/brif"),
        stp="on" if tree.integer(f"{NET}/{name}/bridge/stp_state") else "off",
        opts=_options(tree, f"{NET}/{name}/bridge", _BRIDGE_OPTIONS),
        **common.members(name),
    )


def _bond(tree: Tree, common: _Common, name: str) -> NetInfoBond:
    folder = f"{NET}/{name}/bonding"
    opts = _options(tree, folder, _BOND_OPTIONS)
    # The file reads `802.3ad 4`.
    opts["mode"] = (tree.text(f"{folder}/mode") or "").rpartition(" ")[2]
    return NetInfoBond(
        hwaddr=hardware_address(tree, name),
        mtu=_mtu(tree, name),
        slaves=sorted((tree.text(f"{folder}/slaves") or "").split()),
        active_slave=tree.text(f"{folder}/active_slave") or "",
        opts=opts,
        **common.members(name),
    )


def _vlan(tree: Tree, common: _Common, name: str) -> NetInfoVlan:
    vlanid, iface = _vlan_config(tree).get(name, (0, ""))
    return NetInfoVlan(iface=iface, vlanid=vlanid, mtu=_mtu(tree, name), **common.members(name))


def _vlan_config(tree: Tree) -> dict[str, tuple[int, str]]:
    """Return tag and lower interface of each VLAN: `name | tag | interface` below two headings."""
    rows = (line.split("|") for line in tree.lines("proc/net/vlan/config")[2:])
    return {row[0].strip(): (int(row[1]), row[2].strip()) for row in rows if len(row) == 3}


def _options(tree: Tree, folder: str, names: tuple[str, ...]) -> dict[str, str]:
    values = {name: tree.text(f"{folder}/{name}") for name in names}
    # Options of choice read `layer2+3 2`, the name and its number.
    return {name: value.split()[0] for name, value in values.items() if value}


def _mtu(tree: Tree, name: str) -> int:
    return tree.integer(f"{NET}/{name}/mtu") or 0


def _nameservers(tree: Tree) -> list[str]:
    rows = (line.split() for line in tree.lines("etc/resolv.conf"))
    return [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]


def _client_interface(table: list[Route], client_address: str | None) -> str:
    try:
        address = ipaddress.ip_address(client_address or "")
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            return address.scope_id
        # A client of IPv4 on a socket that takes both.
        address = address.ipv4_mapped or address
    # The loopback network has no row in the kernel's main table.
    return "lo" if address.is_loopback else interface_towards(table, address) or ""
