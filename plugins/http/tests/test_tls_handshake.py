"""Handshakes over real sockets: who is let in, and what is said to those who are not."""

from __future__ import annotations

import http.client
import logging
import re
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.testing.certificates import ClientFiles, TestPki
from vdsm_bridge.testing.polling import until
from vdsm_bridge.tool.pki_authority import Authority
from vdsm_http import Limits, Request, Response, Site, Tls

from .conftest import PING, Served, all_of

Serve = Callable[..., Served]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers count as being on another machine; test_tls_remote.py has real ones."""
    monkeypatch.setattr("vdsm_http.tls.handshake.is_loopback", lambda _: False)


def untrusted(pki: TestPki, tmp_path: Path) -> ClientFiles:
    """A client with a certificate of another CA."""
    return pki.write("stranger", Authority.create("Other", days=9).issue("bob", purpose="client", days=9))


def self_signed(pki: TestPki, tmp_path: Path) -> ClientFiles:
    """A client that signed its certificate itself."""
    return pki.write("self", Authority.create("bob", days=9).files)


def expired(pki: TestPki, tmp_path: Path) -> ClientFiles:
    """A client whose certificate has expired."""
    return pki.client("late", days=-1)


def of_a_server(pki: TestPki, tmp_path: Path) -> ClientFiles:
    """A client with a certificate that is for servers only."""
    return pki.write("server", pki.issue("bob", purpose="server"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (untrusted, "unable to get local issuer certificate"),
        (self_signed, "self-signed certificate"),
        (expired, "certificate has expired"),
        (of_a_server, "(unsuitable|unsupported) certificate purpose"),
    ],
)
def test_clients_that_are_refused(
    serve_tls: Serve,
    pki: TestPki,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[TestPki, Path], ClientFiles],
    reason: str,
    version: ssl.TLSVersion,
) -> None:
    """A certificate that does not hold lets nobody in, on loopback neither; the client gets an alert."""
    served = serve_tls()
    context = pki.context(make(pki, tmp_path))
    context.maximum_version = version
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        ping(served, context)
    until(lambda: "its certificate is not accepted" in caplog.text)
    assert re.search(f"Cannot finish the TLS handshake of 127.0.0.1: .*: {reason}", caplog.text)
    assert served.get("/ping") == b"/ping"


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_others_need_a_certificate(
    serve_tls: Serve, pki: TestPki, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller on another machine without a certificate is refused; with one it is served."""
    served = serve_tls()
    context = pki.context()
    context.maximum_version = version
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        ping(served, context)
    until(lambda: "it sent no certificate" in caplog.text)
    assert served.get("/ping", pki.client("bob")) == b"/ping"


@pytest.mark.usefixtures("elsewhere")
def test_certificates_may_be_left_to_tokens(serve_tls: Serve) -> None:
    """Where `client_certificates` is optional, other machines come without one, too."""
    assert serve_tls(tls={"client_certificates": "optional"}).get("/ping") == b"/ping"


def test_peer(pki: TestPki, serve_tls: Serve) -> None:
    """A site reads of a request whether it was encrypted, and whose certificate was verified."""
    served, peers = serve_tls(), []

    def answer(request: Request) -> Response:
        peers.append(request.peer)
        return Response(204)

    served.site.handler = answer
    names = ["bob.example.org", "192.0.2.7"]
    # Headers prove nothing, whatever a proxy would write there.
    forged = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-SSL-Client-S-DN: CN=root\r\n\r\n"
    for client in (None, pki.client("bob", names=names)):
        with served.connect(client) as sock:
            sock.sendall(forged)
            assert b" 204 " in sock.recv(65_536)
    assert [peer.secure for peer in peers] == [True, True]
    assert peers[0].certificate is None
    assert peers[1].certificate.subject == "CN=bob"
    assert peers[1].certificate.alternative_names == ("DNS:bob.example.org", "IP:192.0.2.7")
    assert peers[1].address == "127.0.0.1"


