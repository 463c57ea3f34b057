"""The other hosts whose API this host calls when a machine is migrated to them."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from vdsm_bridge.transport import Credentials, Transport, Unreachable, open_transport
from vdsm_core.config import TlsOptions

#: Schemes on which the other host proves its name by a certificate before anything is sent to it.
VERIFIED: Final = ("https", "xmlrpcs", "amqps")


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """How this host proves to others who it is: the paths of files. Empty members are those of `[tls]`.

    :ivar token: the file with a bearer token; empty: none
    :ivar timeout: seconds that a call to another host may take
    """

    token: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    timeout: float = 60.0


class Peers:
    """The configured hosts. A host that no pattern names is not called.

    :param urls: the URL of the API, with `{host}`, by shell patterns of the host in `dst`
    """

    def __init__(self, urls: Mapping[str, str], proof: Proof, tls: TlsOptions) -> None:
        self._urls = urls
        self._proof = proof
        self._tls = tls

    @property
    def timeout(self) -> float:
        """Seconds that a call to another host may take."""
        return self._proof.timeout

    def find(self, host: str) -> str:
        """Return the URL of a host's API; empty if it is not configured.

        :param host: its name or address, without brackets and port
        """
        name = host.lower()
        for pattern, url in self._urls.items():
            if fnmatch.fnmatchcase(name, pattern.lower()):
                return url.replace("{host}", f"[{name}]" if ":" in name else name)
        return ""

    def reach(self, host: str) -> Transport:
        """Return a transport to a host, with the credentials of this one.

        :raises TransportError: the host is not configured any more, its transport is not installed, or a file
            with credentials cannot be read
        """
        url = self.find(host)
        if not url:
            raise Unreachable(f"{host} is not in [plugin.virt.peers]")
        if urlsplit(url).scheme not in VERIFIED:
            raise Unreachable(f"{url} is not verified: it has to begin with {', '.join(VERIFIED)}")
        return open_transport(url, self._credentials())

    def _credentials(self) -> Credentials:
        proof, tls = self._proof, self._tls
        token = ""
        if proof.token:
            try:
                token = Path(proof.token).read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
                raise Unreachable(f"cannot read the token in {proof.token}: {reason}") from None
        own = bool(proof.certificate)
        certificate = proof.certificate or ("" if token else tls.certificate)
        return Credentials(
            token=token,
            ca=proof.ca or tls.ca,
            certificate=certificate,
            key=proof.key if own or not certificate else tls.key,
        )
