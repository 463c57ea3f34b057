"""Choosing the transport of a URL among those that are installed."""

from __future__ import annotations

import urllib.parse
from typing import Any

from stevedore import DriverManager
from stevedore.exception import NoMatches

from vdsm_bridge.client.transport import GROUP, Credentials, NoTransport, Transport


def open_transport(url: str, credentials: Credentials) -> Transport:
    """See `vdsm_bridge.client.transport.open_transport`."""
    scheme = urllib.parse.urlsplit(url).scheme
    try:
        driver: type[Transport] = DriverManager(GROUP, scheme, on_load_failure_callback=_broken).driver
    except NoMatches:
        raise NoTransport(
            f"cannot reach {url}: no installed package serves {scheme}:// URLs (entry point of {GROUP})",
            installed=False,
        ) from None
    return driver(url, credentials)


def _broken(_manager: Any, entry_point: Any, error: Exception) -> None:
    raise NoTransport(f"cannot load the transport {entry_point.value}: {error}", installed=True) from None
