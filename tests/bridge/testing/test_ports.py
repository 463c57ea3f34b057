"""Ports for servers of tests."""

from __future__ import annotations

import socket
from pathlib import Path

from vdsm_bridge.testing.ports import free_ports


def test_they_are_free_and_different() -> None:
    """A server can listen on each at the same time."""
    ports = free_ports(5)
    sockets = [socket.create_server(("127.0.0.1", port)) for port in ports]
    for sock in sockets:
        sock.close()
    assert len(set(ports)) == 5


def test_no_client_gets_them() -> None:
    """They lie outside the range from which Linux takes the ports of clients."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not any(first <= port <= last for port in free_ports(20))
