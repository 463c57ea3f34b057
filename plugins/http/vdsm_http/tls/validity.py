"""The dates of a certificate, and what identifies it, read from its DER form.

The standard library reads dates of peers only, and issuers as text.
"""

from __future__ import annotations

import ssl
from datetime import datetime
from typing import Final

from vdsm_http.tls.der import INTEGER, SEQUENCE, content, date, first, rest

_VERSION: Final = 0xA0
_END: Final = "-----END CERTIFICATE-----"


def first_certificate(pem: str) -> bytes:
    """Return the first certificate of a PEM file in DER form.

    :raises ValueError: there is none
    """
    begin, found, _ = pem.partition(_END)
    at = begin.rfind("-----BEGIN CERTIFICATE-----")
    if not found or at < 0:
        raise ValueError("there is no certificate in PEM form")
    return ssl.PEM_cert_to_DER_cert(begin[at:] + found)


def validity(der: bytes) -> tuple[datetime, datetime]:
    """Return from when until when a certificate is valid (RFC 5280, section 4.1).

    :raises ValueError: it is not a certificate
    """
    try:
        dates = content(_after_issuer(_fields(der)), SEQUENCE)
        return date(dates), date(rest(dates))
    except IndexError:
        raise ValueError("the certificate is cut short") from None
    except ValueError as error:
        raise ValueError(f"the certificate is damaged: {error}") from None


def identity(der: bytes) -> tuple[bytes, bytes]:
    """Return the issuer of a certificate in DER form, and its serial number.

    :raises ValueError: it is not a certificate
    """
    try:
        fields = _fields(der)
        return first(rest(rest(fields))), content(fields, INTEGER)
    except IndexError:
        raise ValueError("the certificate is cut short") from None
    except ValueError as error:
        raise ValueError(f"the certificate is damaged: {error}") from None


def _fields(der: bytes) -> bytes:
    """Return the fields from the serial number on."""
    fields = content(content(der, SEQUENCE), SEQUENCE)
    return rest(fields) if fields[0] == _VERSION else fields


def _after_issuer(fields: bytes) -> bytes:
    for _ in ("serial number", "algorithm", "issuer"):
        fields = rest(fields)
    return fields
