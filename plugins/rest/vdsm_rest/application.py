"""The service as a CherryPy application, with none of CherryPy's globals.

CherryPy gives the WSGI application, the request and response of the thread and the trap for whatever escapes.
Its engine, its tree, its tools and its global configuration are not used: the engine is told of no request,
hooks and tools are off, and dispatching is a look into the table of routes that the verbs declare.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

import cherrypy

from vdsm_http.wsgi import TAKE_OVER
from vdsm_rest.events import EventStream
from vdsm_rest.service import Service

log = logging.getLogger(__name__)

_STATUS_LINES: Final = {status.value: f"{status.value} {status.phrase}".encode() for status in HTTPStatus}
_Request: Final[Any] = cherrypy.Application.request_class
_Response: Final[Any] = cherrypy.Application.response_class


class ApiRequest(_Request):  # type: ignore[misc]  # CherryPy has no types
    """A request that the service answers. The server has parsed its head; its body is read on demand."""

    def run(self, method: str, *_rest: Any) -> Any:
        """Answer. What else CherryPy hands over stands in the WSGI environment, too."""
        self.method = method
        reply = self.app.service.answer(self.wsgi_environ)
        response = cherrypy.serving.response
        response.output_status = _STATUS_LINES[reply.status]
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in reply.headers]
        body: Any = [reply.body] if reply.body else []
        if reply.stream is not None:
            body = self._hand_over(reply.stream)
        elif reply.status not in {204, 304}:
            headers.append((b"Content-Length", str(len(reply.body)).encode()))
        response.header_list = headers
        response.body = body
        return response

    def _hand_over(self, stream: EventStream) -> Iterable[bytes]:
        """Give a stream the connection, if the server can do without."""
        take_over = self.wsgi_environ.get(TAKE_OVER)
        if take_over is None:
            return stream
        take_over(stream.take)
        return ()


class ApiResponse(_Response):  # type: ignore[misc]  # as above
    """A response whose headers are ready-made."""

    stream = False

    def __init__(self) -> None:
        self.status = None
        self.header_list: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []


class ApiApplication(cherrypy.Application):  # type: ignore[misc]  # as above
    """The WSGI application."""

    request_class = ApiRequest
    response_class = ApiResponse

    def __init__(self, service: Service) -> None:
        super().__init__(None, "")
        self.service = service
        self.log = Log()
        # The service traps errors itself; CherryPy's trap would put a traceback on the wire.
        self.wsgiapp.pipeline = []

    def get_serving(self, local: Any, remote: Any, scheme: str, protocol: str) -> tuple[Any, Any]:
        """A new request and response for this thread; CherryPy's engine hears nothing of it."""
        request = self.request_class(local, remote, scheme, protocol)
        request.app = self
        response = self.response_class()
        cherrypy.serving.load(request, response)
        return request, response

    def release_serving(self) -> None:
        """Forget the request and response of this thread."""
        cherrypy.serving.clear()


class Log:
    """What CherryPy logs goes to this module's logger."""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.error(*args, **kwargs)

    def error(
        self, msg: str = "", context: str = "", severity: int = logging.INFO, traceback: bool = False
    ) -> None:
        """Take a message of CherryPy's own."""
        log.log(severity, "%s %s", context, msg, exc_info=traceback)

    def access(self) -> None:
        """The bridge logs calls; requests are not logged a second time."""