def ping(served: Served, context: ssl.SSLContext) -> bytes:
    """Call once; with TLS 1.3 a client learns that it is refused when it reads."""
    with served.secured(served.dial(), context) as sock:
        sock.sendall(PING)
        return sock.recv(65_536)


# -- one port


def test_plain_requests_where_tls_is_required(serve_tls: Serve) -> None:
    """They get a reply that a person can read, and no answer of the site."""
    served = serve_tls()
    assert served.attachment.urls == (f"https://127.0.0.1:{served.port}",)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.request("POST", "/ping", b"x" * 1_000_000)
    response = connection.getresponse()
    assert (response.status, response.read()) == (400, b"This address requires TLS: use https://\n")
    connection.close()


def test_both_on_one_port(serve_tls: Serve) -> None:
    """Where TLS is optional, plain and encrypted requests are told apart by their first byte."""
    served = serve_tls(mode="optional")
    port = served.port
    assert served.attachment.urls == (f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port}")
    with served.dial() as plain, served.connect() as secured, served.dial() as idle:
        for sock in (plain, secured, plain, secured):
            sock.sendall(PING)
            assert b" 200 " in sock.recv(65_536)
        idle.sendall(PING[:1])
        assert served.get("/ping") == b"/ping"
        idle.sendall(PING[1:])
        assert b" 200 " in idle.recv(65_536)


def test_tls_where_it_is_off(caplog: pytest.LogCaptureFixture) -> None:
    """The connection is closed without a reset, and the log says why."""
    served = Served()
    try:
        with served.dial() as sock, pytest.raises(ssl.SSLEOFError):
            ssl.create_default_context().wrap_socket(sock, server_hostname="localhost")
        assert "127.0.0.1 uses TLS on http://127.0.0.1:" in caplog.text
        assert served.get("/ping") == b"/ping"
    finally:
        served.attachment.close(1.0)


def test_sites_of_one_address_agree(serve_tls: Serve) -> None:
    """A site that wants it otherwise on a shared address is refused, with the reason."""
    served = serve_tls()
    other = Site("other", lambda _: Response(204), Limits())
    with pytest.raises(
        OSError, match="test is served there with tls = 'required', so 'optional' is not possible"
    ):
        served.front.attach(other, [("127.0.0.1", served.port)], tls=Tls("optional", served.tls.options))
    attachment = served.front.attach(other, [("127.0.0.1", served.port)], tls=served.tls)
    attachment.close(1.0)
    assert served.get("/ping") == b"/ping"


