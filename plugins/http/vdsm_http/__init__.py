"""The HTTP front: the library under the bindings that speak HTTP. It is no plugin itself."""

from __future__ import annotations

from vdsm_http.channel import Channel
from vdsm_http.front import Attachment, Front
from vdsm_http.listener import Guest
from vdsm_http.messages import Peer, Refusal, Request, Response
from vdsm_http.origin import ForeignHost, ForeignPage, OriginCheck
from vdsm_http.site import Limits, Site
from vdsm_http.sockets import tcp

__all__ = [
    "Attachment",
    "Channel",
    "ForeignHost",
    "ForeignPage",
    "Front",
    "Guest",
    "Limits",
    "OriginCheck",
    "Peer",
    "Refusal",
    "Request",
    "Response",
    "Site",
    "tcp",
]
