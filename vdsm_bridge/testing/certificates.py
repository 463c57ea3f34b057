"""Certificates for tests of TLS: a CA, a host's files in VDSM's layout, and clients. Needs `cryptography`."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vdsm_bridge.config import TlsOptions
from vdsm_bridge.tool.pki_authority import Authority, Issued, Purpose

__all__ = ["ClientFiles", "TestPki"]


class ClientFiles(NamedTuple):
    """Where a client has its certificate and its key."""

    certificate: Path
    key: Path


class TestPki:
    """A folder with the files of a host whose CA is at hand.

    :param folder: where the files go
    """

    __test__ = False  # the name begins like a test's

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority.create("Test CA", days=3_650)
        self.ca = folder / "certs" / "cacert.pem"
        self.certificate = folder / "certs" / "vdsmcert.pem"
        self.key = folder / "keys" / "vdsmkey.pem"
        #: Revocation lists; written by `revoke`, and not among the options of `tls_options` by itself.
        self.crl = folder / "certs" / "crl.pem"
        for path in (self.ca, self.key):
            path.parent.mkdir(parents=True, exist_ok=True)
        self.ca.write_bytes(self.authority.files.certificate)
        self.renew()

    def renew(self, *, days: int = 365, names: Sequence[str] = ("localhost", "127.0.0.1", "::1")) -> bytes:
        """Give the host a new certificate; return it in DER form. Each file is replaced in one step.

        :param days: how long it is valid; a negative number makes one that has expired
        """
        issued = self.issue("host", purpose="host", days=days, names=names)
        _replace(self.key, issued.key)
        _replace(self.certificate, issued.certificate)
        return ssl.PEM_cert_to_DER_cert(issued.certificate.decode())

    def issue(
        self,
        name: str,
        *,
        purpose: Purpose = "client",
        days: int = 365,
        names: Sequence[str] = (),
    ) -> Issued:
        """Return a certificate of the CA; a negative number of days makes one that has expired."""
        authority = self.authority
        if days < 0:
            # It ended so many days ago, after a day.
            then = dt.datetime.now(dt.UTC) + dt.timedelta(days=days - 1)
            files = authority.files
            authority = Authority.load(files.certificate, files.key, now=then)
            days = 1
        return authority.issue(name, purpose=purpose, days=days, alternative_names=names)

    def client(self, name: str, *, days: int = 365, names: Sequence[str] = ()) -> ClientFiles:
        """Write the files of a client."""
        return self.write(name, self.issue(name, days=days, names=names))

    def write(self, name: str, issued: Issued) -> ClientFiles:
        """Write a certificate and its key, wherever they are from."""
        files = ClientFiles(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        files.certificate.write_bytes(issued.certificate)
        files.key.touch(0o600)
        files.key.write_bytes(issued.key)
        return files

    def revoke(self, *clients: ClientFiles) -> None:
        """Add the certificates of clients to the revocation list, in one step."""
        lists = self.crl.read_bytes() if self.crl.exists() else None
        for client in clients:
            lists = self.authority.revoke(client.certificate.read_bytes(), lists) or lists
        _replace(self.crl, lists or b"")

    @property
    def options(self) -> dict[str, str]:
        """The table `[tls]` of the host."""
        return {"certificate": str(self.certificate), "key": str(self.key), "ca": str(self.ca)}

    def tls_options(self, **others: object) -> TlsOptions:
        """The same as options."""
        return TlsOptions(**{**self.options, **others})  # type: ignore[arg-type]

    def context(self, client: ClientFiles | None = None) -> ssl.SSLContext:
        """Return the context of a client that trusts the CA, and shows a certificate if it is given one."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        return context


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.touch(0o600)
    fresh.write_bytes(content)
    fresh.replace(path)
