"""The end of a daemon that has clients of every kind: it waits for none of them longer than it may."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit
from xmlrpc.client import ServerProxy

import pytest

from tests.functional.daemon import Daemon

#: A request whose body never comes.
HALF = "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {type}\r\nContent-Length: 1000\r\n\r\n"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon on the embedded hypervisor."""
    with Daemon(tmp_path, "test:///default") as running:
        yield running


def test_clients_do_not_keep_it(daemon: Daemon) -> None:
    """Idle connections, requests that stop halfway on both bindings, a stream and a wait for events."""
    urls = {plugin["name"]: plugin["address"] for plugin in daemon.rest("GET", "/api/host/plugins")}
    ports = {name: urlsplit(urls[name][-1]).port for name in ("rest", "xmlrpc")}
    with ExitStack() as held:

        def send(name: str, text: str) -> None:
            sock = held.enter_context(socket.create_connection(("127.0.0.1", ports[name] or 0)))
            sock.sendall(text.encode())

        send("xmlrpc", "")
        send("rest", "")
        send("xmlrpc", HALF.format(path="/RPC2", type="text/xml"))
        send("rest", HALF.format(path="/api/vms", type="application/json"))
        send("rest", "GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        subscription = daemon.xmlrpc("Events.subscribe", "no.such.event")["result"]["subscriptionID"]

        def wait() -> None:
            with ServerProxy(f"http://127.0.0.1:{ports['xmlrpc']}/") as proxy:
                answers.append(proxy.Events.next(subscription, 1, 30))

        answers: list[object] = []
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.5)
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 5
        waiting.join(5)
        assert len(answers) == 1, "the call that waited for events got no answer"