def test_a_site_without_a_certificate(
    serve_tls: Serve, pki: TestPki, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its address refuses connections until the certificate is mended; its unix socket serves meanwhile."""
    caplog.set_level(logging.INFO, "vdsm_http")
    key = pki.key.read_bytes()
    pki.key.unlink()
    path = str(tmp_path / "s")
    served = serve_tls(addresses=[path, ("127.0.0.1", 0)])
    assert served.attachment.urls == (f"unix:{path}",)
    for text in (served.attachment.trouble, caplog.text):
        assert re.search("Cannot use the certificate of this host: .*vdsmkey.pem: No such file", text)
    url = re.match(r"(https://127.0.0.1:(\d+)) is not served: ", served.attachment.trouble)
    assert url is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(url[2])), timeout=10)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(PING)
        assert b" 200 " in sock.recv(65_536)
    pki.key.touch(0o600)
    pki.key.write_bytes(key)
    # Nobody asks for its state meanwhile: it looks for itself.
    until(lambda: served.attachment.urls == (f"unix:{path}", url[1]))
    assert served.get("/ping") == b"/ping"
    assert served.attachment.trouble == ""
    assert f"{url[1]} is served" in caplog.text


def test_plain_connections_without_a_certificate(
    serve_tls: Serve, pki: TestPki, caplog: pytest.LogCaptureFixture
) -> None:
    """Where both are accepted, plain connections are served without a certificate, TLS once it is there."""
    certificate = pki.certificate.read_bytes()
    pki.certificate.write_text("hello")
    served = serve_tls(mode="optional")
    (plain,) = served.attachment.urls
    assert "there is no certificate" in served.attachment.trouble
    with served.dial() as sock:
        sock.sendall(PING)
        assert b" 200 " in sock.recv(65_536)
    with pytest.raises(OSError, match=r"(?i)eof|reset"):
        served.connect()
    until(lambda: "this host has no certificate that can be used" in caplog.text)
    pki.certificate.write_bytes(certificate)
    until(lambda: served.attachment.urls == (plain, plain.replace("http:", "https:")))
    assert served.get("/ping") == b"/ping"


def test_a_reload_mends_the_certificate(serve_tls: Serve, pki: TestPki, tmp_path: Path) -> None:
    """Other options of `[tls]` are tried, too."""
    served = serve_tls(tls={"key": str(tmp_path / "absent")})
    assert served.attachment.urls == ()
    served.options = pki.tls_options()
    until(lambda: served.get("/ping") == b"/ping" if served.attachment.urls else False)


def test_an_address_that_another_process_took(
    serve_tls: Serve, pki: TestPki, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An address on which another process listens by now is tried until it is free."""
    served = serve_tls(tls={"key": str(tmp_path / "absent")})
    port = int(served.attachment.trouble.split(" ")[0].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        served.options = pki.tls_options()
        until(lambda: "in use" in served.attachment.trouble)
        assert served.attachment.urls == ()
        assert f"Cannot listen on http://127.0.0.1:{port}: Address already in use" in caplog.text
    until(lambda: served.attachment.urls == (f"https://127.0.0.1:{port}",))
    assert served.get("/ping") == b"/ping"


def test_a_site_stops_without_a_certificate(pki: TestPki, tmp_path: Path) -> None:
    """An address that was never served is free again afterwards."""
    served = Served(pki=pki, tls={"key": str(tmp_path / "absent")})
    port = int(served.attachment.trouble.split(" ")[0].rpartition(":")[2])
    served.attachment.close(1.0)
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_unix_sockets_are_plain(pki: TestPki, tmp_path: Path) -> None:
    """TLS is for TCP: on a unix socket the kernel says who calls."""
    served = Served(pki=pki)
    path = str(tmp_path / "s")
    site = Site("unix", lambda _: Response(204), Limits())
    attachment = served.front.attach(site, [path], tls=served.tls)
    try:
        assert attachment.urls == (f"unix:{path}",)
        assert attachment.trouble == ""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            sock.sendall(PING)
            assert b" 204 " in sock.recv(65_536)
    finally:
        attachment.close(1.0)
        served.attachment.close(1.0)


# -- versions


@pytest.mark.parametrize("minimum", ["1.2", "1.3"])
def test_versions(serve_tls: Serve, pki: TestPki, minimum: str, caplog: pytest.LogCaptureFixture) -> None:
    """TLS 1.3 is used where the client has it; what is older than the minimum is refused with an alert."""
    served = serve_tls(tls={"minimum_version": minimum})
    with served.connect() as sock:
        assert sock.version() == "TLSv1.3"  # type: ignore[attr-defined]
        assert sock.selected_alpn_protocol() is None  # type: ignore[attr-defined]
    context = pki.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    if minimum == "1.2":
        with served.secured(served.dial(), context) as secured:
            assert secured.version() == "TLSv1.2"
            assert secured.selected_alpn_protocol() == "http/1.1"
            assert secured.compression() is None
        return
    with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
        served.secured(served.dial(), context)
    until(lambda: "versions of TLS that are too old" in caplog.text)


def test_sessions_are_not_resumed_by_tls13(serve_tls: Serve, pki: TestPki) -> None:
    """Each connection of TLS 1.3 proves itself anew."""
    served, context = serve_tls(), pki.context(pki.client("bob"))
    with served.secured(served.dial(), context) as first:
        first.sendall(PING)
        assert first.recv(65_536)
        session = first.session
    assert session is None or not session.has_ticket
    with served.secured(served.dial(), context) as second:
        assert not second.session_reused


def test_a_resumed_session_has_its_certificate(serve_tls: Serve, pki: TestPki) -> None:
    """TLS 1.2 may go on with a session: its certificate is still the caller's, until it expires."""
    served, peers = serve_tls(), []
    served.site.handler = lambda request: peers.append(request.peer) or Response(204)  # type: ignore[func-returns-value]
    context = pki.context(pki.client("bob"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with served.secured(served.dial(), context) as first:
        first.sendall(PING)
        assert first.recv(65_536)
        session = first.session
    for _ in range(2):
        sock = context.wrap_socket(served.dial(), server_hostname="localhost", session=session)
        with sock:
            assert sock.session_reused
            sock.sendall(PING)
            assert sock.recv(65_536)
    assert [peer.certificate.common_name for peer in peers] == ["bob"] * 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vdsm_http.tls.handshake.time", Later())
        sock = context.wrap_socket(served.dial(), server_hostname="localhost", session=session)
        with sock:
            assert all_of(sock) == b""
    assert len(peers) == 3


class Later:
    """The module `time` in ten years."""

    monotonic = staticmethod(time.monotonic)

    def time(self) -> float:
        return time.time() + 10 * 366 * 86_400


# -- reloading


def test_a_new_certificate_under_load(serve_tls: Serve, pki: TestPki) -> None:
    """While clients call, the certificate is replaced again and again: no call is lost, each is shown."""
    served = serve_tls()
    load = Load(served, 4)
    try:
        for _ in range(3):
            renewed = pki.renew()
            served.options = pki.tls_options()  # as a reload of the daemon gives it: equal, in a new object
            until(partial(is_shown, served, renewed))
            load.wait(50)
    finally:
        load.stop()
    assert load.errors == []


def test_a_bad_certificate_under_load(serve_tls: Serve, pki: TestPki) -> None:
    """A certificate that cannot be used costs no call either; the attachment reports it."""
    served = serve_tls()
    before = shown(served)
    load = Load(served, 2)
    try:
        pki.key.write_text("no key")
        served.options = pki.tls_options()
        until(lambda: "vdsmkey.pem: it is not usable as PEM" in served.attachment.trouble)
        load.wait(50)
        assert shown(served) == before
    finally:
        load.stop()
    assert load.errors == []


def shown(served: Served) -> bytes:
    """The certificate that a new connection is shown."""
    with served.connect() as sock:
        return sock.getpeercert(binary_form=True)  # type: ignore[attr-defined, no-any-return]


def is_shown(served: Served, certificate: bytes) -> bool:
    """Whether new connections get this certificate."""
    return shown(served) == certificate


class Load:
    """Clients that call without a pause, each request in turn on a new and on a kept connection."""

    def __init__(self, served: Served, clients: int) -> None:
        self.calls = 0
        self.errors: list[Any] = []
        self._served = served
        self._stopping = False
        self._pool = ThreadPoolExecutor(clients)
        self._clients = [self._pool.submit(self._call) for _ in range(clients)]

    def _call(self) -> None:
        with self._served.connect() as kept:
            while not self._stopping:
                try:
                    kept.sendall(PING)
                    assert b" 200 " in kept.recv(65_536)
                    assert self._served.get("/ping") == b"/ping"
                    self.calls += 2
                except (OSError, AssertionError) as error:
                    self.errors.append(error)
                    return

    def wait(self, count: int) -> None:
        """Wait for so many further calls."""
        enough = self.calls + count
        until(lambda: self.calls > enough or self.errors)

    def stop(self) -> None:
        self._stopping = True
        self._pool.shutdown()
        for client in self._clients:
            client.result()


def test_the_log_names_the_certificate(serve_tls: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A start with TLS says which certificate is used, and until when."""
    caplog.set_level(logging.INFO)
    serve_tls()
    assert "TLS uses the certificate" in caplog.text
    assert "valid until" in caplog.text
