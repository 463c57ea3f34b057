"""Subscribers in a process of their own, so that they share no lock with the daemon.

Run as ``python -m bench.event_clients KIND ADDRESS COUNT CLIENTS``: says ``ready`` on a line, waits for COUNT
events on each of CLIENTS subscriptions, and prints as JSON when each arrived (`time.monotonic`, which all
processes of a machine share), by the first subscription, and which numbers were missing at any.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from typing import Any
from urllib.parse import quote, urlsplit
from xmlrpc.client import ServerProxy

from vdsm_qmf.console import Cluster

PATTERN = "|virt|VM_status"


def _ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def poll(address: str, count: int) -> dict[str, Any]:
    """`Events.next` over XML-RPC, again and again."""
    arrived: list[float] = []
    numbers: list[int] = []
    with ServerProxy(address) as proxy:
        subscribe, ask = getattr(proxy, "Events.subscribe"), getattr(proxy, "Events.next")
        subscription = subscribe(PATTERN)["result"]["subscriptionID"]
        _ready()
        while len(arrived) < count:
            events = ask(subscription, 10.0, 1000)["result"]
            arrived += [time.monotonic()] * len(events)
            numbers += [event["seq"] for event in events]
    return {"arrived": arrived, "missing": 0 if numbers == sorted(set(numbers)) else 1}


def bus(address: str, count: int) -> dict[str, Any]:
    """QMF events, by the console.

    :param address: the broker's, with user and password
    """
    arrived: list[float] = []
    numbers: list[int] = []
    with Cluster(address) as cluster:
        cluster.wait_for(hosts=1, timeout=60.0)
        with cluster.events(PATTERN) as stream:
            _ready()
            while len(arrived) < count:
                event = stream.next(10.0)
                if event is None:
                    raise TimeoutError(f"{len(arrived)} of {count} events")
                arrived.append(time.monotonic())
                numbers.append(event.seq)
    return {"arrived": arrived, "missing": 0 if numbers == sorted(set(numbers)) else 1}


class _Stream:
    def __init__(self, address: str, pattern: str) -> None:
        where = urlsplit(address)
        self.socket = socket.create_connection((where.hostname or "", where.port or 0), timeout=30)
        path = f"/api/events?filter={quote(pattern)}"
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self.rest = b""
        self.numbers: list[int] = []
        while b"\n\n" not in self.rest:
            self.rest += self.socket.recv(65536)
        self.rest = self.rest.rpartition(b"\n\n")[2]

    def read(self) -> int:
        """Take what is there; how many events that was."""
        piece = self.socket.recv(1 << 20)
        if not piece:
            raise ConnectionError("the stream has ended")
        whole, _, self.rest = (self.rest + piece).rpartition(b"\n\n")
        found = [
            int(block.partition(b"id: ")[2].split(b"\n", 1)[0])
            for block in whole.split(b"\n\n")
            if b"\ndata: " in block
        ]
        self.numbers += found
        return len(found)


def stream(address: str, count: int, clients: int, pattern: str) -> dict[str, Any]:
    """Server-sent events, on as many connections as there are clients."""
    selector = selectors.DefaultSelector()
    streams = [_Stream(address, pattern) for _ in range(clients)]
    for each in streams:
        selector.register(each.socket, selectors.EVENT_READ, each)
    _ready()
    arrived: list[float] = []
    open_ = len(streams)
    while open_:
        for key, _ in selector.select(30):
            found = key.data.read()
            if key.data is streams[0]:
                arrived += [time.monotonic()] * found
            if len(key.data.numbers) >= count:
                selector.unregister(key.data.socket)
                open_ -= 1
    ended = time.monotonic()
    for each in streams:
        each.socket.close()
    whole = [list(range(each.numbers[0], each.numbers[0] + count)) == each.numbers for each in streams]
    return {"arrived": arrived, "missing": whole.count(False), "ended": ended}


def main() -> None:
    """Run one kind of client."""
    kind, address, count, clients = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if kind == "xmlrpc":
        result = poll(address, count)
    elif kind == "qmf":
        result = bus(address, count)
    else:
        result = stream(address, count, clients, PATTERN if kind == "sse" else kind)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
