"""Network addresses of callers, for the bindings and the access check."""

from __future__ import annotations

import functools
import ipaddress


@functools.lru_cache(maxsize=256)
def is_loopback(address: str) -> bool:
    """Return whether an IP address, given as text, is one of this host's loopback addresses.

    A listener on both families reports its IPv4 callers as `::ffff:127.0.0.1` (RFC 4291, section 2.5.5.2),
    and a link-local address carries its zone after `%`. A name is not an address: `localhost` gives False.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback
