"""The origin check: keeps pages in a browser from using its user's access to this host.

A browser may run on the host itself, whose loopback callers may need no credentials. Therefore a request from
loopback must name this host (otherwise a foreign name resolves to 127.0.0.1), and a request that a browser
makes for a page of another site is refused from any address. Programs send no `Origin`.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from vdsm_bridge import is_loopback
from vdsm_http.messages import Refusal, Request

#: Values of `Sec-Fetch-Site` for a page of this service, and for an address that a user typed.
_OWN_SITE = frozenset({"same-origin", "none"})
#: `Host` (RFC 9110, section 7.2): a name or IPv4 address, or an IPv6 address in brackets; perhaps a port.
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:,\s]+))(?::[0-9]{0,5})?")


class ForeignHost(Refusal):
    """The header `Host` names another host, `host`."""

    def __init__(self, host: str) -> None:
        super().__init__(HTTPStatus.MISDIRECTED_REQUEST, f"This host is not '{host}'")
        self.host = host


class ForeignPage(Refusal):
    """The request was made by a page of another site; `origin` is the header that shows it."""

    def __init__(self, origin: str) -> None:
        super().__init__(HTTPStatus.FORBIDDEN, "Requests of pages of other sites are refused")
        self.origin = origin


class OriginCheck:
    """Checks that need only headers, and precede all others.

    :param hosts: names of this host that callers on loopback may use, besides `localhost` and its host name
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        name = socket.gethostname().lower()
        self._names = {"localhost", name, name.partition(".")[0], *(host.lower() for host in hosts)}

    def check(self, request: Request, *, navigable: bool = False) -> None:
        """Check a request.

        :param navigable: a link from another site may lead there
        :raises ForeignHost: `Host` names another host
        :raises ForeignPage: it was made by a page of another site
        """
        headers = request.headers
        host = headers.get("host", "")
        address = request.peer.address
        if address and is_loopback(address) and not self._known(host) and not _is_old(request):
            raise ForeignHost(host)
        origin = headers.get("origin")
        scheme = "https" if request.peer.secure else "http"
        if origin is not None and origin.lower() != f"{scheme}://{host}".lower():
            raise ForeignPage(f"Origin: {origin}")
        site = headers.get("sec-fetch-site", "none")
        if site not in _OWN_SITE and not navigable:
            raise ForeignPage(f"Sec-Fetch-Site: {site}")

    def _known(self, host: str) -> bool:
        name = _name_of(host)
        return name in self._names or is_loopback(name)


def _is_old(request: Request) -> bool:
    """Return whether a client uses HTTP/1.0 without `Host`, which no browser does."""
    return request.version == "1.0" and "host" not in request.headers


def _name_of(host: str) -> str:
    """Return the host without its port, and without the brackets of IPv6; empty if it is malformed."""
    match = _HOST.fullmatch(host.strip())
    if match is None:
        return ""
    return match[1] or match[2].lower().rstrip(".")
