"""The TLS mode of a site, and of the listening sockets that it shares with others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from vdsm_bridge import Bridge
from vdsm_bridge.config import TlsOptions
from vdsm_http.tls.certificates import Certificates
from vdsm_http.tls.turns import Turns

#: The type of a binding's option `tls`: no TLS, plain connections as well as TLS, TLS only.
Mode = Literal["off", "optional", "required"]


class Tls(NamedTuple):
    """TLS for a site.

    :ivar mode: whether connections are plain, encrypted, or either; unix sockets are always plain
    :ivar options: returns the options of `[tls]` that are in force
    """

    mode: Mode
    options: Callable[[], TlsOptions] = TlsOptions

    @classmethod
    def of(cls, bridge: Bridge, mode: Mode) -> Tls:
        """Return the TLS of a site for `Front.attach`: the mode of the binding, and `[tls]` of the daemon."""
        return cls(mode, lambda: bridge.shared.get(TlsOptions))


class Secured(NamedTuple):
    """TLS on one listening socket: the mode of its sites, the certificate, and the queue of handshakes."""

    mode: Mode
    certificates: Certificates
    turns: Turns

    @property
    def lacking(self) -> bool:
        """Whether no connection can be served, because there is no certificate."""
        return self.mode == "required" and not self.certificates.usable
