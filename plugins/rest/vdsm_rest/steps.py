"""The steps of a request as CherryPy tools: a resource's configuration switches them on.

=====================  ========  ==================================================================
hook point             priority  tool
=====================  ========  ==================================================================
`on_start_resource`          10  `origin`: refuse pages of other sites, and foreign host names
`on_start_resource`          20  `authenticate`: identify the caller
`before_request_body`        10  `context`: flow id, request id, deadline
`before_request_body`        20  `accept`: refuse callers that do not accept the media type of the reply
`before_request_body`        30  `arguments`: read path, query string and body
`before_request_body`        40  `no_body`: refuse a body
`before_finalize`            40  `coding`: choose gzip or not
`before_finalize`            50  `etags`: entity tag, `If-Match`, `If-None-Match`
`before_finalize`            60  `compress`: gzip
`before_finalize`            90  `headers`: those of every reply; also `after_error_response`
=====================  ========  ==================================================================

They are a toolbox of their own: CherryPy's default one is global, and each of its similar tools does
something that this API must not do (docs/decisions/0014-rest-on-cherrypy.md).
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any, Final

import cherrypy
from cherrypy._cptools import Toolbox  # where CherryPy's documentation imports it from
from cherrypy.lib import cptools, set_vary_header

from vdsm_http import ForeignHost, ForeignPage
from vdsm_rest import context as request_context
from vdsm_rest import etags, negotiation, problems, query_options
from vdsm_rest.arguments import Query, read_query
from vdsm_rest.exchange import ApiRequest, ApiResponse, reply_errors
from vdsm_rest.problems import PreconditionFailed
from vdsm_rest.router import Entry

#: Of the keys in configurations.
NAMESPACE: Final = "steps"

#: zlib's level: on lists of machines 6 saves a tenth more, in 2.6 times the time.
_LEVEL: Final = 1


def configuration(steps: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the configuration, in CherryPy's form, that switches tools on, each with its arguments."""
    return {
        f"{NAMESPACE}.{tool}.{key}": value
        for tool, arguments in steps.items()
        for key, value in {"on": True, **arguments}.items()
    }


def toolbox() -> Any:
    """Return the tools."""
    box = Toolbox(NAMESPACE)
    for name, point, priority, function in (
        ("origin", "on_start_resource", 10, origin),
        ("authenticate", "on_start_resource", 20, authenticate),
        ("context", "before_request_body", 10, context),
        ("accept", "before_request_body", 20, accept),
        ("arguments", "before_request_body", 30, arguments),
        ("no_body", "before_request_body", 40, no_body),
        ("coding", "before_finalize", 40, coding),
        ("etags", "before_finalize", 50, tag),
        ("compress", "before_finalize", 60, compress),
    ):
        setattr(box, name, cherrypy.Tool(point, reply_errors(function), name, priority))
    box.headers = EveryReply("before_finalize", cptools.response_headers, "headers", 90)
    return box


class EveryReply(cherrypy.Tool):  # type: ignore[misc]  # CherryPy has no types
    """A tool that also runs on the reply to an unexpected error, where CherryPy skips `before_finalize`."""

    def _setup(self) -> None:
        super()._setup()
        cherrypy.serving.request.hooks.attach("after_error_response", self.callable, **self._merged_args())


def origin(navigable: bool = False) -> None:
    """Check the origin of a request.

    :param navigable: links of other sites may lead to the resource
    :raises ForeignHost: `Host` names another host
    :raises ForeignPage: a page of another site sent the request
    """
    request: ApiRequest = cherrypy.serving.request
    try:
        request.app.service.origin.check(request.message, navigable=navigable)
    except ForeignHost as error:
        raise problems.ForeignHost(host=error.host) from None
    except ForeignPage as error:
        raise problems.ForeignPage(origin=error.origin) from None


def authenticate() -> None:
    """Authenticate the caller.

    :raises Unauthenticated: the credentials are wrong or absent
    """
    request: ApiRequest = cherrypy.serving.request
    request.identity = request_context.identify(request.app.service.bridge, request.message)
    request.login = request.identity.name


def context() -> None:
    """Read the headers about the call itself.

    :raises MalformedRequest: a header is malformed
    """
    request: ApiRequest = cherrypy.serving.request
    request.context = request_context.context(request.identity, request.message, request.app.service.waiting)


def accept(media_type: str) -> None:
    """Check that the caller accepts this type.

    :raises NotAcceptable: the caller does not
    """
    negotiation.accept(cherrypy.serving.request.headers.get("accept"), media_type)


def arguments(entry: Entry) -> None:
    """Read the arguments of a verb, and the query options.

    :raises InvalidRequest: an argument or option cannot be read
    """
    request: ApiRequest = cherrypy.serving.request
    plan = entry.plan
    request.query = read_query(request.query_string)
    query, shown = _split(request.query, plan.query_options)
    request.shown = query_options.read(shown) if shown else None
    if plan.body:
        request.json = negotiation.body(request.message, request.app.service.options.max_depth)
    else:
        negotiation.no_body(request.message)
    request.params = plan.arguments(request.values, query, request.json)


def no_body() -> None:
    """Check that the request has no body.

    :raises MalformedRequest: the request has a body
    """
    negotiation.no_body(cherrypy.serving.request.message)


def coding() -> None:
    """Choose gzip for a large reply to a caller that accepts it."""
    request: ApiRequest = cherrypy.serving.request
    response: ApiResponse = cherrypy.serving.response
    if len(response.body) <= request.app.service.options.gzip_above:
        return
    set_vary_header(response, "Accept-Encoding")
    if negotiation.accepts_gzip(request.headers.get("accept-encoding", "")):
        response.headers["Content-Encoding"] = "gzip"


def tag() -> None:
    """Add the entity tag to a representation, and evaluate the conditions of the request.

    :raises PreconditionFailed: `If-Match` has another tag
    """
    request: ApiRequest = cherrypy.serving.request
    response: ApiResponse = cherrypy.serving.response
    if response.status != 200:
        return
    etag = etags.etag_of(response.body)
    headers = request.headers
    if (wanted := headers.get("if-match")) and not etags.matches_strongly(wanted, etag):
        raise PreconditionFailed(path=request.path_info, reason="it has changed")
    coding_ = response.headers.get("Content-Encoding", "")
    response.headers["ETag"] = etags.coded(etag, coding_) if coding_ else etag
    if (known := headers.get("if-none-match")) and etags.matches_weakly(known, etag):
        response.status = 304
        response.body = b""
        del response.headers["Content-Type"]
        response.headers.pop("Content-Encoding", None)


def compress() -> None:
    """Compress a reply for which gzip was chosen, always to the same bytes: its tag is a strong one."""
    response: ApiResponse = cherrypy.serving.response
    if response.body and response.headers.get("Content-Encoding") == "gzip":
        response.body = gzip.compress(response.body, _LEVEL, mtime=0)


def _split(query: Query, names: frozenset[str]) -> tuple[Query, Query]:
    """Return the arguments and the options in a query."""
    if not query or names.isdisjoint(query):
        return query, {}
    rest = {name: texts for name, texts in query.items() if name not in names}
    return rest, {name: texts for name, texts in query.items() if name in names}
