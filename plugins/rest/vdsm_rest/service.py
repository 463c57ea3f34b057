"""The service: one request in, one reply out, whatever happens. Knows WSGI's environment, no server."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from vdsm_bridge import Bridge, Context, Identity, Kind, Waiting, types
from vdsm_bridge.errors import NoSuchVerb, UnexpectedError, VdsmError
from vdsm_bridge.routes import BY_NAME, RouteConflict, derive
from vdsm_http import ForeignHost, ForeignPage, OriginCheck
from vdsm_http.wsgi import REQUEST
from vdsm_rest import caller, events, negotiation, problems, views
from vdsm_rest.arguments import NO_BODY, Query, read_query
from vdsm_rest.caller import Environ
from vdsm_rest.conditions import etag_of, matches_strongly, matches_weakly
from vdsm_rest.options import RestOptions
from vdsm_rest.pages import DOCS, Page, Pages
from vdsm_rest.problems import MethodNotAllowed, NoSuchResource, PreconditionFailed
from vdsm_rest.table import ROOT, Entry, Node, Table, segments_of

log = logging.getLogger(__name__)

Headers = list[tuple[str, str]]
_JSON: Final = ("Content-Type", "application/json")
_NO_SNIFF: Final = ("X-Content-Type-Options", "nosniff")
_READING: Final = ("GET", "HEAD", "OPTIONS")
_REVALIDATE: Final = ("Cache-Control", "no-cache")


class Reply(msgspec.Struct):
    """An answer. `headers` lack only what the server adds: date, length, connection."""

    status: int
    headers: Headers
    body: bytes = b""
    stream: events.EventStream | None = None


class Api:
    """Everything that holds for one revision of the API."""

    def __init__(self, bridge: Bridge, revision: str, pages: Pages) -> None:
        routes = derive(bridge.verbs)
        self.revision = revision
        self.conflicts: tuple[RouteConflict, ...] = routes.conflicts
        self.table = Table(routes.routes)
        self.pages: Mapping[str, Page] = pages.of(routes.routes, revision)
        #: On every reply, so that a client knows when to read the API again.
        self.header = ("Vdsm-Revision", revision)


class Service:
    """Answers requests by calling the bridge."""

    def __init__(self, bridge: Bridge, options: RestOptions) -> None:
        self._bridge = bridge
        self._options = options
        #: Calls that wait for events; the other half of the threads is left to others.
        self.waiting = Waiting(max(1, options.max_threads // 2))
        self.streams = events.Streams(bridge, options)
        self._origin = OriginCheck(options.hosts)
        self._pages = Pages()
        self._lock = threading.Lock()
        self._api: Api | None = None

    def api(self) -> Api:
        """The API as it is now; made anew when verbs came or went."""
        api = self._api
        if api is None or api.revision != self._bridge.revision:
            with self._lock:
                revision = self._bridge.revision
                if self._api is None or self._api.revision != revision:
                    self._api = Api(self._bridge, revision, self._pages)
                    for conflict in self._api.conflicts:
                        log.error("Cannot lay a route: %s", conflict)
                api = self._api
        return api

    def answer(self, environ: Environ) -> Reply:
        """The reply to a request, an error's included."""
        api = self.api()
        try:
            reply = self._answer(api, environ)
        except VdsmError as error:
            reply = refusal(error)
        except Exception:
            # A bug of ours ends this request only; the caller gets an id instead of a traceback.
            incident = uuid.uuid4().hex[:12]
            log.exception("A request failed unexpectedly, incident %s", incident)
            reply = refusal(UnexpectedError(verb="The request", incident=incident))
        reply.headers += (api.header, _NO_SNIFF)
        return reply

    def _answer(self, api: Api, environ: Environ) -> Reply:
        path = path_of(environ)
        method = environ["REQUEST_METHOD"]
        page = api.pages.get(path if path == ROOT else path.rstrip("/"))
        front = path == "/" and method in {"GET", "HEAD"}
        public = page is not None and page.public and method in {"GET", "HEAD"}
        self._check_origin(environ, navigable=front or public)
        if front:
            return Reply(303, [("Location", DOCS)])
        if page is not None:
            return self._page(page, method, environ)
        identity = caller.identify(self._bridge, environ)
        if path.rstrip("/") == events.PATH:
            return self._events(method, environ, identity)
        node, values = api.table.find(path)
        if node is None:
            raise _nothing_at(path)
        if method == "OPTIONS":
            return Reply(204, [("Allow", ", ".join(node.methods()))])
        entry = _entry(node, method, path)
        context = caller.context(identity, environ, self.waiting)
        return self._carry_out(entry, values, context, environ)

    def _check_origin(self, environ: Environ, *, navigable: bool) -> None:
        try:
            self._origin.check(environ[REQUEST], navigable=navigable)
        except ForeignHost as error:
            raise problems.ForeignHost(host=error.host) from None
        except ForeignPage as error:
            raise problems.ForeignPage(origin=error.origin) from None

    def _events(self, method: str, environ: Environ, identity: Identity) -> Reply:
        """A stream of events; whoever has any role may read it, as it may call `Events.subscribe`."""
        _reading_only(method, environ)
        if method == "OPTIONS":
            return Reply(204, [("Allow", ", ".join(_READING))])
        negotiation.accept(environ, events.MEDIA_TYPE)
        negotiation.no_body(environ)
        asked = events.wanted(environ)
        standing = self._bridge.standing(caller.proof_of(environ), identity)
        headers = list(events.HEADERS)
        if method != "GET":
            return Reply(200, headers)
        return Reply(200, headers, stream=self.streams.open(asked, identity, standing))

    def _page(self, page: Page, method: str, environ: Environ) -> Reply:
        _reading_only(method, environ)
        if method == "OPTIONS":
            return Reply(204, [("Allow", ", ".join(_READING))])
        if not page.public:
            caller.identify(self._bridge, environ)
        negotiation.accept(environ, page.media_type)
        body = page.body()
        headers = [("Content-Type", page.content_type), *page.headers]
        return _conditional(Reply(200, headers, body), environ)

    def _carry_out(self, entry: Entry, values: Sequence[str], context: Context, environ: Environ) -> Reply:
        negotiation.accept(environ, "application/json")
        query, shown = _split(entry, environ)
        # The order matters: a malformed view is refused before anything is done.
        view = views.read(shown) if shown else None
        body = negotiation.body(environ, self._options) if entry.plan.body else NO_BODY
        if not entry.plan.body:
            negotiation.no_body(environ)
        arguments = entry.plan.arguments(values, query, body)
        verb = entry.route.verb
        result = self._bridge.call(
            verb.name,
            arguments,
            context,
            text=entry.plan.text,
            condition=lambda: self._precondition(entry, values, context, environ),
        )
        if entry.route.method == "GET":
            return _conditional(_shown(entry, result, view, environ), environ)
        if verb.kind is Kind.TASK:
            return _accepted(result)
        if entry.route.part == "create":
            return _created(entry, result, body)
        if result is None:
            return Reply(204, [])
        return Reply(200, [_JSON], types.to_json(result))

    def _precondition(self, entry: Entry, values: Sequence[str], context: Context, environ: Environ) -> None:
        """Hold `If-Match` of a changing request against the item as it is now.

        :raises PreconditionFailed: it is another, or cannot be told
        :raises NotFound: it is gone; conditions hold only on what would succeed (RFC 9110, 13.2.1)
        """
        condition = environ.get("HTTP_IF_MATCH")
        if condition is None:
            return
        item = entry.item
        if item is None:
            raise PreconditionFailed(path=path_of(environ), reason="it has no entity tag")
        arguments = item.plan.arguments(values[:1], {}, NO_BODY)
        reading = msgspec.structs.replace(context, request_id="")
        current = self._bridge.call(item.route.verb.name, arguments, reading, text=True)
        if not matches_strongly(condition, etag_of(types.to_json(current))):
            raise PreconditionFailed(path=path_of(environ), reason="it has changed")


