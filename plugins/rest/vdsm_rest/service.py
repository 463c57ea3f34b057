"""The state of the binding: the bridge, the event streams, and the current API."""

from __future__ import annotations

import logging
import threading
from typing import Final

from vdsm_bridge import Bridge, WaitSlots
from vdsm_bridge.api.routes import RouteConflict, derive
from vdsm_http import OriginCheck
from vdsm_rest import events
from vdsm_rest.options import RestOptions
from vdsm_rest.pages import Pages
from vdsm_rest.resources import Resources
from vdsm_rest.router import Router

log = logging.getLogger(__name__)

_NO_SNIFF: Final = {"X-Content-Type-Options": "nosniff"}


class Api:
    """Resources and conflicts of one revision of the API."""

    def __init__(self, bridge: Bridge, streams: events.Streams, revision: str, pages: Pages) -> None:
        routes = derive(bridge.verbs)
        self.revision = revision
        self.conflicts: tuple[RouteConflict, ...] = routes.conflicts
        self.resources = Resources(
            bridge,
            streams,
            Router(routes.routes),
            pages.of(routes.routes, revision),
            # The revision is in every reply: a client reads the API again when it changes.
            {"Vdsm-Revision": revision, **_NO_SNIFF},
        )


class Service:
    """The state that tools and handlers of requests share."""

    def __init__(self, bridge: Bridge, options: RestOptions) -> None:
        self.bridge = bridge
        self.options = options
        #: Slots for calls that wait for events: half of the threads.
        self.waiting = WaitSlots(max(1, options.max_threads // 2))
        self.streams = events.Streams(bridge, options)
        self.origin = OriginCheck(options.hosts)
        self._pages = Pages()
        self._lock = threading.Lock()
        self._api: Api | None = None

    def api(self) -> Api:
        """Return the current API; rebuilt when verbs were added or removed."""
        api = self._api
        if api is None or api.revision != self.bridge.revision:
            with self._lock:
                revision = self.bridge.revision
                if self._api is None or self._api.revision != revision:
                    self._api = Api(self.bridge, self.streams, revision, self._pages)
                    for conflict in self._api.conflicts:
                        log.error("Cannot offer a route: %s", conflict)
                api = self._api
        return api
