"""Revocation lists: who is on one is refused and disconnected; without a valid list, all certificates are."""

from __future__ import annotations

import contextlib
import datetime as dt
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from vdsm_bridge.testing.certificates import ClientFiles, TestPki
from vdsm_bridge.testing.polling import until
from vdsm_bridge.tool.pki_authority import Authority
from vdsm_http.tls.revocation import read
from vdsm_http.tls.validity import identity

from .conftest import PING, Served

Serve = Callable[..., Served]


def list_of(authority: Authority, *, days: float, serials: Sequence[int] = ()) -> bytes:
    """A list of a CA that ends so many days from now; without a date if that is 0."""
    files = authority.files
    key = serialization.load_pem_private_key(files.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.load_pem_x509_certificate(files.certificate).subject)
        .last_update(now - dt.timedelta(days=60))
        .next_update(now + dt.timedelta(days=days))
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def der(client: ClientFiles) -> bytes:
    """The certificate of a client in DER form."""
    return ssl.PEM_cert_to_DER_cert(client.certificate.read_text())


def answer(served: Served, context: ssl.SSLContext) -> bytes:
    """The reply to a request on a new connection."""
    with served.secured(served.dial(), context) as sock:
        sock.sendall(PING)
        return sock.recv(65_536)


def is_refused(served: Served, pki: TestPki, client: ClientFiles | None) -> bool:
    """Whether a new connection of a client ends with an alert."""
    context = pki.context(client)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # the alert arrives within the handshake
    try:
        return not answer(served, context).startswith(b"HTTP/1.1 200 ")
    except ssl.SSLError:
        return True


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_revoked_clients(
    serve_tls: Serve, pki: TestPki, caplog: pytest.LogCaptureFixture, version: ssl.TLSVersion
) -> None:
    """Of two clients of a CA, the one on the list is refused, and the log says why."""
    bob, eve = pki.client("bob"), pki.client("eve")
    pki.revoke(eve)
    served = serve_tls(tls={"crl": str(pki.crl)})
    assert served.get("/ping", bob) == served.get("/ping") == b"/ping"
    context = pki.context(eve)
    context.maximum_version = version
    with pytest.raises(ssl.SSLError, match=r"(?i)revoked"):
        answer(served, context)
    until(lambda: "its certificate is not accepted: certificate revoked" in caplog.text)
    assert served.attachment.trouble == ""


