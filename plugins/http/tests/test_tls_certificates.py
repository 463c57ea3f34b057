"""The certificate of a host: it follows its files, keeps what works, and warns before its end."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from vdsm_bridge.config import TlsOptions
from vdsm_bridge.testing import Clock
from vdsm_bridge.testing.certificates import TestPki
from vdsm_bridge.tool.pki_authority import Authority
from vdsm_core.config import system_folders
from vdsm_http.tls.certificates import Certificates


class Following:
    """Certificates whose time and options a test moves."""

    def __init__(self, pki: TestPki, **options: Any) -> None:
        self.clock = Clock()
        self.today = dt.datetime.now(dt.UTC)
        self.options = pki.tls_options(**options)
        self.certificates = Certificates(lambda: self.options, clock=self.clock, today=lambda: self.today)

    def shown(self) -> bytes:
        """The certificate that a client is shown, in DER form."""
        ours, theirs = (ssl.MemoryBIO(), ssl.MemoryBIO()), (ssl.MemoryBIO(), ssl.MemoryBIO())
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        server = self.certificates.context(remote=False).wrap_bio(*ours, server_side=True)
        client = trusting.wrap_bio(*theirs)
        for _ in range(4):
            for side in (client, server):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
                ours[0].write(theirs[1].read())
                theirs[0].write(ours[1].read())
        return client.getpeercert(binary_form=True) or b""


def test_new_files_are_used(pki: TestPki) -> None:
    """A replaced certificate is shown from the next look on, and looks are seconds apart."""
    following = Following(pki)
    following.certificates.refresh()
    first = following.shown()
    assert not following.certificates.due()
    renewed = pki.renew()
    assert not following.certificates.due()
    following.clock.move(2.5)
    assert following.certificates.due()
    following.certificates.refresh()
    assert following.shown() == renewed != first
    assert not following.certificates.due()


def test_a_reload_is_a_reason_to_look(pki: TestPki) -> None:
    """After a reload the next connection looks at once, whatever has changed."""
    following = Following(pki)
    following.certificates.refresh()
    assert not following.certificates.due()
    following.options = pki.tls_options()
    assert following.certificates.due()
    following.certificates.refresh()
    assert not following.certificates.due()
    following.options = pki.tls_options(minimum_version="1.3")
    assert following.certificates.due()
    following.certificates.refresh()
    assert following.certificates.context(remote=True).minimum_version == ssl.TLSVersion.TLSv1_3


def break_key(pki: TestPki) -> None:
    """Leave the key of another certificate."""
    pki.key.write_bytes(pki.issue("other").key)


def lock_key(pki: TestPki) -> None:
    """Leave a key that needs a passphrase."""
    key = serialization.load_pem_private_key(pki.key.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"hush")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pki.key.write_bytes(key.private_bytes(pem, form, secret))


#: What may be wrong with files: how, and what is reported.
FAULTS: dict[str, tuple[Callable[[TestPki], Any], str]] = {
    "absent": (lambda pki: pki.certificate.unlink(), "vdsmcert.pem: No such file.*vdsm-tool pki init"),
    "no certificate": (
        lambda pki: pki.certificate.write_text("hello"),
        "vdsmcert.pem: there is no certificate",
    ),
    "not text": (lambda pki: pki.certificate.write_bytes(b"\xff\xfe"), "vdsmcert.pem: 'ascii' codec"),
    "other key": (break_key, "vdsmkey.pem: the key does not belong to the certificate"),
    "passphrase": (lock_key, "vdsmkey.pem: the key has a passphrase"),
    "no key": (lambda pki: pki.key.write_text("hello"), "vdsmkey.pem: it is not usable as PEM"),
    "open key": (lambda pki: pki.key.chmod(0o644), "every user of this host can read it"),
    "no CA": (lambda pki: pki.ca.write_text("hello"), "cacert.pem: it is not usable as PEM"),
    "expired": (lambda pki: pki.renew(days=-2), "vdsmcert.pem: it expired on"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_files_change_nothing(pki: TestPki, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    """Files that cannot be used leave the earlier ones in force, and are reported once until they change."""
    following = Following(pki)
    following.certificates.refresh()
    shown, good = following.shown(), pki.key.read_bytes()
    damage, reason = FAULTS[fault]
    damage(pki)
    for _ in range(3):
        following.clock.move(2.5)
        following.certificates.refresh()
    assert following.shown() == shown
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert re.search(reason, errors[0])
    assert following.certificates.trouble() == errors[0]
    assert "The earlier one stays in use" in errors[0]
    pki.key.write_bytes(good)
    pki.ca.write_bytes(pki.authority.files.certificate)
    pki.key.chmod(0o600)
    renewed = pki.renew()
    following.clock.move(2.5)
    assert following.certificates.trouble() == ""
    assert following.shown() == renewed


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "expired"])
def test_bad_files_at_the_start(pki: TestPki, fault: str) -> None:
    """Without earlier ones there is nothing to go on with."""
    damage, reason = FAULTS[fault]
    damage(pki)
    following = Following(pki)
    following.certificates.refresh()
    assert not following.certificates.usable
    assert re.search(reason, following.certificates.trouble())


def test_bad_ciphers(pki: TestPki) -> None:
    """A list of ciphers that matches none is refused by name."""
    assert "no cipher suite matches 'CAESAR'" in Following(pki, ciphers="CAESAR").certificates.trouble()


def test_the_end_is_announced(pki: TestPki, caplog: pytest.LogCaptureFixture) -> None:
    """From 30 days before its end on a certificate is reported, in the log once a day."""
    following = Following(pki, expiry_warning=30.0)
    pki.renew(days=90)
    following.certificates.refresh()
    assert following.certificates.trouble() == ""
    following.today += dt.timedelta(days=61)
    for _ in range(10):
        assert "expires on" in following.certificates.trouble()
    assert "in 28 days" in following.certificates.trouble()
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    following.clock.move(90_000)
    following.today += dt.timedelta(days=40)
    assert "clients refuse it" in following.certificates.trouble()
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 2
    pki.renew(days=90)
    assert "expired on" in following.certificates.trouble(), "the new one has expired by then, too"


def test_an_expired_one_is_better_than_none(pki: TestPki) -> None:
    """A host starts with an expired certificate, and says so."""
    pki.renew(days=-3)
    following = Following(pki)
    following.certificates.refresh()
    assert "clients refuse it" in following.certificates.trouble()


def test_whose_certificates_are_asked_for(pki: TestPki) -> None:
    """By default those of callers on other machines."""
    required, optional = ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL
    for option, modes in (
        ("remote", (optional, required)),
        ("required", (required, required)),
        ("optional", (optional, optional)),
    ):
        following = Following(pki, client_certificates=option)
        following.certificates.refresh()
        found = tuple(following.certificates.context(remote=remote).verify_mode for remote in (False, True))
        assert found == modes


def test_what_tls_is_not_used_for(pki: TestPki) -> None:
    """No compression, no renegotiation, nothing before TLS 1.2, and no tickets of TLS 1.3."""
    following = Following(pki)
    following.certificates.refresh()
    context = following.certificates.context(remote=True)
    for option in (ssl.OP_NO_COMPRESSION, ssl.OP_NO_RENEGOTIATION):
        assert option in context.options
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.num_tickets == 0
    for suite in context.get_ciphers():
        assert suite["aead"]


def test_defaults_are_vdsms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The files of a service have the paths of VDSM; those of other daemons are in folders of the user."""
    with system_folders():
        options = TlsOptions()
    assert options.certificate == "/etc/pki/vdsm/certs/vdsmcert.pem"
    assert options.key == "/etc/pki/vdsm/keys/vdsmkey.pem"
    assert options.ca == "/etc/pki/vdsm/certs/cacert.pem"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert TlsOptions().key == f"{tmp_path}/vdsm/pki/keys/vdsmkey.pem"


def test_a_foreign_ca(pki: TestPki) -> None:
    """The files of two CAs do not have to belong together: clients may have another one than hosts."""
    pki.ca.write_bytes(Authority.create("Clients", days=30).files.certificate)
    following = Following(pki)
    following.certificates.refresh()
    assert following.certificates.trouble() == ""
