"""Small verbs per second, with many clients, against what the same libraries do without vdsm.

Servers and load generator are processes of their own. Subject and yardsticks are measured in turn, several
times, and the median of these rounds counts, so that other work on the machine meets all of them alike.
"""

from __future__ import annotations

import multiprocessing
import socketserver
import statistics
import xmlrpc.client
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

from bench.load import Load, Result, generate, http_get, http_post
from bench.measure import UNLIMITED, Row

CLIENTS = (1, 8, 64)
_ROUNDS = 3
_XML = "text/xml"

#: A function that serves until it is stopped, and the request to send to it.
Subject = tuple[Callable[[Connection], None], bytes]


def run(seconds: float = 3.0) -> list[Row]:
    """Host.ping over each binding at 1, 8 and 64 clients."""
    ping = xmlrpc.client.dumps((), "Host.ping").encode()
    constant = xmlrpc.client.dumps((), "ping").encode()
    rows = _compare(
        "XML-RPC ping",
        (_serve_xmlrpc, http_post("/RPC2", ping, _XML)),
        {
            "standard library's threaded XML-RPC server, keep-alive": (
                _serve_standard_library,
                http_post("/RPC2", constant, _XML),
            )
        },
        seconds,
    )
    rows += _compare(
        "REST ping",
        (_serve_rest, http_get("/api/host/ping")),
        {
            "bare cheroot page that returns a constant": (_serve_cheroot, http_get("/")),
            "CherryPy page that returns a constant, on cheroot": (_serve_cherrypy, http_get("/")),
        },
        seconds,
    )
    return rows


def _compare(name: str, subject: Subject, yardsticks: dict[str, Subject], seconds: float) -> list[Row]:
    rows = []
    with ExitStack() as stack:
        servers = [
            (stack.enter_context(_server(target)), request)
            for target, request in (subject, *yardsticks.values())
        ]
        for clients in CLIENTS:
            for port, request in servers:
                generate(Load(port=port, request=request, clients=clients, seconds=0.3))
            rounds = [
                [
                    generate(Load(port=port, request=request, clients=clients, seconds=seconds / _ROUNDS))
                    for port, request in servers
                ]
                for _ in range(_ROUNDS)
            ]
            mine, *others = (_Rounds(results) for results in zip(*rounds, strict=True))
            for against, other in zip(yardsticks, others, strict=True):
                rows += _rows(name, clients, mine, other, against)
    return rows


class _Rounds:
    """What one server did in all rounds; of each figure the median."""

    def __init__(self, results: Sequence[Result]) -> None:
        self.rate = statistics.median(result.rate for result in results)
        self.p50 = statistics.median(result.p50 for result in results)
        self.p99 = statistics.median(result.p99 for result in results)
        self.errors = sum(result.errors for result in results)


def _rows(name: str, clients: int, mine: _Rounds, other: _Rounds, against: str) -> list[Row]:
    return [
        Row(
            bench=name,
            case=f"{clients} clients",
            unit=unit,
            value=value,
            yardstick=yardstick,
            yardstick_name=against,
            better=better,
            note=f"errors {mine.errors}/{other.errors}",
        )
        for unit, value, yardstick, better in (
            ("calls/s", mine.rate, other.rate, "higher"),
            ("ms p50", mine.p50 * 1e3, other.p50 * 1e3, "lower"),
            ("ms p99", mine.p99 * 1e3, other.p99 * 1e3, "lower"),
        )
    ]


@contextmanager
def _server(target: object) -> Iterator[int]:
    """Run a server function in a process; it sends its port and serves until it is stopped."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=target, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("stop")
        process.join(20)
        if process.is_alive():
            process.kill()
            process.join()


def _serve_binding(pipe: Connection, name: str, tables: Mapping[str, Any] = {}, **options: Any) -> None:
    """Serve with the options of the binding, and further tables of the configuration."""
    from vdsm_bridge.testing import TestHost  # noqa: PLC0415 - only this process needs it

    plugin: dict[str, Any] = {"xmlrpc": {"port": 0}, "rest": {"port": 0}}
    plugin[name].update(options)
    config = {"daemon": {"log_level": "ERROR"}, "limits": UNLIMITED, "plugin": plugin, **tables}
    with TestHost(installed=True, config=config) as host:
        address = next(plugin for plugin in host.host.plugins() if plugin.name == name).address[0]
        pipe.send(int(address.rstrip("/").rsplit(":", 1)[1].split("/")[0]))
        pipe.recv()


def _serve_xmlrpc(pipe: Connection) -> None:
    _serve_binding(pipe, "xmlrpc")


def _serve_rest(pipe: Connection) -> None:
    _serve_binding(pipe, "rest")


class _Handler(SimpleXMLRPCRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1


class _Threaded(socketserver.ThreadingMixIn, SimpleXMLRPCServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnect."""


def _serve_standard_library(pipe: Connection) -> None:
    import threading  # noqa: PLC0415

    server = _Threaded(("127.0.0.1", 0), requestHandler=_Handler, logRequests=False)
    server.register_function(lambda: {"status": {"code": 0, "message": "Done"}}, "ping")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(server.server_address[1])
    pipe.recv()
    server.shutdown()
    server.server_close()


def _serve_cheroot(pipe: Connection) -> None:
    def page(_environ: dict, start_response: Callable) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")])
        return [b"{}"]

    _serve_wsgi(pipe, page)


def _serve_cherrypy(pipe: Connection) -> None:
    import cherrypy  # noqa: PLC0415

    class Root:
        @cherrypy.expose
        def index(self) -> bytes:
            return b"{}"

    application = cherrypy.Application(Root(), "")
    # As we do: a line on the terminal for each call would flatter us.
    cherrypy.log.screen = application.log.screen = False
    _serve_wsgi(pipe, application)


def _serve_wsgi(pipe: Connection, application: Callable) -> None:
    import threading  # noqa: PLC0415

    from cheroot.wsgi import Server  # noqa: PLC0415

    server = Server(("127.0.0.1", 0), application, numthreads=10, request_queue_size=128)
    # Its bound of ten connections would flatter us, too.
    server.keep_alive_conn_limit = 1000
    server.prepare()
    threading.Thread(target=server.serve, daemon=True).start()
    pipe.send(server.bind_addr[1])
    pipe.recv()
    server.stop()
