"""From a message to the context of a call: who asks, how urgently, under which ids."""

from __future__ import annotations

import math
import re
import time
from typing import Any, Final

from vdsm_bridge import Bridge, Context, Credentials, Identity, WaitSlots
from vdsm_qmf import forms
from vdsm_qmf.failures import Malformed
from vdsm_qmf.message import Request

_ID: Final = re.compile(r"[\x20-\x7e]{0,255}")
#: Seconds; a longer wish is this long.
_LONGEST: Final = 86_400.0


class Callers:
    """Tells who sent a message.

    :param waiting: the calls that wait for something to happen
    :param anonymous: the broker knows nobody, and is on loopback: so are its users
    """

    def __init__(self, bridge: Bridge, waiting: WaitSlots, *, anonymous: bool) -> None:
        self._bridge = bridge
        self._waiting = waiting
        self._anonymous = anonymous

    def identify(self, request: Request) -> Identity:
        """By a bearer token, else by the user whom the broker has authenticated.

        :raises Unauthenticated: neither is there, or it is not known
        :raises Malformed: the token is no text
        """
        token = request.text(forms.TOKEN)
        if token:
            return self._bridge.identify(Credentials(token=token))
        if self._anonymous:
            # Without authentication a user id is what anybody cares to write.
            return self._bridge.identify(Credentials(address="127.0.0.1"))
        return self._bridge.identify(Credentials(bus_user=request.user_id))

    def context(self, request: Request, received: float) -> Context:
        """The circumstances of the call.

        :param received: when the message came, on `time.monotonic`'s clock
        :raises VdsmError: as `identify`, or an id is too long or has characters that it must not have
        """
        seconds = _seconds(request.properties.get(forms.TIMEOUT), request.ttl)
        return Context(
            identity=self.identify(request),
            binding="qmf",
            # The broker is the other end of the connection; where the caller is, nobody says.
            origin=request.reply_to,
            flow_id=_checked(request, forms.FLOW_ID),
            request_id=_checked(request, forms.REQUEST_ID),
            deadline=None if seconds is None else received + seconds,
            waiting=self._waiting,
        )


def _checked(request: Request, name: str) -> str:
    text = request.text(name)
    if not _ID.fullmatch(text):
        raise Malformed(reason=f"the property {name} must be short printable ASCII text")
    return text


def _seconds(told: Any, ttl: float) -> float | None:
    if told is None:
        return min(ttl, _LONGEST) if ttl else None
    try:
        seconds = float(told)
    except (TypeError, ValueError):
        seconds = math.nan
    if isinstance(told, bool) or not seconds >= 0:
        raise Malformed(reason=f"the property {forms.TIMEOUT} must be a number of seconds")
    return min(seconds, _LONGEST)


def now() -> float:
    """The clock of deadlines."""
    return time.monotonic()
