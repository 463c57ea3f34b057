"""The context of a request: identity, flow id, request id, deadline."""

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
    """Return the caller's identity, kept for the connection while credentials and access rules are the same.

    :raises Unauthenticated: the credentials are wrong or absent
    """
    header = request.headers.get("authorization", "")
    connection: dict[tuple[int, str], Identity] = request.memory
    # The same credentials may mean another identity under other rules.
    key = (bridge.access_revision, header)
    known = connection.get(key)
    if known is not None and not known.expired(time.time()):
        return known
    identity = bridge.identify(credentials_of(request))
    connection.clear()
    connection[key] = identity
    return identity


def credentials_of(request: Request) -> Credentials:
    """Return the credentials in a request.

    :raises Unauthenticated: the credentials are malformed
    """
    header = request.headers.get("authorization", "")
    peer = request.peer
    return Credentials(
        address=peer.address,
        uid=peer.uid,
        token=_token(header) if header else "",
        peer_uid=peer.owner,
        certificate=peer.certificate,
    )


def context(identity: Identity, request: Request, waiting: WaitSlots) -> Context:
    """Return the context of the call.

    :param waiting: slots for calls that wait for events
    :raises MalformedRequest: a header is too long or has forbidden characters
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
        wait_slots=waiting,
    )


def _wait(timeout: str | None, prefer: str | None) -> float | None:
    """Return the caller's time limit in seconds; a malformed preference is ignored (RFC 7240)."""
    if timeout is not None:
        if not _SECONDS.fullmatch(timeout.strip()):
            raise MalformedRequest(reason="the header Request-Timeout is not a number of seconds")
        return float(timeout)
    match = _WAIT.search(prefer) if prefer else None
    return float(match[1]) if match else None


def _token(header: str) -> str:
    match = _BEARER.fullmatch(header.strip())
    if match is None:
        raise Unauthenticated(reason="the header Authorization is not 'Bearer' and a token")
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
        raise MalformedRequest(reason=f"the header {name} is not short printable ASCII text")
    return value
