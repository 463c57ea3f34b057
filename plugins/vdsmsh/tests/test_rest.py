"""The transport over REST, and the choice of transports."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.transport import CallOptions, CallRefused, Credentials, Transport, Unreachable
from vdsmsh.connection.rest import RestTransport
from vdsmsh.connection.target import connect

from .conftest import HALL

OPTIONS = CallOptions(timeout=5.0)


@pytest.fixture(params=["socket", "tcp"])
def transport(host: TestHost, home: Path, request: pytest.FixtureRequest) -> Transport:
    """The host over each kind of socket."""
    (plugin,) = [plugin for plugin in host.host.plugins() if plugin.name == "rest"]
    tcp = next(address for address in plugin.address if address.startswith("http"))
    url = f"unix://{home}/api.sock" if request.param == "socket" else tcp
    return connect(url, Credentials())


def test_call(host: TestHost, transport: Transport) -> None:
    """A call returns plain data, None where there is no result, and the revision."""
    assert transport.revision == ""
    assert transport.call("Room.add", {"left": 1, "right": 2}, OPTIONS) == 3
    assert transport.call("Host.ping", {}, OPTIONS) is None
    assert transport.revision == host.bridge.revision
    assert set(transport.call("Lamp.burn", {"lampID": HALL, "hours": 1}, OPTIONS)) == {"taskID"}


def test_verbs(host: TestHost, transport: Transport) -> None:
    """Every verb of the host is described."""
    assert {info["name"] for info in transport.verbs(OPTIONS)} == set(host.bridge.verbs)


def test_refusal(transport: Transport) -> None:
    """An error of the host comes with its slug, code, message and facts."""
    with pytest.raises(CallRefused) as caught:
        transport.call("Room.add", {"left": "x"}, OPTIONS)
    error = caught.value
    assert (error.slug, error.code, error.facts["argument"]) == ("invalid-argument", 91, "left")
    assert str(error) == error.message
    assert "'left'" in error.message


def test_timeout_is_sent(transport: Transport) -> None:
    """The request has the timeout in whole seconds, so that the host can give up first."""
    assert "'Prefer: wait=1'" in transport.preview("Host.ping", {}, CallOptions(timeout=0.2))
    assert "'Prefer: wait=60'" in transport.preview("Host.ping", {}, CallOptions())


def test_socket_with_a_blank(home: Path, make_vdsm_host: Callable[..., TestHost]) -> None:
    """A URL spells what it must; the path is meant."""
    rest = pytest.importorskip("vdsm_rest")
    options = {"socket": str(home / "a b.sock"), "address": ""}
    make_vdsm_host(bindings={"rest": rest.RestBinding}, config={"plugin": {"rest": options}})
    transport = RestTransport(f"unix://{home}/a%20b.sock", Credentials())
    assert transport.call("Room.add", {"left": 1}, OPTIONS) == 2


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server with one answer to every request; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\n{}",
        b"220 mail ready\r\n",
        b"",
    ],
    ids=["html", "no problem", "no http", "nothing"],
)
def test_something_else_listens(answer: bytes) -> None:
    """A server that is no vdsm host is reported differently from a host that refuses."""
    with answering(answer) as url, pytest.raises(Unreachable):
        RestTransport(url, Credentials()).call("Host.ping", {}, OPTIONS)


TRANSPORT = """
from vdsm_bridge.transport import Transport

class Pigeon(Transport):
    revision = "1"

    def call(self, verb, arguments, options):
        return [] if verb == "Host.getVerbs" else None

    def preview(self, verb, arguments, options):
        return ""

    def close(self):
        pass
"""


@pytest.mark.parametrize(
    ("module", "code", "message"),
    [
        (TRANSPORT, 2, "there is no command 'loft'"),
        ("raise OSError('no wings')", 2, "cannot load the transport pigeon_post:Pigeon: no wings"),
    ],
    ids=["works", "broken"],
)
def test_transport_of_another_distribution(
    home: Path, vdsmsh: str, monkeypatch: pytest.MonkeyPatch, module: str, code: int, message: str
) -> None:
    """A URL scheme is served by the distribution that declares it; a failed load has its reason."""
    info = home / "site" / "pigeon-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeon\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[vdsm.transports]\npigeon = pigeon_post:Pigeon\n")
    (home / "site" / "pigeon_post.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", str(home / "site"))
    done = subprocess.run(
        [sys.executable, "-m", "vdsmsh.main", "--url", "pigeon://roof", "loft", "clean"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_preview_holds_the_arguments(transport: Transport) -> None:
    """The printed line has the arguments as JSON and the path of the verb."""
    line = transport.preview("Room.add", {"left": 1}, CallOptions(request_id="r", flow_id="f"))
    assert json.dumps({"left": 1}) in line
    assert line.endswith("/api/verbs/Room.add")
    assert "'Idempotency-Key: r'" in line
    assert "'FlowID: f'" in line
