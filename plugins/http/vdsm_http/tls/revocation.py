"""The certificate revocation lists (CRLs) of `[tls] crl`.

OpenSSL checks them in handshakes. They are read here, too, for what it does not report: when they expire, and
whose connections were made before their certificate was revoked.
"""

from __future__ import annotations

import binascii
import re
from datetime import datetime
from typing import Final, NamedTuple

from vdsm_http.tls.der import DATES, INTEGER, SEQUENCE, content, date, elements, first, rest
from vdsm_http.tls.validity import identity

_BEGIN: Final = "-----BEGIN X509 CRL-----"
_PEM: Final = re.compile(_BEGIN + r"([A-Za-z0-9+/=\s]*)-----END X509 CRL-----")


class Revocations(NamedTuple):
    """What the lists of one file contain.

    :ivar revoked: issuer in DER form and serial number of each revoked certificate
    :ivar expires: when the first of the lists expires; None: no list has a date
    """

    revoked: frozenset[tuple[bytes, bytes]] = frozenset()
    expires: datetime | None = None

    def covers(self, certificate: bytes) -> bool:
        """Return whether a certificate in DER form is revoked.

        :raises ValueError: it is not a certificate
        """
        return bool(self.revoked) and identity(certificate) in self.revoked


def read(pem: str) -> Revocations:
    """Read the lists of a PEM file. Signatures are not checked: OpenSSL does that for each certificate.

    :raises ValueError: there is none, or one of them is damaged
    """
    blocks = _PEM.findall(pem)
    if not blocks:
        raise ValueError("there is no certificate revocation list in PEM form")
    if len(blocks) != pem.count(_BEGIN):
        raise ValueError("a certificate revocation list in it has no end")
    found = [_read(binascii.a2b_base64(text)) for text in blocks]
    ends = [one.expires for one in found if one.expires is not None]
    return Revocations(frozenset().union(*(one.revoked for one in found)), min(ends, default=None))


def _read(der: bytes) -> Revocations:
    """Read one list (RFC 5280, section 5.1)."""
    try:
        fields = content(content(der, SEQUENCE), SEQUENCE)
        if fields[0] == INTEGER:
            fields = rest(fields)  # the version
        issuer, fields = first(rest(fields)), rest(rest(rest(fields)))  # after algorithm, issuer, date
        expires = None
        if fields and fields[0] in DATES:
            expires, fields = date(fields), rest(fields)
        entries = content(fields, SEQUENCE) if fields and fields[0] == SEQUENCE else b""
        serials = (content(content(entry, SEQUENCE), INTEGER) for entry in elements(entries))
        return Revocations(frozenset((issuer, serial) for serial in serials), expires)
    except IndexError:
        raise ValueError("the certificate revocation list is cut short") from None
    except ValueError as error:
        raise ValueError(f"the certificate revocation list is damaged: {error}") from None