def test_a_list_that_changes(serve_tls: Serve, pki: TestPki) -> None:
    """A new list needs no reload. It ends the connections of those on it, streams too, and no others."""
    bob, eve, mallory = pki.client("bob"), pki.client("eve"), pki.client("mallory")
    pki.revoke(mallory)
    served = serve_tls(tls={"crl": str(pki.crl)})
    kept, ended, stream = served.connect(bob), served.connect(eve), served.connect(eve)
    with kept, ended, stream:
        for sock in (kept, ended):
            sock.sendall(PING)
            assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")
        stream.sendall(b"GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        assert stream.recv(65_536).startswith(b"HTTP/1.1 101 ")
        pki.revoke(eve)
        # No other connection is made meanwhile: the files are looked at nevertheless.
        for sock in (ended, stream):
            sock.settimeout(30)
            with contextlib.suppress(ConnectionError):  # it may be broken rather than ended
                assert sock.recv(65_536) == b""
        kept.sendall(PING)
        assert kept.recv(65_536).startswith(b"HTTP/1.1 200 ")
    assert is_refused(served, pki, eve)
    assert is_refused(served, pki, mallory)
    assert not is_refused(served, pki, bob)


def cut_short(pki: TestPki) -> None:
    """Leave the first half of a list, as one who copies it does for a moment."""
    pki.crl.write_bytes(pki.crl.read_bytes()[:200])


def end_list(pki: TestPki) -> None:
    """Leave a list that has expired, and revokes nothing."""
    pki.crl.write_bytes(list_of(pki.authority, days=-3))


FAULTS: dict[str, tuple[Callable[[TestPki], object], str]] = {
    "absent": (lambda pki: pki.crl.unlink(), "crl.pem: No such file or directory"),
    "empty": (lambda pki: pki.crl.write_text(""), "there is no certificate revocation list in PEM form"),
    "cut short": (cut_short, "there is no certificate revocation list in PEM form"),
    "half of two": (
        lambda pki: pki.crl.write_bytes(pki.crl.read_bytes() + pki.crl.read_bytes()[:200]),
        "a certificate revocation list in it has no end",
    ),
    "not text": (lambda pki: pki.crl.write_bytes(b"\xff\xfe"), "'ascii' codec"),
    "a certificate": (
        lambda pki: pki.crl.write_bytes(pki.ca.read_bytes()),
        "there is no certificate revocation list in PEM form",
    ),
    "expired": (end_list, "expired on"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_list_instead_of_a_good_one(
    serve_tls: Serve, pki: TestPki, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The earlier list stays in use: who is on it is refused. Log and health name the file and the reason."""
    bob, eve = pki.client("bob"), pki.client("eve")
    pki.revoke(eve)
    served = serve_tls(tls={"crl": str(pki.crl)})
    damage, reason = FAULTS[fault]
    damage(pki)
    until(lambda: reason in served.attachment.trouble)
    assert served.attachment.trouble in caplog.text
    assert "certificate revocation lists" in served.attachment.trouble
    assert is_refused(served, pki, eve)
    assert not is_refused(served, pki, bob)
    pki.crl.write_bytes(list_of(pki.authority, days=9))
    until(lambda: served.attachment.trouble == "")
    assert not is_refused(served, pki, eve)


@pytest.mark.parametrize("begin", ["at the start", "at a reload"])
@pytest.mark.parametrize("fault", FAULTS)
def test_without_an_earlier_list(
    serve_tls: Serve, pki: TestPki, fault: str, begin: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A list that is asked for and cannot be used lets no certificate in; callers without one are served."""
    bob, eve = pki.client("bob"), pki.client("eve")
    pki.revoke(eve)
    damage, reason = FAULTS[fault]
    damage(pki)
    options = {"crl": str(pki.crl)}
    served = serve_tls(tls=options if begin == "at the start" else {})
    served.options = pki.tls_options(**options)
    until(lambda: reason in served.attachment.trouble)
    until(lambda: is_refused(served, pki, bob))
    assert is_refused(served, pki, eve)
    assert not is_refused(served, pki, None)
    assert "revocation list" in caplog.text
    assert "Client certificates are refused" in caplog.text or "are refused. Replace it" in caplog.text
    pki.crl.unlink(missing_ok=True)
    pki.revoke(eve)
    until(lambda: served.attachment.trouble == "")
    assert not is_refused(served, pki, bob)
    assert is_refused(served, pki, eve)


def test_a_ca_without_a_list(serve_tls: Serve, pki: TestPki, caplog: pytest.LogCaptureFixture) -> None:
    """Certificates of a CA without a list are refused; with the lists of both CAs in the file, none is."""
    other = Authority.create("Other CA", days=30)
    pki.ca.write_bytes(pki.authority.files.certificate + other.files.certificate)
    bob = pki.client("bob")
    eve = pki.write("eve", other.issue("eve", purpose="client", days=9))
    pki.crl.write_bytes(list_of(pki.authority, days=9))
    served = serve_tls(tls={"crl": str(pki.crl)})
    assert not is_refused(served, pki, bob)
    assert is_refused(served, pki, eve)
    until(lambda: "unable to get certificate CRL" in caplog.text)
    pki.crl.write_bytes(list_of(pki.authority, days=9) + list_of(other, days=9))
    until(lambda: not is_refused(served, pki, eve))
    assert not is_refused(served, pki, bob)


def test_a_forged_list(serve_tls: Serve, pki: TestPki) -> None:
    """A list that another key has signed in the name of the CA is none: its certificates are refused."""
    forged = Authority.create("Test CA", days=30)
    pki.crl.write_bytes(list_of(forged, days=9))
    served = serve_tls(tls={"crl": str(pki.crl)})
    assert is_refused(served, pki, pki.client("bob"))


@pytest.mark.parametrize("count", [0, 1, 300])
def test_reading(pki: TestPki, tmp_path: Path, count: int) -> None:
    """Lists have the serial numbers of one issuer each; the first one to expire says when the file does."""
    other = Authority.create("Other CA", days=30)
    bob = pki.client("bob")
    serial = x509.load_pem_x509_certificate(bob.certificate.read_bytes()).serial_number
    serials = [serial, *range(1, count)] if count else []
    found = read((list_of(other, days=5, serials=serials) + list_of(pki.authority, days=9)).decode())
    assert len(found.revoked) == count
    assert not found.covers(der(bob)), "a number of another CA is another certificate"
    assert found.expires is not None
    assert abs(found.expires - dt.datetime.now(dt.UTC) - dt.timedelta(days=5)) < dt.timedelta(hours=1)
    assert read(list_of(pki.authority, days=9, serials=serials).decode()).covers(der(bob)) is bool(count)


def test_damaged_lists(pki: TestPki) -> None:
    """A list that is cut anywhere is refused, and so is a certificate; nothing else is raised."""
    whole = list_of(pki.authority, days=9, serials=[1, 2, 3])
    data = x509.load_pem_x509_crl(whole).public_bytes(serialization.Encoding.DER)
    certificate = der(pki.client("bob"))
    for end in range(0, len(data) - 1, 3):
        pem = ssl.DER_cert_to_PEM_cert(data[:end]).replace("CERTIFICATE", "X509 CRL")
        with pytest.raises(ValueError, match="revocation list"):
            read(pem)
    for end in range(0, 100, 7):
        with pytest.raises(ValueError, match="certificate"):
            identity(certificate[:end])
