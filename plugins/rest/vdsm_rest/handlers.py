"""The handlers of resources: CherryPy calls one, after the tools, for the body of the reply."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import quote

import cherrypy
import msgspec

from vdsm_bridge import Bridge, Kind, types
from vdsm_bridge.errors import VdsmError
from vdsm_rest import context, etags, events
from vdsm_rest.arguments import NO_BODY
from vdsm_rest.exchange import ApiRequest, ApiResponse
from vdsm_rest.pages import DOCS, Page
from vdsm_rest.problems import PreconditionFailed
from vdsm_rest.router import ROOT, Entry

Handler = Callable[[], bytes]

_JSON: Final = "application/json"
_PARAMETER: Final = re.compile(r"\{[^}]*\}")


def front_door() -> bytes:
    """Redirect to the page for people.

    CherryPy's own redirection sends HTML, and an absolute URL that is built from the header `Host`.
    """
    response: ApiResponse = cherrypy.serving.response
    response.status = 303
    response.headers["Location"] = DOCS
    return b""


def refuse(error: VdsmError) -> Handler:
    """Return a handler that only raises this error."""

    def handler() -> bytes:
        raise error

    return handler


def options(methods: Sequence[str]) -> Handler:
    """Return the handler of `OPTIONS`."""

    def handler() -> bytes:
        response: ApiResponse = cherrypy.serving.response
        response.status = 204
        response.headers["Allow"] = ", ".join(methods)
        return b""

    return handler


def page(what: Page) -> Handler:
    """Return the handler of a page."""

    def handler() -> bytes:
        response: ApiResponse = cherrypy.serving.response
        response.headers["Content-Type"] = what.content_type
        response.headers.update(what.headers)
        return what.body()

    return handler


def event_stream(bridge: Bridge, streams: events.Streams) -> Handler:
    """Return the handler of the stream of events. Any role may read it, as with `Events.subscribe`."""

    def handler() -> bytes:
        request: ApiRequest = cherrypy.serving.request
        response: ApiResponse = cherrypy.serving.response
        asked = events.wanted(request.message)
        standing = bridge.standing(context.credentials_of(request.message), request.identity)
        response.headers.update(events.HEADERS)
        if request.method == "GET":
            response.events = streams.open(asked, request.identity, standing)
        return b""

    return handler


class VerbHandler:
    """The handler of a route: calls the verb, and represents its result."""

    def __init__(self, bridge: Bridge, entry: Entry) -> None:
        self._bridge = bridge
        self._entry = entry

    def __call__(self) -> bytes:
        """Call the verb, and return the body of the reply.

        :raises VdsmError: the verb's, and `PreconditionFailed`
        """
        entry = self._entry
        verb = entry.route.verb
        request: ApiRequest = cherrypy.serving.request
        response: ApiResponse = cherrypy.serving.response
        result = self._bridge.call(
            verb.name,
            request.params,
            request.context,
            text=entry.plan.text,
            condition=lambda: self._precondition(request),
        )
        if entry.route.method == "GET":
            return self._shown(result, request, response)
        if verb.kind is Kind.TASK:
            response.status = 202
            response.headers["Location"] = f"{ROOT}/tasks/{result.task_id}"
        elif entry.route.part == "create":
            response.status = 201
            if made := self._made(result, request.json):
                collection = filled(entry.path, request.values)
                response.headers["Location"] = f"{collection}/{quote(made, safe='')}"
        elif result is None:
            response.status = 204
        if result is None:
            return b""
        response.headers["Content-Type"] = _JSON
        return types.to_json(result)

    def _precondition(self, request: ApiRequest) -> None:
        """Compare `If-Match` of a changing request with the current item.

        The bridge calls this unless the request repeats one that was answered.

        :raises PreconditionFailed: the tag differs, or the item has none
        :raises NotFound: the item is gone; conditions apply only to what would succeed (RFC 9110, 13.2.1)
        """
        condition = request.headers.get("if-match")
        if condition is None:
            return
        item = self._entry.item
        if item is None:
            raise PreconditionFailed(path=request.path_info, reason="it has no entity tag")
        arguments = item.plan.arguments(request.values, {}, NO_BODY)
        reading = msgspec.structs.replace(request.context, request_id="")
        current = self._bridge.call(item.route.verb.name, arguments, reading, text=True)
        if not etags.matches_strongly(condition, etags.etag_of(types.to_json(current))):
            raise PreconditionFailed(path=request.path_info, reason="it has changed")

    def _shown(self, result: Any, request: ApiRequest, response: ApiResponse) -> bytes:
        """Return a result as JSON, cut down by the query options."""
        if result is None:
            response.status = 204
            return b""
        options, headers = request.shown, response.headers
        headers["Content-Type"] = _JSON
        headers["Cache-Control"] = "no-cache"
        if self._entry.route.part != "list":
            return types.to_json(result if options is None else options.cut(types.builtins(result)))
        items = list(result.values()) if isinstance(result, dict) else result
        total = len(items)
        if options is not None:
            items, total = options.choose(types.builtins(items))
            query = [(name, value) for name, values in request.query.items() for value in values]
            if link := options.links(request.path_info, query, total):
                headers["Link"] = link
        headers["Total-Count"] = str(total)
        return types.to_json(items)

    def _made(self, result: Any, body: Any) -> str:
        key = self._entry.route.namespace.key
        return _id_in(types.builtins(result), key) or _id_in(body, key)


def filled(template: str, values: Sequence[str]) -> str:
    """Return a path with the values of its parameters, percent-encoded."""
    remaining = iter(values)
    return _PARAMETER.sub(lambda _: quote(next(remaining), safe=""), template)


def _id_in(value: Any, key: str) -> str:
    """Return the id in a description of an object; VDSM spells it `vmID` or `vmId`."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for name, member in value.items():
            if name.lower() == key.lower() and isinstance(member, str):
                return member
    return ""
