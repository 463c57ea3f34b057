"""XML-RPC over TLS: calls on kept connections beside plain ones, and calls with a handshake each.

The yardsticks are our own binding without TLS, and the standard library's threaded XML-RPC server with its
`ssl` module, on the same certificate (EC, P-256).
"""

from __future__ import annotations

import multiprocessing
import os
import ssl
import statistics
import tempfile
import threading
import xmlrpc.client
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from bench.load import Load, Result, generate, http_post
from bench.measure import Row
from bench.throughput import _Handler, _serve_binding, _server, _Threaded

_ROUNDS = 5
_STANDARD = "standard library's threaded XML-RPC server over TLS"
_PLAIN = "the same binding without TLS"


class _Server(NamedTuple):
    """A server in a process of its own, and what to send to it."""

    port: int
    process: int
    request: bytes
    tls: bool = True

    def measure(self, clients: int, seconds: float, *, fresh: bool = False) -> _Figures:
        """Put a load on it."""
        before = _processor_time(self.process)
        result = generate(
            Load(
                port=self.port,
                request=self.request,
                clients=clients,
                seconds=seconds,
                tls=self.tls,
                fresh=fresh,
            )
        )
        return _Figures(result, (_processor_time(self.process) - before) / max(1, result.calls))


class _Figures(NamedTuple):
    """What one load showed: of the clients, and the seconds of processor that the server took for a call."""

    result: Result
    processor: float


def run(seconds: float = 3.0) -> list[Row]:
    """Host.ping with kept connections at 1, 8 and 64 clients, and with a new one for each call."""
    ping = http_post("/RPC2", xmlrpc.client.dumps((), "Host.ping").encode(), "text/xml")
    constant = http_post("/RPC2", xmlrpc.client.dumps((), "ping").encode(), "text/xml")
    rows = []
    with ExitStack() as stack:
        secured = _Server(*_start(stack, _serve_tls), ping)
        plain = _Server(*_start(stack, _serve_plain), ping, tls=False)
        standard = _Server(*_start(stack, _serve_standard), constant)
        for clients in (1, 8, 64):
            mine, ours, theirs = _measure((secured, plain, standard), clients, seconds)
            for against, other in ((_PLAIN, ours), (_STANDARD, theirs)):
                rows += _rows("TLS ping, kept connections", f"{clients} clients", mine, other, against)
        mine, theirs = _measure((secured, standard), 1, seconds, fresh=True)
        rows += _rows("TLS ping, a handshake each", "1 client", mine, theirs, _STANDARD)
    return rows


def _start(stack: ExitStack, target: Callable[[Connection], None]) -> tuple[int, int]:
    """Start a server; return its port and the id of its process."""
    before = set(multiprocessing.active_children())
    port = stack.enter_context(_server(target))
    (process,) = set(multiprocessing.active_children()) - before
    return port, process.pid or 0


def _processor_time(process: int) -> float:
    """The seconds of processor that a process has used, in user mode and in the kernel (proc(5))."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(
    servers: Sequence[_Server], clients: int, seconds: float, *, fresh: bool = False
) -> list[list[_Figures]]:
    """The figures of each server, measured in turn."""
    for server in servers:
        server.measure(clients, 0.3, fresh=fresh)
    rounds = [
        [server.measure(clients, seconds / _ROUNDS, fresh=fresh) for server in servers]
        for _ in range(_ROUNDS)
    ]
    return [list(figures) for figures in zip(*rounds, strict=True)]


def _rows(bench: str, case: str, mine: list[_Figures], other: list[_Figures], against: str) -> list[Row]:
    figures: list[tuple[str, Callable[[_Figures], float], str]] = [
        ("calls/s", lambda each: each.result.rate, "higher"),
        ("ms p50", lambda each: each.result.p50 * 1e3, "lower"),
        ("ms p99", lambda each: each.result.p99 * 1e3, "lower"),
        ("µs of the server's processor", lambda each: each.processor * 1e6, "lower"),
    ]
    errors = "/".join(str(sum(each.result.errors for each in all_)) for all_ in (mine, other))
    return [
        Row(
            bench=bench,
            case=case,
            unit=unit,
            value=statistics.median(map(figure, mine)),
            yardstick=statistics.median(map(figure, other)),
            yardstick_name=against,
            better=better,
            note=f"errors {errors}",
        )
        for unit, figure, better in figures
    ]


def _serve_plain(pipe: Connection) -> None:
    _serve_binding(pipe, "xmlrpc")


def _serve_tls(pipe: Connection) -> None:
    from vdsm_bridge.testing.certificates import TestPki  # noqa: PLC0415 - only this process needs it

    with tempfile.TemporaryDirectory() as folder:
        options = TestPki(Path(folder)).options
        _serve_binding(pipe, "xmlrpc", {"tls": options}, tls="required")


def _serve_standard(pipe: Connection) -> None:
    from vdsm_bridge.testing.certificates import TestPki  # noqa: PLC0415 - as above

    class Secured(_Handler):
        """Shakes hands in the thread of the connection, not in the one that accepts."""

        def setup(self) -> None:
            self.request.do_handshake()
            super().setup()

    with tempfile.TemporaryDirectory() as folder:
        pki = TestPki(Path(folder))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki.certificate, pki.key)
        context.load_verify_locations(pki.ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        server = _Threaded(("127.0.0.1", 0), requestHandler=Secured, logRequests=False)
        server.register_function(lambda: {"status": {"code": 0, "message": "Done"}}, "ping")
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        pipe.send(server.server_address[1])
        pipe.recv()
        server.shutdown()
        server.server_close()
