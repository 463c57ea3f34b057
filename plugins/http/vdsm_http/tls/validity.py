"""The dates of a certificate, read from its DER form; the standard library reads them of peers only."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Final

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
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
        certificate = _content(der, _SEQUENCE)
        fields = _content(certificate, _SEQUENCE)
        if fields[0] == _VERSION:
            fields = _rest(fields)
        for _ in ("serial number", "algorithm", "issuer"):
            fields = _rest(fields)
        dates = _content(fields, _SEQUENCE)
        return _date(dates), _date(_rest(dates))
    except IndexError:
        raise ValueError("the certificate is cut short") from None


def _header(data: bytes) -> tuple[int, int]:
    """Return where the content of the first element begins, and where it ends."""
    length, begin = data[1], 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(data[2:begin], "big")
    if begin + length > len(data):
        raise IndexError
    return begin, begin + length


def _content(data: bytes, tag: int) -> bytes:
    if data[0] != tag:
        raise ValueError(f"the certificate has 0x{data[0]:02x} where 0x{tag:02x} belongs")
    begin, end = _header(data)
    return data[begin:end]


def _rest(data: bytes) -> bytes:
    return data[_header(data)[1] :]


def _date(data: bytes) -> datetime:
    text = _content(data, data[0]).decode("ascii")
    if data[0] == _UTC_TIME:
        # Two digits: 50 to 99 are of the twentieth century (RFC 5280, section 4.1.2.5.1).
        text = ("19" if text >= "5" else "20") + text
    elif data[0] != _GENERALIZED_TIME:
        raise ValueError("the certificate has no dates")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
