"""The dates of a certificate, held against what the library `cryptography` writes."""

from __future__ import annotations

import datetime as dt
import ssl

import pytest

from vdsm_bridge.tool.pki_authority import Authority
from vdsm_http.tls.validity import first_certificate, validity

BEGIN = dt.datetime(2048, 6, 1, 12, 30, 15, tzinfo=dt.UTC)


@pytest.mark.parametrize("days", [1, 1_000, 10_000])
@pytest.mark.parametrize("begin", [BEGIN, dt.datetime(1999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)])
def test_dates(begin: dt.datetime, days: int) -> None:
    """Dates up to 2049 have two digits for the year, later ones four."""
    pem = Authority.create("CA", days=days, now=begin).files.certificate.decode()
    dates = validity(first_certificate(f"a word before it\n{pem}{pem}"))
    assert dates == (begin - dt.timedelta(hours=1), begin + dt.timedelta(days=days))


def test_what_is_no_certificate() -> None:
    """A certificate that is cut anywhere, and other bytes, are refused; nothing else is raised."""
    der = ssl.PEM_cert_to_DER_cert(Authority.create("CA", days=1).files.certificate.decode())
    for data in (
        b"",
        b"\x30",
        b"\x30\x82",
        b"\x30\xff" + bytes(300),
        *(der[:end] for end in range(0, 300, 7)),
    ):
        with pytest.raises(ValueError, match="certificate"):
            validity(data)


@pytest.mark.parametrize("text", ["", "-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"])
def test_what_is_no_pem(text: str) -> None:
    """A file without a certificate is refused."""
    with pytest.raises(ValueError, match="no certificate in PEM form"):
        first_certificate(text)
