"""Dispatch: from method and path to a resource, which is a handler and the configuration of its tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from vdsm_bridge import Bridge
from vdsm_bridge.api.routes import BY_NAME
from vdsm_bridge.errors import NoSuchVerb, VdsmError
from vdsm_rest import events, handlers
from vdsm_rest.exchange import reply_errors
from vdsm_rest.handlers import Handler
from vdsm_rest.pages import Page
from vdsm_rest.problems import MethodNotAllowed, NoSuchResource
from vdsm_rest.router import ROOT, Entry, Router, segments_of
from vdsm_rest.steps import configuration

_READING: Final = ("GET", "HEAD", "OPTIONS")
_SHOWING: Final = ("GET", "HEAD")


class Setup:
    """The configuration of resources of one kind, and once it was applied the hooks."""

    __slots__ = ("config", "hooks")

    def __init__(self, headers: Mapping[str, str], **steps: Mapping[str, Any]) -> None:
        self.config = configuration({**steps, "headers": {"headers": list(headers.items())}})
        #: CherryPy's map of hooks. Requests share it: a tool that attaches hooks later must copy it.
        self.hooks: Any = None


class Resource(NamedTuple):
    """A handler and its setup."""

    handler: Handler
    setup: Setup


class Resources:
    """The resources of one revision of the API, by path.

    :param headers: of every reply
    """

    def __init__(
        self,
        bridge: Bridge,
        streams: events.Streams,
        router: Router,
        pages: Mapping[str, Page],
        headers: Mapping[str, str],
    ) -> None:
        self._bridge = bridge
        self._router = router
        self._headers = headers
        self._open = self._setup()
        #: Everything else needs an identity, including errors about paths and methods.
        self._known = self._setup(authenticate={})
        self._door = Resource(handlers.front_door, self._setup(origin={"navigable": True}))
        self._pages = {path: self._page(page) for path, page in pages.items()}
        self._events = Resource(
            reply_errors(handlers.event_stream(bridge, streams)),
            self._setup(authenticate={}, accept={"media_type": events.MEDIA_TYPE}, no_body={}),
        )
        self._verbs: dict[Entry, Resource] = {}

    def find(self, method: str, path: str) -> tuple[Resource, list[str]]:
        """Return the resource of a request, and the values of the parameters in its path.

        :param path: as received, percent-encoded, so that a slash within a segment is kept apart
        """
        bare = path if path == ROOT else path.rstrip("/")
        page = self._pages.get(bare)
        if page is not None:
            return self._fixed(method, path, page, self._open), []
        if path == "/" and method in _SHOWING:
            return self._door, []
        if bare == events.PATH:
            return self._fixed(method, path, self._events, self._known), []
        try:
            return self._route(method, path)
        except VdsmError as error:
            # Raised by the handler, after authentication.
            return self._refusal(error, self._known), []

    def _route(self, method: str, path: str) -> tuple[Resource, list[str]]:
        node, values = self._router.find(path)
        if node is None:
            raise _nothing_at(path)
        if method == "OPTIONS":
            return Resource(handlers.options(node.methods()), self._known), []
        entry = node.entries.get("GET" if method == "HEAD" else method)
        if entry is None:
            raise MethodNotAllowed(method=method, path=path, allowed=node.methods())
        found = self._verbs.get(entry)
        if found is None:
            found = self._verbs[entry] = self._verb(entry)
        return found, values

    def _verb(self, entry: Entry) -> Resource:
        etags: dict[str, Any] = {"etags": {}} if entry.route.method == "GET" else {}
        setup = self._setup(
            authenticate={},
            context={},
            accept={"media_type": "application/json"},
            arguments={"entry": entry},
            coding={},
            compress={},
            **etags,
        )
        return Resource(reply_errors(handlers.VerbHandler(self._bridge, entry)), setup)

    def _page(self, page: Page) -> Resource:
        known: dict[str, Any] = {} if page.public else {"authenticate": {}}
        setup = self._setup(
            origin={"navigable": page.public},
            accept={"media_type": page.media_type},
            coding={},
            etags={},
            compress={},
            **known,
        )
        return Resource(handlers.page(page), setup)

    def _fixed(self, method: str, path: str, resource: Resource, others: Setup) -> Resource:
        """Return the resource for a method on a read-only path; `others` is the setup of refusals."""
        if method in _SHOWING:
            return resource
        if method == "OPTIONS":
            return Resource(handlers.options(_READING), others)
        return self._refusal(MethodNotAllowed(method=method, path=path, allowed=list(_READING)), others)

    def _refusal(self, error: VdsmError, setup: Setup) -> Resource:
        return Resource(reply_errors(handlers.refuse(error)), setup)

    def _setup(self, origin: Mapping[str, Any] | None = None, **steps: Mapping[str, Any]) -> Setup:
        return Setup(self._headers, origin=origin or {}, **steps)


def _nothing_at(path: str) -> VdsmError:
    segments = segments_of(path)
    if len(segments) == 3 and path.startswith(f"{ROOT}{BY_NAME}/"):
        return NoSuchVerb(verb=segments[-1])
    return NoSuchResource(path=path)
