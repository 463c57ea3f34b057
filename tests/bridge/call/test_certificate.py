"""What a certificate says of its owner."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from vdsm_bridge.call.certificate import Certificate

DER = b"not a certificate, but bytes"


def described(*subject: tuple[tuple[str, str], ...], names: Any = ()) -> Certificate:
    """A certificate as `getpeercert` describes it."""
    return Certificate.of({"subject": subject, "subjectAltName": names}, DER)


def test_members() -> None:
    """The subject is RFC 4514's, most specific part first; alternative names have their type."""
    certificate = described(
        (("countryName", "CZ"),),
        (("organizationName", "Example"),),
        (("commonName", "engine"), ("emailAddress", "root@example.org")),
        names=(("DNS", "engine.example.org"), ("IP Address", "192.0.2.7"), ("DirName", ((("a", "b"),),))),
    )
    assert certificate == Certificate(
        subject="CN=engine+emailAddress=root@example.org,O=Example,C=CZ",
        common_name="engine",
        alternative_names=("DNS:engine.example.org", "IP:192.0.2.7"),
        fingerprint=hashlib.sha256(DER).hexdigest(),
    )
    assert list(certificate.names()) == [
        certificate.subject,
        "engine",
        "DNS:engine.example.org",
        "IP:192.0.2.7",
    ]


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ("a,O=b", r"a\,O=b"),
        ('x+y"z\\;<>', r"x\+y\"z\\\;\<\>"),
        (" #a ", r"\ #a\ "),
        ("#1", r"\#1"),
        (" ", r"\ "),
        ("a\\ ", r"a\\\ "),
        ("a\0b", r"a\00b"),
    ],
)
def test_a_value_cannot_pretend_to_be_two(value: str, escaped: str) -> None:
    """Special characters of a value are escaped, so that one subject never reads like another one."""
    assert described((("commonName", value),)).subject == f"CN={escaped}"


def test_names() -> None:
    """The name in logs is the common name, else the subject, else the fingerprint."""
    assert described((("commonName", "a"),), (("commonName", "b"),)).name == "b"
    assert described((("organizationName", "o"),)).name == "O=o"
    assert described().name == hashlib.sha256(DER).hexdigest()
