"""A certificate authority for trials: its own certificate, and those that it signs.

Keys are elliptic (P-256). The library `cryptography` is needed here only, not by the daemon.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: Certificates are dated back by this, so that a machine whose clock is behind accepts them at once.
_SKEW: Final = dt.timedelta(hours=1)
#: A host is a client of other hosts when it migrates a machine.
_PURPOSES: Final = {
    "host": [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
    "server": [ExtendedKeyUsageOID.SERVER_AUTH],
    "client": [ExtendedKeyUsageOID.CLIENT_AUTH],
}
Purpose = Literal["host", "server", "client"]


class Issued(NamedTuple):
    """A certificate and its key, both in PEM form."""

    certificate: bytes
    key: bytes


class Authority:
    """A CA. `create` makes a new one, `load` uses an existing one.

    :param now: the time that certificates begin with, in UTC
    """

    def __init__(
        self,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        *,
        now: dt.datetime | None = None,
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._now = now or dt.datetime.now(dt.UTC)

    @classmethod
    def create(cls, name: str, *, days: int, now: dt.datetime | None = None) -> Authority:
        """Return a new CA of a name, valid for some days."""
        key = ec.generate_private_key(ec.SECP256R1())
        begin = now or dt.datetime.now(dt.UTC)
        subject = _subject(name)
        builder = _builder(subject, subject, key.public_key(), begin, days).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(usage, critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key, now=now)

    @classmethod
    def load(cls, certificate: bytes, key: bytes, *, now: dt.datetime | None = None) -> Authority:
        """Return the CA with this certificate and key, in PEM form.

        :raises ValueError: one of them cannot be read, or the key is not an elliptic one
        """
        private = serialization.load_pem_private_key(key, None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError("the key of the CA is not an elliptic one")  # noqa: TRY004 - the file is bad
        return cls(x509.load_pem_x509_certificate(certificate), private, now=now)

    @property
    def files(self) -> Issued:
        """The certificate and the key of the CA itself."""
        return Issued(_pem(self._certificate), _key_pem(self._key))

    def issue(
        self,
        name: str,
        *,
        purpose: Purpose,
        days: int,
        alternative_names: Sequence[str] = (),
    ) -> Issued:
        """Return a new certificate.

        :param name: the common name of its subject
        :param purpose: the role of its holder: a host (server and client), a server, or a client
        :param alternative_names: host names and IP addresses
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_subject(name), self._certificate.subject, key.public_key(), self._now, days)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_PURPOSES[purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if alternative_names:
            names = x509.SubjectAlternativeName([_general_name(each) for each in alternative_names])
            builder = builder.add_extension(names, critical=False)
        return Issued(_pem(builder.sign(self._key, hashes.SHA256())), _key_pem(key))

    def revoke(self, certificate: bytes, earlier: bytes | None = None) -> bytes | None:
        """Return a revocation list with a certificate and those of an earlier list, in PEM form.

        The list is valid as long as the CA: it is a file of the host, which no client fetches anew.

        :returns: None if the earlier list has the certificate
        :raises ValueError: the certificate or the list is not one of this CA
        """
        serial = self._own(certificate)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(self._now - _SKEW)
            .next_update(_end(self._certificate))
        )
        number = 1
        if earlier is not None:
            before = x509.load_pem_x509_crl(earlier)
            if not before.is_signature_valid(self._key.public_key()):
                raise ValueError("the revocation list is of another CA")
            for each in before:
                builder = builder.add_revoked_certificate(each)
            if before.get_revoked_certificate_by_serial_number(serial) is not None:
                return None
            number += before.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(self._now)
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            builder.add_revoked_certificate(entry.build())
            .add_extension(signer, critical=False)
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _own(self, pem: bytes) -> int:
        """Return the serial number of a certificate of this CA.

        :raises ValueError: it is not one
        """
        certificate = x509.load_pem_x509_certificate(pem)
        try:
            algorithm = ec.ECDSA(certificate.signature_hash_algorithm or hashes.SHA256())
            self._key.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes, algorithm)
        except InvalidSignature:
            raise ValueError("the certificate is of another CA") from None
        if certificate.serial_number == self._certificate.serial_number:
            raise ValueError("it is the certificate of the CA itself")
        return certificate.serial_number


def _end(certificate: x509.Certificate) -> dt.datetime:
    # `not_valid_after` is deprecated, but cryptography 38 of Debian 12 has no other.
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_after_utc
    return certificate.not_valid_after.replace(tzinfo=dt.UTC)


def common_name(certificate: bytes) -> str:
    """Return the common name of a certificate in PEM form.

    :raises ValueError: it is not a certificate, or has no common name
    """
    names = x509.load_pem_x509_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names:
        raise ValueError("the certificate has no common name")
    return str(names[0].value)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begin: dt.datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _SKEW)
        .not_valid_after(begin + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
