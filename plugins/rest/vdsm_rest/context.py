"""What a request says of its caller: identity, flow id, request id, deadline."""

from __future__ import annotations

import re
import time
from typing import Final

from vdsm_bridge import Bridge, Context, Credentials, Identity, WaitSlots
from vdsm_bridge.errors import Unauthenticated
from vdsm_http import Request
from vdsm_rest.problems import MalformedRequest

_BEARER: Final = re.compile(r"Bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)
_REQUEST_ID: Final = re.compile(r"[\x21-\x7e]{1,255}")
_FLOW_ID: Final = re.compile(r"[\x20-\x7e]{0,128}")
_SECONDS: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,9})?")
_WAIT: Final = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?:;[^,]*)?(?:,|$)", re.IGNORECASE)


def identify(bridge: Bridge, request: Request) -> Identity:
    """Who calls. Remembered for the connection, as long as credentials and rules of access are the same.

    :raises Unauthenticated: the credentials are wrong, or are needed
    """
    header = request.headers.get("authorization", "")
    connection: dict[tuple[int, str], Identity] = request.memory
    # Other rules may say otherwise of the same credentials.
    key = (bridge.access_revision, header)
    known = connection.get(key)
    if known is not None:
        return known
    identity = bridge.identify(credentials_of(request))
    connection.clear()
    connection[key] = identity
    return identity


def credentials_of(request: Request) -> Credentials:
    """What a request shows of its caller.

    :raises Unauthenticated: the credentials are malformed
    """
    header = request.headers.get("authorization", "")
    peer = request.peer
    return Credentials(
        address=peer.address, uid=peer.uid, token=_token(header) if header else "", peer_uid=peer.owner
    )


def context(identity: Identity, request: Request, waiting: WaitSlots) -> Context:
    """The circumstances of the call.

    :param waiting: the calls of this binding that wait for something to happen

    :raises MalformedRequest: an id is too long or has characters that it must not have
    """
    get = request.headers.get
    wait = _wait(get("request-timeout"), get("prefer"))
    return Context(
        identity=identity,
        binding="rest",
        address=request.peer.address,
        flow_id=_checked("FlowID", get("flowid") or get("x-correlation-id") or "", _FLOW_ID),
        request_id=_request_id(get("idempotency-key")),
        deadline=None if wait is None else time.monotonic() + wait,
        waiting=waiting,
    )


def _wait(timeout: str | None, prefer: str | None) -> float | None:
    """The seconds that the caller gives the call; a malformed preference is none (RFC 7240)."""
    if timeout is not None:
        if not _SECONDS.fullmatch(timeout.strip()):
            raise MalformedRequest(reason="the header Request-Timeout must be a number of seconds")
        return float(timeout)
    match = _WAIT.search(prefer) if prefer else None
    return float(match[1]) if match else None


def _token(header: str) -> str:
    match = _BEARER.fullmatch(header.strip())
    if match is None:
        raise Unauthenticated(reason="Authorization must be 'Bearer' and a token")
    return match[1]


def _request_id(header: str | None) -> str:
    if header is None:
        return ""
    # The header's own specification puts it in quotes; many clients do not.
    bare = header.strip()
    if len(bare) > 1 and bare[0] == bare[-1] == '"':
        bare = bare[1:-1]
    return _checked("Idempotency-Key", bare, _REQUEST_ID)


def _checked(name: str, value: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(value):
        raise MalformedRequest(reason=f"the header {name} must be short printable ASCII text")
    return value
