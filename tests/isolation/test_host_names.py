"""`Host` is checked alike by every HTTP binding, on every address, plainly and over TLS."""

from __future__ import annotations

import itertools
import socket
import xmlrpc.client
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.certificates import TestPki

PING = xmlrpc.client.dumps((), "Host.ping").encode()
REQUESTS = {
    "xmlrpc": b"POST /RPC2 HTTP/1.1\r\nHost: %%s\r\nContent-Type: text/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n" % len(PING) + PING,
    "rest": b"GET /api/host/ping HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
}
OWN = ["localhost", "LOCALHOST.:80", "node7.example:1", "127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]"]
FOREIGN = [
    "evil.example",
    "evil.example:80",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "localhost@evil.example",
    "[::1]evil.example",
    "[::1].evil.example:80",
    "localhost, evil.example",
    "[2001:db8::1]",
    "192.0.2.1",
    "0.0.0.0",
    "",
]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_names(address: str, tmp_path: Path) -> None:
    """Own and configured names are served; a foreign name that was pointed at loopback is misdirected.

    A listener on `::` accepts IPv4 callers as mapped addresses, and checks their names in the same way.
    """
    pki = TestPki(tmp_path)
    trusting = pki.context()
    trusting.check_hostname = False
    options = {"address": address, "port": 0, "tls": "optional", "hosts": ["Node7.Example"]}
    plugins = {"xmlrpc": options, "rest": options, "virt": {"enabled": False}}
    with TestHost(installed=True, config={"plugin": plugins, "tls": pki.options}) as host:
        urls = {plugin.name: plugin.address[0] for plugin in host.host.plugins() if plugin.name in REQUESTS}
        for binding, secured in itertools.product(REQUESTS, (False, True)):
            port = urlsplit(urls[binding]).port
            assert port

            def status(name: str, binding: str = binding, port: int = port, secured: bool = secured) -> int:
                with ExitStack() as stack:
                    target = "::1" if address == "::1" else "127.0.0.1"
                    sock = stack.enter_context(socket.create_connection((target, port), timeout=20))
                    if secured:
                        sock = stack.enter_context(trusting.wrap_socket(sock))
                    sock.sendall(REQUESTS[binding] % name.encode())
                    return int(sock.recv(65_536).split(b" ", 2)[1])

            served = {name: status(name) for name in OWN}
            assert set(served.values()) <= {200, 204}, (binding, secured, served)
            refused = {name: status(name) for name in FOREIGN}
            assert set(refused.values()) == {421}, (binding, secured, refused)
