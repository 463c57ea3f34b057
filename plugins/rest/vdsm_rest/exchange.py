"""CherryPy's request and response objects, on the messages of the HTTP front.

CherryPy dispatches a request, runs the hooks of the tools around the handler, and handles errors. Its layer
below that is left out: there is no WSGI environment, headers stay as the front has parsed them, and the body,
which is in memory already, is not wrapped in a file.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

import cherrypy

from vdsm_bridge import Context, Identity, report_incident
from vdsm_bridge.errors import VdsmError
from vdsm_http import Request
from vdsm_rest import problems
from vdsm_rest.arguments import NO_BODY, Query
from vdsm_rest.events import EventStream
from vdsm_rest.query_options import QueryOptions

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_Request: Final[Any] = cherrypy.Application.request_class
_HookMap: Final[Any] = type(_Request.hooks)
_Response: Final[Any] = cherrypy.Application.response_class


class ErrorReply(cherrypy.HTTPError):  # type: ignore[misc]  # CherryPy has no types
    """An error of the API as CherryPy's HTTP error: its page is a problem document."""

    def __init__(self, error: VdsmError) -> None:
        self.error = error
        super().__init__(problems.status_of(type(error)), str(error))

    def set_response(self) -> None:
        """Make the reply of the running request the problem document. CherryPy calls this."""
        problem = problems.problem_of(self.error)
        if problem.status >= 500:
            log.warning("%d %s: %s", problem.status, problem.slug, problem.detail)
        response: ApiResponse = cherrypy.serving.response
        response.drop()
        response.status = problem.status
        response.headers["Content-Type"] = problems.MEDIA_TYPE
        response.headers.update(problems.headers_of(self.error, problem.status))
        response.body = problems.encode(problem)


def reply_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a tool or handler: errors of the API become HTTP errors, which CherryPy expects of both."""

    @functools.wraps(function)
    def replying(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except VdsmError as error:
            raise ErrorReply(error) from None

    return replying


def unexpected() -> None:
    """Reply to an unexpected error: the caller receives an incident id, the log has the traceback."""
    ErrorReply(report_incident(log, "The request")).set_response()


class ApiRequest(_Request):  # type: ignore[misc]  # as above
    """One request.

    :ivar identity: the caller; the tool `authenticate` sets it
    :ivar context: the context of the call; the tool `context` sets it
    :ivar query: the whole query; the tool `arguments` sets it, `json`, `params` and `shown`
    :ivar shown: query options for the result
    :ivar values: of the parameters in the path
    """

    identity: Identity
    context: Context
    shown: QueryOptions | None = None
    query: Query
    json: Any = NO_BODY

    error_response = staticmethod(unexpected)

    def __init__(self, app: Any, message: Request) -> None:
        # CherryPy's own constructor copies what configuration can change for each request.
        self.app = app
        self.message = message
        self.method = message.method
        self.path_info = message.path
        self.query_string = message.query
        self.headers = message.headers
        self.values: list[str] = []

    def run(self) -> None:
        """Handle the request. The reply, or that of an error, is in `cherrypy.serving.response`."""
        response: ApiResponse = cherrypy.serving.response
        hooks = self.hooks
        try:
            try:
                self.get_resource(self.path_info)
                hooks = self.hooks
                hooks.run("on_start_resource")
                hooks.run("before_request_body")
                hooks.run("before_handler")
                response.body = self.handler()
                hooks.run("before_finalize")
            except ErrorReply as error:
                error.set_response()
                hooks.run("before_finalize")
            finally:
                hooks.run("on_end_resource")
        except Exception:  # noqa: BLE001 - `error_response` logs it
            self.handle_error()
        else:
            response.finalize()

    def get_resource(self, path: str) -> None:
        """Set handler, configuration and hooks.

        CherryPy looks up a dispatcher in the configuration of each prefix of the path, in quadratic time, and
        applies configuration to each request. It is the same for all requests to a resource: the first one
        applies it, and the others share the hooks.
        """
        resource, self.values = self.app.service.api().resources.find(self.method, path)
        self.handler = resource.handler
        self.config = resource.setup.config
        if resource.setup.hooks is None:
            self.hooks = Hooks(_Request.hooks)
            self.toolmaps: dict[str, Any] = {}
            namespaces = self.namespaces.copy()
            namespaces.update(self.app.toolboxes)
            namespaces(self.config)
            resource.setup.hooks = self.hooks
        self.hooks = resource.setup.hooks


class Hooks(_HookMap):  # type: ignore[misc]  # as above
    """Attached hooks, by point."""

    def run(self, point: str) -> None:
        """Run those of a point; most have none."""
        if self[point]:
            super().run(point)


class ApiResponse(_Response):  # type: ignore[misc]  # as above
    """One reply. The front adds date, length and connection.

    `headers` has the names as they are sent. `body` is bytes; `events` is a stream that replaces the body.
    """

    body = b""
    events: EventStream | None = None

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.header_list: list[tuple[str, str]] = []

    def drop(self) -> None:
        """Discard everything that was set so far."""
        if self.events is not None:
            self.events.close()
        self.events = None
        self.headers.clear()
        self.body = b""

    def finalize(self) -> None:
        """Make the list of headers."""
        self.header_list = list(self.headers.items())
