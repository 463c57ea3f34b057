"""Interfaces, addresses, routes."""

import ipaddress
import socket
from pathlib import Path

import pytest

from vdsm_virt.host.network import routes
from vdsm_virt.host.network.addresses import Address, kernel_addresses
from vdsm_virt.host.network.links import Kind, Link, Links
from vdsm_virt.host.network.network import Network

NET = "sys/class/net"
HEADING = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"


def native(address):
    """An IPv4 address as /proc/net/route prints it, in the byte order of this machine."""
    return f"{socket.ntohl(int(ipaddress.ip_address(address))):08X}"


def route(interface, network, gateway="0.0.0.0", metric=0, flags=3):
    net = ipaddress.ip_network(network)
    words = (interface, native(net.network_address), native(gateway), f"{flags:04X}", 0, 0, metric)
    return "\t".join(map(str, (*words, native(net.netmask), 0, 0, 0))) + "\n"


def route6(interface, network, gateway="::", metric=0x400, flags=3):
    net = ipaddress.ip_network(network)
    via = ipaddress.ip_address(gateway).packed.hex()
    destination = f"{net.network_address.packed.hex()} {net.prefixlen:02x}"
    return f"{destination} {'0' * 32} 00 {via} {metric:08x} 00000001 00000000 {flags:08x} {interface:>8}\n"


HOST = {
    f"{NET}/lo/type": "772",
    f"{NET}/vnet0/type": "1",
    f"{NET}/vnet0/tun_flags": "0x1002",
    f"{NET}/veth7/type": "1",
    f"{NET}/eth0/type": "1",
    f"{NET}/eth0/device/uevent": "",
    f"{NET}/eth0/address": "52:54:00:00:00:01\n",
    f"{NET}/eth0/mtu": "1500\n",
    f"{NET}/eth0/speed": "10000\n",
    f"{NET}/eth1/type": "1",
    f"{NET}/eth1/device/uevent": "",
    f"{NET}/eth1/address": "52:54:00:00:00:02\n",
    f"{NET}/eth1/mtu": "9000\n",
    f"{NET}/eth1/speed": "-1\n",
    f"{NET}/eth1/bonding_slave/perm_hwaddr": "52:54:00:00:00:99\n",
    f"{NET}/bond0/bonding/slaves": "eth2 eth1\n",
    f"{NET}/bond0/bonding/mode": "active-backup 1\n",
    f"{NET}/bond0/bonding/active_slave": "eth1\n",
    f"{NET}/bond0/bonding/miimon": "100\n",
    f"{NET}/bond0/bonding/xmit_hash_policy": "layer2+3 2\n",
    f"{NET}/bond0/bonding/primary": "\n",
    f"{NET}/bond0/address": "52:54:00:00:00:02\n",
    f"{NET}/bond0/mtu": "9000\n",
    f"{NET}/bond0.100/uevent": "DEVTYPE=vlan\nINTERFACE=bond0.100\nIFINDEX=9\n",
    f"{NET}/bond0.100/mtu": "1500\n",
    f"{NET}/br0/bridge/stp_state": "1\n",
    f"{NET}/br0/bridge/forward_delay": "1500\n",
    f"{NET}/br0/brif/bond0.100/port_no": "0x1",
    f"{NET}/br0/brif/vnet0/port_no": "0x2",
    f"{NET}/br0/mtu": "1500\n",
    "proc/net/vlan/config": "VLAN Dev name\t | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n"
    "bond0.100      | 100  | bond0\n",
    "proc/net/route": HEADING
    + route("br0", "0.0.0.0/0", "192.0.2.1", metric=100)
    + route("eth0", "0.0.0.0/0", "198.51.100.1", metric=50)
    + route("br0", "192.0.2.0/24", flags=1)
    + route("eth0", "198.51.100.0/24", flags=1)
    + route("eth0", "203.0.113.0/24", flags=0x201),
    "proc/net/ipv6_route": route6("br0", "2001:db8::/64", flags=1) + route6("br0", "::/0", "fe80::1"),
    "proc/net/if_inet6": "",
    "proc/sys/net/ipv6/conf/br0/autoconf": "1\n",
    "etc/resolv.conf": "# made by hand\nsearch example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n",
}


def address(text, *, leased=False):
    return Address(ip=ipaddress.ip_interface(text), leased=leased)


ADDRESSES = {
    "br0": [
        address("192.0.2.10/24", leased=True),
        address("192.0.2.11/24"),
        address("2001:db8::a/128", leased=True),
        address("fe80::1234/64"),
    ],
    "eth0": [address("198.51.100.7/24"), address("2001:db8:1::7/64", leased=True)],
}


@pytest.fixture
def inventory(tree):
    host = tree(HOST)
    return Network(host, Links(host), lambda: ADDRESSES).inventory("192.0.2.77")


def test_kinds_of_interfaces(tree):
    """Loopback, and the ends of guests and tunnels, are none of VDSM's interfaces."""
    assert Links(tree(HOST)).all() == [
        Link("bond0", Kind.BOND),
        Link("bond0.100", Kind.VLAN),
        Link("br0", Kind.BRIDGE),
        Link("eth0", Kind.NIC),
        Link("eth1", Kind.NIC),
    ]


