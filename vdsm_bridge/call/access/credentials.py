"""What a binding gathers of a caller."""

from __future__ import annotations

import msgspec

from vdsm_bridge.call.certificate import Certificate


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """The credentials of a caller: the peer's user id on a unix socket, an address, a bearer token, the name
    of a user whom the message broker in between has authenticated, a client certificate.

    `peer_uid` is the owner of the peer's socket on loopback TCP (`vdsm_bridge.owner_uid`). It is written to
    the audit log and grants nothing. `certificate` is the client certificate that the transport has verified;
    nothing that a client merely claims may stand there.
    """

    address: str = ""
    uid: int | None = None
    token: str = ""
    bus_user: str = ""
    peer_uid: int | None = None
    certificate: Certificate | None = None
