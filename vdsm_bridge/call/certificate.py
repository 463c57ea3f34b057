"""The client certificate of a caller, verified by the transport."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

#: Short names of attribute types (RFC 4514, section 3), by the names that OpenSSL gives them.
_SHORT: Final = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
#: Kinds of alternative names whose name is another one here.
_KINDS: Final = {"IP Address": "IP"}
#: Characters that are escaped wherever they stand in a value (RFC 4514, section 2.4).
_SPECIAL: Final = re.compile(r'([\\"+,;<>])')


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A verified client certificate: the chain, the dates and the possession of the key have been checked.

    Only a transport that has verified the certificate itself may make one, never a header of a request.
    """

    #: Subject as an RFC 4514 string, most specific part first: `CN=engine,O=Example`.
    subject: str
    #: The common name of the subject; empty if it has none. Of several the most specific one.
    common_name: str = ""
    #: Subject alternative names, each with its type: `DNS:engine.example.org`, `IP:192.0.2.7`.
    alternative_names: tuple[str, ...] = ()
    #: SHA-256 of the certificate in DER form, as lower-case hexadecimal text.
    fingerprint: str

    @classmethod
    def of(cls, described: Mapping[str, Any], der: bytes) -> Certificate:
        """Return the certificate that `ssl.SSLSocket.getpeercert` describes.

        :param described: what `getpeercert()` returned
        :param der: what `getpeercert(binary_form=True)` returned
        """
        subject = described.get("subject", ())
        common = [value for part in subject for name, value in part if name == "commonName"]
        return cls(
            subject=",".join(map(_part, reversed(subject))),
            common_name=common[-1] if common else "",
            alternative_names=tuple(
                f"{_KINDS.get(kind, kind)}:{name}"
                for kind, name in described.get("subjectAltName", ())
                if isinstance(name, str)  # a directory name is a structure, and names no caller
            ),
            fingerprint=hashlib.sha256(der).hexdigest(),
        )

    @property
    def name(self) -> str:
        """The name of the caller in logs: the common name, else the subject, else the fingerprint."""
        return self.common_name or self.subject or self.fingerprint

    def names(self) -> Iterator[str]:
        """Yield the names by which rules match the certificate: subject, common name, alternative names."""
        if self.subject:
            yield self.subject
        if self.common_name:
            yield self.common_name
        yield from self.alternative_names


def _part(attributes: tuple[tuple[str, str], ...]) -> str:
    """Return one relative distinguished name; one with several attributes joins them by `+`."""
    return "+".join(f"{_SHORT.get(name, name)}={_escaped(value)}" for name, value in attributes)


def _escaped(value: str) -> str:
    text = _SPECIAL.sub(r"\\\1", value).replace("\0", "\\00")
    if value[:1] in {" ", "#"}:
        text = f"\\{text}"
    # A single blank is the first character as well as the last one, and escaped already.
    return f"{text[:-1]}\\ " if value.endswith(" ") and len(value) > 1 else text