def test_fake_nics_count_as_nics(tree):
    """The administrator configures which interfaces without a device are uplinks."""
    assert Link("veth7", Kind.NIC) in Links(tree(HOST), ["veth*"]).all()


def test_nic(inventory):
    """A card with a static IPv4 and an autoconfigured IPv6 address and the better default route."""
    nic = inventory.nics["eth0"]
    assert (nic.hwaddr, nic.mtu, nic.speed) == ("52:54:00:00:00:01", 1500, 10000)
    assert (nic.addr, nic.netmask, nic.ipv4addrs) == ("198.51.100.7", "255.255.255.0", ["198.51.100.7/24"])
    assert (nic.gateway, nic.ipv4defaultroute, nic.ipv6gateway) == ("198.51.100.1", True, "::")
    assert (nic.dhcpv4, nic.dhcpv6) == (False, False)


def test_slave_tells_its_own_address(inventory):
    """Only a part of a bond has a permanent address; a link without a speed has 0."""
    assert inventory.nics["eth1"].permhwaddr == "52:54:00:00:00:99"
    assert inventory.nics["eth1"].speed == 0
    assert not inventory.nics["eth0"].permhwaddr


def test_bond(inventory):
    """Mode as a number; options that are not set are left out."""
    bond = inventory.bondings["bond0"]
    assert (bond.slaves, bond.active_slave) == (["eth1", "eth2"], "eth1")
    assert bond.opts == {"mode": "1", "miimon": "100", "xmit_hash_policy": "layer2+3"}


def test_vlan(inventory):
    """Tag and interface are read from the kernel's list, not from the name."""
    vlan = inventory.vlans["bond0.100"]
    assert (vlan.iface, vlan.vlanid, vlan.mtu) == ("bond0", 100, 1500)


def test_bridge(inventory):
    """Ports, spanning tree, all addresses but the link-local one; DHCP by the limited lifetime."""
    bridge = inventory.bridges["br0"]
    assert (bridge.ports, bridge.stp, bridge.opts) == (
        ["bond0.100", "vnet0"],
        "on",
        {"forward_delay": "1500"},
    )
    assert bridge.ipv4addrs == ["192.0.2.10/24", "192.0.2.11/24"]
    assert bridge.ipv6addrs == ["2001:db8::a/128"]
    assert (bridge.dhcpv4, bridge.dhcpv6, bridge.ipv6autoconf) == (True, True, True)
    assert (bridge.ipv4defaultroute, bridge.gateway, bridge.ipv6gateway) == (False, "192.0.2.1", "fe80::1")


def test_name_servers(inventory):
    """In the order of the file."""
    assert inventory.nameservers == ["192.0.2.53", "2001:db8::53"]


@pytest.mark.parametrize(
    ("client", "interface"),
    [
        ("192.0.2.77", "br0"),
        ("198.51.100.200", "eth0"),
        ("8.8.8.8", "eth0"),
        ("203.0.113.1", "eth0"),
        ("127.0.0.1", "lo"),
        ("::1", "lo"),
        ("::ffff:192.0.2.77", "br0"),
        ("2001:db8::77", "br0"),
        ("2001:4860::1", "br0"),
        ("fe80::9%eth1", "eth1"),
        ("not an address", ""),
        (None, ""),
    ],
)
def test_way_to_the_client(tree, client, interface):
    """The longest prefix wins, then the lowest metric; rejecting routes lead nowhere."""
    host = tree(HOST)
    found = Network(host, Links(host), lambda: ADDRESSES).inventory(client)
    assert found.client_interface == interface


@pytest.mark.parametrize(
    ("client", "address"), [("192.0.2.77", "192.0.2.10"), ("2001:db8::77", "192.0.2.10"), (None, "")]
)
def test_the_hosts_address_on_the_way_to_the_client(tree, client, address):
    """The first one of the interface, of IPv4 if there is one."""
    host = tree(HOST)
    found = Network(host, Links(host), lambda: ADDRESSES).inventory(client)
    assert found.client_side_address == address


def test_host_without_routes_has_no_way(tree):
    """An address outside of the own host is not reached then."""
    assert routes.interface_towards(routes.routes(tree({})), ipaddress.ip_address("192.0.2.1")) is None


def test_kernel_tells_the_loopback_address():
    """rtnetlink's answer is understood: every network namespace with loopback up has 127.0.0.1/8."""
    loopback = kernel_addresses()["lo"]
    assert address("127.0.0.1/8") in loopback


def test_kernel_tells_what_proc_tells(tree):
    """The IPv6 addresses are those of /proc/net/if_inet6, with their prefix lengths."""
    rows = [line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines()]
    expected = {(row[5], f"{ipaddress.ip_address(bytes.fromhex(row[0]))}/{int(row[2], 16)}") for row in rows}
    found = {
        (name, str(item.ip))
        for name, items in kernel_addresses().items()
        for item in items
        if item.ip.version == 6
    }
    assert found == expected
