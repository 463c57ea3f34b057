"""A front and its clients in a network namespace of their own, on an address that is not loopback.

Run by test_tls_remote.py; prints what became of each client as JSON.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import tempfile
from pathlib import Path

from vdsm_bridge.testing.certificates import TestPki
from vdsm_http import Front, Limits, Response, Site, Tls

ADDRESS = "192.0.2.1"  # for documentation (RFC 5737); it exists in this namespace only


def outcome(port: int, address: str, context: ssl.SSLContext | None) -> str:
    """What a client gets."""
    connection = http.client.HTTPConnection(address, port, timeout=10)
    if context is not None:
        connection = http.client.HTTPSConnection(address, port, timeout=10, context=context)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode().strip()
    except ssl.SSLError as error:
        return str(error.reason)
    finally:
        connection.close()


def main() -> None:
    """Try each client on each address."""
    with tempfile.TemporaryDirectory() as folder:
        pki = TestPki(Path(folder))
        pki.renew(names=["127.0.0.1", ADDRESS])
        options = pki.tls_options()
        attachment = Front().attach(
            Site(
                "remote", lambda request: Response(200, [], repr(request.peer.certificate).encode()), Limits()
            ),
            [("0.0.0.0", 0)],
            tls=Tls("required", lambda: options),
        )
        port = int(attachment.urls[0].rpartition(":")[2])
        clients = {"plain": None, "anonymous": pki.context(), "bob": pki.context(pki.client("bob"))}
        found = {
            f"{name} {address}": outcome(port, address, context)
            for name, context in clients.items()
            for address in ("127.0.0.1", ADDRESS)
        }
        attachment.close(2.0)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
