"""The XML-RPC decoder."""

from __future__ import annotations

from vdsm_xmlrpc.parser import Limits, NotWellFormed, NotXmlRpc, parse

_LIMITS = Limits(depth=20, values=1_000)


def request(data: bytes) -> None:
    """A body is a call within the bounds, or refused."""
    try:
        call = parse(data, _LIMITS)
    except (NotWellFormed, NotXmlRpc):
        return
    assert len(call.params) <= _LIMITS.values
