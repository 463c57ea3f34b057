"""The WSGI application: HTTP's rules around one XML-RPC request, and the circumstances of the call."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final

from cheroot.errors import MaxSizeExceeded

from vdsm_bridge import Bridge, Context, Proof, Waiting
from vdsm_bridge.errors import InvalidArgument, VdsmError
from vdsm_xmlrpc.dispatcher import Dispatcher, Fault, refusal
from vdsm_xmlrpc.envelope import NOT_WELL_FORMED, NOT_XMLRPC, fault_response, response
from vdsm_xmlrpc.parser import Limits, NotWellFormed, NotXmlRpc, parse

log = logging.getLogger(__name__)

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

PATHS: Final = frozenset({"/", "/RPC2"})
#: What the XML-RPC specification asks for, and its newer name.
_CONTENT_TYPES: Final = frozenset({"text/xml", "application/xml"})
#: A flow id is a tag in log lines, a request id a key in a table: neither is a place for prose.
_MAX_ID: Final = 128
_MAX_TIMEOUT: Final = 86_400.0  # s
_LARGE: Final = 262_144  # bytes


class Refused(Exception):
    """The request is refused by HTTP's own means."""

    def __init__(self, status: HTTPStatus, reason: str, *headers: tuple[str, str]) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


class Application:
    """Serves the paths of VDSM.

    :param max_body: bytes that a request's body may have
    :param waiting: the calls that wait for something to happen
    """

    def __init__(
        self, bridge: Bridge, dispatcher: Dispatcher, *, max_body: int, limits: Limits, waiting: Waiting
    ) -> None:
        self._bridge = bridge
        self._dispatcher = dispatcher
        self._max_body = max_body
        self._limits = limits
        self._waiting = waiting

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one HTTP request."""
        try:
            body = self._serve(environ)
        except Refused as refused:
            text = f"{refused.reason}\n".encode()
            headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
            status = f"{refused.status.value} {refused.status.phrase}"
            # The rest of what was sent is not read: nothing that follows it could be understood.
            start_response(status, [*headers, ("Connection", "close"), *refused.headers])
            return [text]
        size = sum(map(len, body))
        start_response("200 OK", [("Content-Type", "text/xml"), ("Content-Length", str(size))])
        # A small reply leaves in one piece, a large one as it is: joining it would copy all of it.
        return [b"".join(body)] if size < _LARGE else body

    def _serve(self, environ: Environ) -> list[bytes]:
        _check_request_line(environ)
        body = self._read(environ)
        source = environ.get("REMOTE_ADDR", "")
        try:
            request = parse(body, self._limits)
            context = self._context(environ)
            return response(self._dispatcher.answer(request, context))
        except NotWellFormed as error:
            log.warning("Request of %s is not well-formed XML: %s", source, error)
            return fault_response(NOT_WELL_FORMED, f"The request is not well-formed XML: {error}")
        except NotXmlRpc as error:
            log.warning("Request of %s is not XML-RPC: %s", source, error)
            return fault_response(NOT_XMLRPC, f"The request is not acceptable: {error}")
        except Fault as error:
            return fault_response(error.code, error.message)
        except VdsmError as error:
            return response(refusal(error))
        except Exception:
            # The last fence: a bug of this binding costs one request, and tells its client nothing but an id.
            incident = uuid.uuid4().hex[:12]
            log.exception("A request of %s failed unexpectedly, incident %s", source, incident)
            return fault_response(16, f"The request failed unexpectedly; the log has incident {incident}")

    def _read(self, environ: Environ) -> bytes:
        stream = environ["wsgi.input"]
        if environ.get("wsgi.input_terminated"):
            return self._read_chunked(stream)
        length = environ.get("CONTENT_LENGTH", "")
        if not length:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "The request has no Content-Length")
        if not (length.isascii() and length.isdecimal()):
            raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
        if int(length) > self._max_body:
            raise self._too_large()
        body: bytes = stream.read(int(length))
        if len(body) < int(length):
            raise Refused(HTTPStatus.BAD_REQUEST, "The body ends early")
        return body

    def _read_chunked(self, stream: Any) -> bytes:
        try:
            body: bytes = stream.read(self._max_body + 1)
            if len(body) <= self._max_body:
                for _ in stream.read_trailer_lines():
                    pass
        except TimeoutError:
            raise
        except (MaxSizeExceeded, OSError):
            raise self._too_large() from None
        except ValueError:
            raise Refused(HTTPStatus.BAD_REQUEST, "The chunks of the body are malformed") from None
        if len(body) > self._max_body:
            raise self._too_large()
        return body

    def _too_large(self) -> Refused:
        return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {self._max_body} bytes")

    def _context(self, environ: Environ) -> Context:
        address = environ.get("REMOTE_ADDR", "")
        scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        proof = Proof(address=address, token=token.strip() if scheme.lower() == "bearer" else "")
        return Context(
            identity=self._bridge.identify(proof),
            binding="xmlrpc",
            address=address,
            flow_id=_printable(environ.get("HTTP_FLOWID", ""))[:_MAX_ID],
            deadline=_deadline(environ.get("HTTP_REQUEST_TIMEOUT", "")),
            request_id=_request_id(environ.get("HTTP_REQUEST_ID", "")),
            waiting=self._waiting,
        )


def _check_request_line(environ: Environ) -> None:
    if environ.get("PATH_INFO") not in PATHS:
        raise Refused(HTTPStatus.NOT_FOUND, "XML-RPC is served at /RPC2 and /")
    if environ["REQUEST_METHOD"] != "POST":
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "XML-RPC is spoken by POST", ("Allow", "POST"))
    # A page in somebody's browser must not command the host: browsers name the page's origin, and cannot
    # send XML elsewhere without asking first. Programs do neither.
    if "HTTP_ORIGIN" in environ:
        raise Refused(HTTPStatus.FORBIDDEN, "Requests of web pages are not accepted")
    content_type = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if content_type not in _CONTENT_TYPES:
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body must be text/xml")


def _printable(text: str) -> str:
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
            argument="Request-Timeout", reason=f"Expected seconds, more than 0 and at most {_MAX_TIMEOUT:.0f}"
        )
    return time.monotonic() + seconds


def _request_id(text: str) -> str:
    if len(text) > _MAX_ID or not text.isprintable():
        raise InvalidArgument(
            argument="Request-Id", reason=f"Expected at most {_MAX_ID} printable characters"
        )
    return text
