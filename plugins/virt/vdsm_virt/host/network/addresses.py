"""The IP addresses of the interfaces, from the kernel's rtnetlink.

Chosen over its neighbours: the ioctl SIOCGIFADDR shows one IPv4 address of an interface and hides the
others, `/proc/net/if_inet6` has no counterpart for IPv4, and `ip` may be absent and costs a process. One
dump of rtnetlink (RFC 3549) has every address of both families, with the flag of a leased one.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h
_NETLINK_ROUTE: Final = 0
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_RTM_NEWADDR: Final = 20
_RTM_GETADDR: Final = 22
_NLM_F_REQUEST_DUMP: Final = 0x1 | 0x300
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_FLAGS: Final = 8
_IFA_F_PERMANENT: Final = 0x80
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface index
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_BUFFER: Final = 1 << 17
_DEADLINE: Final = 2.0

IPAddress = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True)
class Address:
    """An address with its prefix. `leased`: its lifetime is limited (DHCP, autoconfiguration)."""

    ip: IPAddress
    leased: bool


def kernel_addresses() -> dict[str, list[Address]]:
    """Return the addresses of each interface of this network namespace, in the kernel's order.

    :raises OSError: the kernel does not answer
    """
    names = dict(socket.if_nameindex())
    found: dict[str, list[Address]] = {}
    for index, address in _dump():
        # An interface may go between the two questions.
        if index in names:
            found.setdefault(names[index], []).append(address)
    return found


def _dump() -> Iterator[tuple[int, Address]]:
    request = _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    header = _HEADER.pack(_HEADER.size + len(request), _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as netlink:
        netlink.settimeout(_DEADLINE)
        netlink.send(header + request)
        while True:
            for kind, body in _messages(netlink.recv(_BUFFER)):
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", body)[0], "rtnetlink refuses to list addresses")
                if kind == _RTM_NEWADDR:
                    yield _address(body)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += _aligned(length)


def _address(body: bytes) -> tuple[int, Address]:
    _family, prefix, flags, _scope, index = _IFADDRMSG.unpack_from(body)
    attributes = dict(_attributes(body[_IFADDRMSG.size :]))
    if _IFA_FLAGS in attributes:
        (flags,) = struct.unpack("=I", attributes[_IFA_FLAGS])
    # On a point-to-point link IFA_ADDRESS is the peer, IFA_LOCAL our own.
    packed = attributes.get(_IFA_LOCAL, attributes[_IFA_ADDRESS])
    ip = ipaddress.ip_interface((packed, prefix))
    return index, Address(ip=ip, leased=not flags & _IFA_F_PERMANENT)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        yield kind, data[offset + _ATTRIBUTE.size : offset + length]
        offset += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
