"""The HTTP front: the library of the HTTP bindings. It is not a plugin itself."""

from __future__ import annotations

from vdsm_http.channel import Channel
from vdsm_http.front import Attachment, Front
from vdsm_http.listener import Guest
from vdsm_http.messages import Peer, Refusal, Request, Response
from vdsm_http.origin import ForeignHost, ForeignPage, OriginCheck
from vdsm_http.site import Limits, Site
from vdsm_http.sockets import tcp
from vdsm_http.tls.mode import Mode, Tls

__all__ = [
    "Attachment",
    "Channel",
    "ForeignHost",
    "ForeignPage",
    "Front",
    "Guest",
    "Limits",
    "Mode",
    "OriginCheck",
    "Peer",
    "Refusal",
    "Request",
    "Response",
    "Site",
    "Tls",
    "tcp",
]
