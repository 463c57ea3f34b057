"""Small verbs per second, with many clients, against what the same libraries do without vdsm.

Server and load generator are processes of their own; subject and yardstick run in turn.
"""

from __future__ import annotations

import multiprocessing
import socketserver
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

from bench.load import Load, generate, http_get, http_post
from bench.measure import Row

CLIENTS = (1, 8, 64)
_XML = "text/xml"


def run(seconds: float = 3.0) -> list[Row]:
    """Host.ping over each binding at 1, 8 and 64 clients."""
    ping = xmlrpc.client.dumps((), "Host.ping").encode()
    constant = xmlrpc.client.dumps((), "ping").encode()
    rows = _compare(
        "XML-RPC ping",
        (_serve_xmlrpc, http_post("/RPC2", ping, _XML)),
        (_serve_standard_library, http_post("/RPC2", constant, _XML)),
        "standard library's threaded XML-RPC server, keep-alive",
        seconds,
    )
    rows += _compare(
        "REST ping",
        (_serve_rest, http_get("/api/host/ping")),
        (_serve_cherrypy, http_get("/")),
        "CherryPy page that returns a constant, on cheroot",
        seconds,
    )
    return rows


def _compare(name: str, subject: tuple, yardstick: tuple, against: str, seconds: float) -> list[Row]:
    rows = []
    with _server(subject[0]) as ours, _server(yardstick[0]) as theirs:
        for clients in CLIENTS:
            results = []
            for port, request in ((ours, subject[1]), (theirs, yardstick[1])):
                generate(Load(port=port, request=request, clients=clients, seconds=0.3))
                results.append(generate(Load(port=port, request=request, clients=clients, seconds=seconds)))
            mine, other = results
            note = f"errors {mine.errors}/{other.errors}"
            for unit, pick, better in (
                ("calls/s", lambda result: result.rate, "higher"),
                ("ms p50", lambda result: result.p50 * 1e3, "lower"),
                ("ms p99", lambda result: result.p99 * 1e3, "lower"),
            ):
                rows.append(
                    Row(
                        bench=name,
                        case=f"{clients} clients",
                        unit=unit,
                        value=pick(mine),
                        yardstick=pick(other),
                        yardstick_name=against,
                        better=better,
                        note=note,
                    )
                )
    return rows


@contextmanager
def _server(target: object) -> Iterator[int]:
    """Run a server function in a process; it sends its port and serves until told to stop."""
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


def _serve_binding(pipe: Connection, name: str) -> None:
    from vdsm_bridge.testing import TestHost  # noqa: PLC0415 - only this process needs it

    config = {"daemon": {"log_level": "ERROR"}, "plugin": {"xmlrpc": {"port": 0}, "rest": {"port": 0}}}
    with TestHost(installed=True, config=config) as host:
        address = next(plugin for plugin in host.server.plugins() if plugin.name == name).address[0]
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
        """A client that goes away is no news."""


def _serve_standard_library(pipe: Connection) -> None:
    import threading  # noqa: PLC0415

    server = _Threaded(("127.0.0.1", 0), requestHandler=_Handler, logRequests=False)
    server.register_function(lambda: {"status": {"code": 0, "message": "Done"}}, "ping")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(server.server_address[1])
    pipe.recv()
    server.shutdown()
    server.server_close()


def _serve_cherrypy(pipe: Connection) -> None:
    import threading  # noqa: PLC0415

    import cherrypy  # noqa: PLC0415
    from cheroot.wsgi import Server  # noqa: PLC0415

    class Root:
        @cherrypy.expose
        def index(self) -> bytes:
            return b"{}"

    application = cherrypy.Application(Root(), "")
    # As we do: a line on the terminal for each call, and a bound of ten connections, would flatter us.
    cherrypy.log.screen = application.log.screen = False
    server = Server(("127.0.0.1", 0), application, numthreads=10, request_queue_size=128)
    server.keep_alive_conn_limit = 1000
    server.prepare()
    threading.Thread(target=server.serve, daemon=True).start()
    pipe.send(server.bind_addr[1])
    pipe.recv()
    server.stop()