def refusal(error: VdsmError) -> Reply:
    """The reply that an error is."""
    problem = problems.problem_of(error)
    if problem.status >= 500:
        log.warning("%d %s: %s", problem.status, problem.slug, problem.detail)
    headers = [("Content-Type", problems.MEDIA_TYPE), *problems.headers_of(error, problem.status)]
    return Reply(problem.status, headers, problems.encode(problem))


def path_of(environ: Mapping[str, Any]) -> str:
    """The path as it came, percent-encoded: only so a slash within a segment is not mistaken."""
    uri: str = environ.get("REQUEST_URI") or environ["PATH_INFO"]
    return uri.partition("?")[0]


def _reading_only(method: str, environ: Environ) -> None:
    if method not in _READING:
        raise MethodNotAllowed(method=method, path=environ["PATH_INFO"], allowed=list(_READING))


def _nothing_at(path: str) -> VdsmError:
    segments = segments_of(path)
    if len(segments) == 3 and path.startswith(f"{ROOT}{BY_NAME}/"):
        return NoSuchVerb(verb=segments[-1])
    return NoSuchResource(path=path)


def _entry(node: Node, method: str, path: str) -> Entry:
    entry = node.entries.get("GET" if method == "HEAD" else method)
    if entry is None:
        raise MethodNotAllowed(method=method, path=path, allowed=node.methods())
    return entry


