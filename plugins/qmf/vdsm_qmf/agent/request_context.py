"""The context of a call, from the message that requests it: identity, deadline, ids."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from vdsm_bridge import Bridge, Context, Credentials, Identity, WaitSlots
from vdsm_qmf.protocol import bodies
from vdsm_qmf.protocol.errors import Malformed
from vdsm_qmf.protocol.message import Request

_ID: Final = re.compile(r"[\x20-\x7e]{0,255}")
#: Seconds; longer timeouts are shortened to this.
_MAX_TIMEOUT: Final = 86_400.0


class RequestContexts:
    """Derives the contexts of calls from messages.

    :param waiting: slots for calls that wait for events
    :param anonymous: the broker does not authenticate; it is on loopback, and so are its users
    """

    def __init__(self, bridge: Bridge, waiting: WaitSlots, *, anonymous: bool) -> None:
        self._bridge = bridge
        self._waiting = waiting
        self._anonymous = anonymous

    def identify(self, request: Request) -> Identity:
        """Return the identity of a bearer token, else of the user whom the broker has authenticated.

        :raises Unauthenticated: the message has neither, or the token or user is unknown
        :raises Malformed: the token is not text
        """
        token = request.text(bodies.TOKEN)
        if token:
            return self._bridge.identify(Credentials(token=token))
        if self._anonymous:
            # Without authentication, any sender can write any user id.
            return self._bridge.identify(Credentials(address="127.0.0.1"))
        return self._bridge.identify(Credentials(bus_user=request.user_id))

    def context(self, request: Request, received: float) -> Context:
        """Return the context of the requested call.

        :param received: when the message arrived, on `time.monotonic`'s clock
        :raises VdsmError: as `identify`, or an id is too long or has characters that are not allowed
        """
        seconds = _seconds(request.properties.get(bodies.TIMEOUT), request.ttl)
        return Context(
            identity=self.identify(request),
            binding="qmf",
            # The address of the connection is the broker's; the caller's is not known.
            origin=request.reply_to,
            flow_id=_checked(request, bodies.FLOW_ID),
            request_id=_checked(request, bodies.REQUEST_ID),
            deadline=None if seconds is None else received + seconds,
            wait_slots=self._waiting,
        )


def _checked(request: Request, name: str) -> str:
    text = request.text(name)
    if not _ID.fullmatch(text):
        raise Malformed(reason=f"the property {name} must be printable ASCII text of at most 255 characters")
    return text


def _seconds(value: Any, ttl: float) -> float | None:
    if value is None:
        return min(ttl, _MAX_TIMEOUT) if ttl else None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if isinstance(value, bool) or not seconds >= 0:
        raise Malformed(reason=f"the property {bodies.TIMEOUT} must be a number of seconds")
    return min(seconds, _MAX_TIMEOUT)
