"""HTTP around one XML-RPC call: checks of the request, the context of the call, the reply."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import Final

from vdsm_bridge import Bridge, Context, Credentials, Identity, WaitSlots, report_incident
from vdsm_bridge.errors import InvalidArgument, VdsmError
from vdsm_http import OriginCheck, Refusal, Request, Response
from vdsm_xmlrpc.dispatcher import Dispatcher, Fault, refusal
from vdsm_xmlrpc.envelope import NOT_WELL_FORMED, NOT_XMLRPC, fault_response, response
from vdsm_xmlrpc.parser import Limits, NotWellFormed, NotXmlRpc, parse

log = logging.getLogger(__name__)

PATHS: Final = frozenset({"/", "/RPC2"})
#: The media type of the XML-RPC specification, and its newer name.
_CONTENT_TYPES: Final = frozenset({"text/xml", "application/xml"})
_XML: Final = (("Content-Type", "text/xml"),)
#: Characters of a flow id, which tags log lines, and of a request id, which is a key in a table.
_MAX_ID: Final = 128
_MAX_TIMEOUT: Final = 86_400.0  # s


def claims(method: str, path: str) -> bool:
    """Return whether a request is for this site, where another one is served on the same address."""
    return path == "/RPC2" or (path == "/" and method == "POST")


def refuse(status: HTTPStatus, reason: str, *headers: tuple[str, str]) -> Response:
    """Return the HTTP error for a request that is not an XML-RPC call."""
    text = f"{reason}\n".encode()
    return Response(status, [("Content-Type", "text/plain; charset=utf-8"), *headers], text, close=True)


class Application:
    """Serves the paths of VDSM.

    :param waiting: slots for calls that wait for events
    """

    def __init__(
        self,
        bridge: Bridge,
        dispatcher: Dispatcher,
        *,
        limits: Limits,
        waiting: WaitSlots,
        origin: OriginCheck,
    ) -> None:
        self._bridge = bridge
        self._dispatcher = dispatcher
        self._limits = limits
        self._waiting = waiting
        self._origin = origin

    def answer(self, request: Request) -> Response:
        """Handle one HTTP request."""
        return _misdirected(request) or self._foreign(request) or Response(200, _XML, self._call(request))

    def _foreign(self, request: Request) -> Response | None:
        """Refuse requests of web pages, which could control the host through a user's browser.

        Browsers send the page's origin, and a preflight request before XML to another site; programs do not.
        """
        try:
            self._origin.check(request)
        except Refusal as error:
            return refuse(error.status, error.reason)
        if "origin" in request.headers:
            return refuse(HTTPStatus.FORBIDDEN, "Requests of web pages are refused: the header Origin is set")
        return None

    def _call(self, request: Request) -> list[bytes]:
        address = request.peer.address
        try:
            call = parse(request.body, self._limits)
            context = self._context(request)
            return response(self._dispatcher.answer(call, context))
        except NotWellFormed as error:
            log.warning("The request of %s is not well-formed XML: %s", address, error)
            return fault_response(NOT_WELL_FORMED, f"The request is not well-formed XML: {error}")
        except NotXmlRpc as error:
            log.warning("The request of %s is not XML-RPC: %s", address, error)
            return fault_response(NOT_XMLRPC, f"The request is not an XML-RPC call: {error}")
        except Fault as error:
            return fault_response(error.code, error.message)
        except VdsmError as error:
            return response(refusal(error))
        except Exception:  # noqa: BLE001 - logged as an incident
            # A bug of this binding fails one request; the client receives an incident id only.
            bug = report_incident(log, "The request", f"A request of {address}")
            return fault_response(bug.code, str(bug))

    def _context(self, request: Request) -> Context:
        headers = request.headers
        return Context(
            identity=self._identify(request),
            binding="xmlrpc",
            address=request.peer.address,
            flow_id=_printable(headers.get("flowid", ""))[:_MAX_ID],
            deadline=_deadline(headers.get("request-timeout", "")),
            request_id=_request_id(headers.get("request-id", "")),
            wait_slots=self._waiting,
        )

    def _identify(self, request: Request) -> Identity:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        peer = request.peer
        return self._bridge.identify(
            Credentials(
                address=peer.address,
                uid=peer.uid,
                token=bearer,
                peer_uid=peer.owner,
                certificate=peer.certificate,
            )
        )


def _misdirected(request: Request) -> Response | None:
    """Return the refusal of a request with the wrong method, path or headers."""
    if request.path not in PATHS:
        return refuse(
            HTTPStatus.NOT_FOUND, "There is no resource at this path: XML-RPC is served at /RPC2 and /"
        )
    if request.method != "POST":
        return refuse(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "This method is not supported: XML-RPC uses POST",
            ("Allow", "POST"),
        )
    headers = request.headers
    content_type = headers.get("content-type", "")
    if (
        content_type not in _CONTENT_TYPES
        and content_type.partition(";")[0].strip().lower() not in _CONTENT_TYPES
    ):
        return refuse(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Cannot read the body: its Content-Type must be text/xml"
        )
    if "content-length" not in headers and "transfer-encoding" not in headers:
        return refuse(HTTPStatus.LENGTH_REQUIRED, "Cannot read the body: the request has no Content-Length")
    return None


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character for character in text if character.isprintable())


def _deadline(text: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= _MAX_TIMEOUT:
        raise InvalidArgument(
            argument="Request-Timeout", reason=f"expected seconds, more than 0 and at most {_MAX_TIMEOUT:.0f}"
        )
    return time.monotonic() + seconds


def _request_id(text: str) -> str:
    if len(text) > _MAX_ID or not text.isprintable():
        raise InvalidArgument(
            argument="Request-Id", reason=f"expected at most {_MAX_ID} printable characters"
        )
    return text
