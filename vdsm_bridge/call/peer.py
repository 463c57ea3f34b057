"""The owner of the other end of a loopback TCP connection, for the audit log.

The kernel answers for one connection at a time (sock_diag(7)), so the cost does not grow with the number of
sockets. The answer is information only and grants nothing: a socket can be handed to another process, and a
proxy on this host is the owner of every connection that it forwards.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Final

from vdsm_bridge.call.addresses import is_loopback

#: A socket address as `getsockname` and `getpeername` return it: IP address, port, and more for IPv6.
SocketAddress = tuple[str, int] | tuple[str, int, int, int]

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST: Final = 1
_ALL_STATES: Final = 0xFFFFFFFF
_TIMEOUT: Final = 0.2  # s; the kernel answers within the system call
_HEADER: Final = struct.Struct("=IHHII")
_QUERY: Final = struct.Struct("=BBBBI")
_PORTS: Final = struct.Struct("!HH")
_ANY_INTERFACE: Final = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
#: State, timers and counters before `idiag_uid` and `idiag_inode` of `struct inet_diag_msg`.
_OWNER: Final = struct.Struct("=II")
_ID_AT: Final = _HEADER.size + 4
_OWNER_AT: Final = _ID_AT + 48 + 12


def owner_uid(local: SocketAddress, remote: SocketAddress) -> int | None:
    """Return the user id that owns the peer's socket of a TCP connection over loopback.

    :param local: the address of this end, as `getsockname` gives it
    :param remote: the address of the peer, as `getpeername` gives it
    :returns: None for a peer that is not on loopback, whose socket is closed, or that cannot be found
    """
    if not is_loopback(remote[0]):
        return None
    try:
        return _ask(_plain(local[0]), local[1], _plain(remote[0]), remote[1])
    except (OSError, ValueError, struct.error):
        return None


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _ask(
    local: ipaddress.IPv4Address | ipaddress.IPv6Address,
    local_port: int,
    remote: ipaddress.IPv4Address | ipaddress.IPv6Address,
    remote_port: int,
) -> int | None:
    if local.version != remote.version:
        return None
    family = socket.AF_INET if remote.version == 4 else socket.AF_INET6
    # The query is about the peer's socket: the remote end is the source.
    ports = _PORTS.pack(remote_port, local_port)
    ends = remote.packed.ljust(16, b"\0") + local.packed.ljust(16, b"\0")
    query = _QUERY.pack(family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES) + ports + ends + _ANY_INTERFACE
    header = _HEADER.pack(_HEADER.size + len(query), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_TIMEOUT)
        kernel.sendto(header + query, (0, 0))
        reply = kernel.recv(4096)
    if _HEADER.unpack_from(reply)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    uid, inode = _OWNER.unpack_from(reply, _OWNER_AT)
    # For a closed connection, the kernel may return a listening socket of that port; a socket that its
    # process has closed has no inode, and root as its owner.
    same_ports = reply[_ID_AT : _ID_AT + 4] == ports
    return int(uid) if same_ports and inode else None
