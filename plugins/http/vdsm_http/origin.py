"""The origin check: keeps pages in somebody's browser from using that person's access to this host.

A browser runs on the host's loopback, too, where callers may need no credentials. So a request from loopback
must name this host (else a foreign name was pointed at 127.0.0.1), and a request that a browser makes for a
page of another site is refused wherever it comes from. Programs send no `Origin`.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from http import HTTPStatus

from vdsm_bridge import is_loopback
from vdsm_http.messages import Refusal, Request

#: What `Sec-Fetch-Site` says of a page of this service, and of an address that a person typed.
_OWN_SITE = frozenset({"same-origin", "none"})


class ForeignHost(Refusal):
    """`Host` names another host; `host` is what it says."""

    def __init__(self, host: str) -> None:
        super().__init__(HTTPStatus.MISDIRECTED_REQUEST, f"This host is not '{host}'")
        self.host = host


class ForeignPage(Refusal):
    """The request comes from a page of another site; `origin` is the header that says so."""

    def __init__(self, origin: str) -> None:
        super().__init__(HTTPStatus.FORBIDDEN, "Requests of pages of other sites are refused")
        self.origin = origin


class OriginCheck:
    """Checks on headers alone, before anything else is looked at.

    :param hosts: names of this host that callers on loopback may use, besides `localhost` and its host name
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        name = socket.gethostname().lower()
        self._names = {"localhost", name, name.partition(".")[0], *(host.lower() for host in hosts)}

    def check(self, request: Request, *, navigable: bool = False) -> None:
        """Let a request pass.

        :param navigable: a link from another site may lead there
        :raises ForeignHost: `Host` names another host
        :raises ForeignPage: it comes from a page of another site
        """
        headers = request.headers
        host = headers.get("host", "")
        address = request.peer.address
        if address and is_loopback(address) and not self._known(host) and not _is_old(request):
            raise ForeignHost(host)
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}".lower():
            raise ForeignPage(f"Origin: {origin}")
        site = headers.get("sec-fetch-site", "none")
        if site not in _OWN_SITE and not navigable:
            raise ForeignPage(f"Sec-Fetch-Site: {site}")

    def _known(self, host: str) -> bool:
        name = _name_of(host)
        return name in self._names or is_loopback(name)


def _is_old(request: Request) -> bool:
    """Return whether a client speaks HTTP/1.0 without `Host`, as no browser does."""
    return request.version == "1.0" and "host" not in request.headers


def _name_of(host: str) -> str:
    """Return the host without its port, and without the brackets of IPv6."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")