def _split(entry: Entry, environ: Environ) -> tuple[Query, Query]:
    """The query's arguments, and its parameters of the view."""
    query = read_query(environ.get("QUERY_STRING", ""))
    names = entry.plan.views
    if not query or names.isdisjoint(query):
        return query, {}
    rest = {name: texts for name, texts in query.items() if name not in names}
    return rest, {name: texts for name, texts in query.items() if name in names}


def _shown(entry: Entry, result: Any, view: views.View | None, environ: Environ) -> Reply:
    """A result as a representation, with the view on it."""
    if result is None:
        return Reply(204, [])
    headers = [_JSON, _REVALIDATE]
    if entry.route.part == "list":
        items = list(result.values()) if isinstance(result, dict) else result
        total = len(items)
        if view is not None:
            items, total = view.choose(types.builtins(items))
            query = [(n, v) for n, vs in read_query(environ.get("QUERY_STRING", "")).items() for v in vs]
            if link := view.links(path_of(environ), query, total):
                headers.append(("Link", link))
        headers.append(("Total-Count", str(total)))
        return Reply(200, headers, types.to_json(items))
    return Reply(200, headers, types.to_json(result if view is None else view.cut(types.builtins(result))))


def _conditional(reply: Reply, environ: Environ) -> Reply:
    """The reply to a reading request with its entity tag, or 304, or the refusal of its condition."""
    if reply.status != 200:
        return reply
    etag = etag_of(reply.body)
    if (wanted := environ.get("HTTP_IF_MATCH")) and not matches_strongly(wanted, etag):
        raise PreconditionFailed(path=path_of(environ), reason="it has changed")
    reply.headers.append(("ETag", etag))
    if (known := environ.get("HTTP_IF_NONE_MATCH")) and matches_weakly(known, etag):
        kept = [header for header in reply.headers if header[0] != "Content-Type"]
        return Reply(304, kept)
    return reply


def _accepted(result: Any) -> Reply:
    return Reply(202, [_JSON, ("Location", f"{ROOT}/tasks/{result.task_id}")], types.to_json(result))


def _created(entry: Entry, result: Any, body: Any) -> Reply:
    headers = [_JSON] if result is not None else []
    key = entry.route.namespace.key
    made = _id_in(types.builtins(result), key) or _id_in(body, key)
    if made:
        headers.append(("Location", f"{entry.path}/{quote(made, safe='')}"))
    return Reply(201, headers, b"" if result is None else types.to_json(result))


def _id_in(value: Any, key: str) -> str:
    """The id of an object in its description, in whichever case (`vmID`, `vmId`) it is spelled there."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for name, member in value.items():
            if name.lower() == key.lower() and isinstance(member, str):
                return member
    return ""
