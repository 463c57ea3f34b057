"""The service as a CherryPy application, with none of CherryPy's globals.

CherryPy's engine, tree, server and global configuration are not used. Its application is called with request
messages of the HTTP front, not as WSGI.
"""

from __future__ import annotations

import logging
from typing import Any

import cherrypy

from vdsm_http import Request, Response
from vdsm_rest.exchange import ApiRequest, ApiResponse
from vdsm_rest.service import Service
from vdsm_rest.steps import NAMESPACE, toolbox

log = logging.getLogger(__name__)


class ApiApplication(cherrypy.Application):  # type: ignore[misc]  # CherryPy has no types
    """The handler of the REST site on the HTTP front."""

    request_class = ApiRequest
    response_class = ApiResponse

    def __init__(self, service: Service) -> None:
        super().__init__(None, "")
        self.service = service
        self.toolboxes = {NAMESPACE: toolbox()}
        self.log = Log()

    def __call__(self, message: Request) -> Response:
        """Handle a request."""
        request, response = self.get_serving(message)
        try:
            request.run()
        finally:
            self.release_serving()
        events = response.events
        return Response(
            response.status,
            response.header_list,
            response.body,
            takeover=None if events is None else events.take,
        )

    def get_serving(self, message: Request) -> tuple[ApiRequest, ApiResponse]:
        """Make the request and response of this thread. CherryPy's engine is not notified."""
        request, response = self.request_class(self, message), self.response_class()
        cherrypy.serving.load(request, response)
        return request, response

    def release_serving(self) -> None:
        """Forget the request and response of this thread."""
        cherrypy.serving.clear()


class Log:
    """Log messages of CherryPy, on this module's logger."""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.error(*args, **kwargs)

    def error(
        self, msg: str = "", context: str = "", severity: int = logging.INFO, traceback: bool = False
    ) -> None:
        """Log a message, a traceback for debugging only: `unexpected` logs it with its incident."""
        log.log(logging.DEBUG if traceback else severity, "%s %s", context, msg, exc_info=traceback)

    def access(self) -> None:
        """Log nothing: the bridge logs calls."""
