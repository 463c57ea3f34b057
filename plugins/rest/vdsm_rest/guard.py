"""Who may ask at all: keeps pages in somebody's browser from using that person's access to this host.

A caller on loopback needs no credentials by default, and a browser runs on loopback, too. So a request that
comes from loopback must name this host (else a foreign name was pointed at 127.0.0.1), and a request that a
browser makes for a page of another site is refused wherever it comes from. Programs send no `Origin`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vdsm_bridge import is_loopback
from vdsm_rest.problems import ForeignHost, ForeignPage

#: What `Sec-Fetch-Site` says of a page of this service, and of an address that a person typed.
_OWN_SITE = frozenset({"same-origin", "none"})


class Guard:
    """Checks on headers alone, before anything else is looked at.

    :param hosts: names of this host that callers on loopback may use, besides `localhost`
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        self._good = {"localhost", *(name.lower() for name in hosts)}

    def check(self, environ: Mapping[str, str], *, navigable: bool) -> None:
        """Let a request pass.

        :param navigable: a link from another site may lead there
        :raises ForeignHost: `Host` names another host
        :raises ForeignPage: it comes from a page of another site
        """
        address = environ.get("REMOTE_ADDR", "")
        host = environ.get("HTTP_HOST", "")
        if address and is_loopback(address) and not self._known(host):
            raise ForeignHost(host=host)
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and origin.lower() != f"{environ['wsgi.url_scheme']}://{host}".lower():
            raise ForeignPage(origin=f"Origin: {origin}")
        site = environ.get("HTTP_SEC_FETCH_SITE", "none")
        if site not in _OWN_SITE and not navigable:
            raise ForeignPage(origin=f"Sec-Fetch-Site: {site}")

    def _known(self, host: str) -> bool:
        name = _name_of(host)
        return name in self._good or is_loopback(name)


def _name_of(host: str) -> str:
    """The host without its port, and without the brackets of IPv6."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")
