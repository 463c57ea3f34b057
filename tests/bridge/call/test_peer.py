"""The owner of the other end of a loopback connection."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from vdsm_bridge import owner_uid

CLIENT = """
import os, socket, sys
"load".encode("idna")  # a module that the other user may not be able to read
os.setuid(int(sys.argv[3]))
client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
client.recv(1)
"""


@pytest.mark.parametrize(
    ("family", "listen", "connect"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "127.0.0.2", "127.0.0.2"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "127.0.0.1"),
        (socket.AF_INET6, "::", "::1"),
    ],
)
@pytest.mark.parametrize("uid", [os.geteuid(), 65534])
def test_owner(family: socket.AddressFamily, listen: str, connect: str, uid: int) -> None:
    """It is the user of the client process, over IPv4, IPv6 and IPv4 on a listener of both families."""
    if uid != os.geteuid() and os.geteuid():
        pytest.skip("only root can start a client of another user")
    with socket.socket(family) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind((listen, 0))
        server.listen()
        server.settimeout(20)
        command = [sys.executable, "-c", CLIENT, connect, str(server.getsockname()[1]), str(uid)]
        with subprocess.Popen(command) as client:
            end, remote = server.accept()
            with end:
                found = owner_uid(end.getsockname(), remote)
                end.sendall(b"x")
            client.wait(20)
    assert found == uid


def test_a_closed_socket_has_no_owner() -> None:
    """The kernel reports root for a socket without an owner: no user is returned."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        end, remote = server.accept()
        with end:
            client.close()
            assert owner_uid(end.getsockname(), remote) is None


@pytest.mark.parametrize("remote", ["192.0.2.1", "::ffff:192.0.2.1", "", "localhost", "x" * 100])
def test_other_addresses_have_no_owner(remote: str) -> None:
    """Only loopback is looked up; what is no address has no owner."""
    assert owner_uid(("127.0.0.1", 1), (remote, 2)) is None
