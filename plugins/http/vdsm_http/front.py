"""The HTTP front of one daemon: HTTP bindings put their sites here, on own or shared addresses."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from vdsm_http.capacity import Capacity
from vdsm_http.listener import Guest, Listener
from vdsm_http.loop import Loop
from vdsm_http.site import Site
from vdsm_http.sockets import cannot_listen, listen

log = logging.getLogger(__name__)

Where = tuple[str, int] | str

_QUIET: Final = 0.05  # s without a byte from any client, after which no request is expected any more
_LAST_REQUESTS: Final = 1.0  # s that clients may go on sending requests after a stop has begun
_LOOK: Final = 0.005  # s between two looks whether requests have ended
_THREADS: Final = 0.2  # s that idle threads get to end


class Attachment:
    """A site on the front, until it is closed."""

    def __init__(self, front: Front, site: Site, listeners: Sequence[Listener]) -> None:
        self._front = front
        self._site = site
        self._listeners = listeners
        self._once = threading.Lock()

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the site is served: `http://address:port`, `unix:path`."""
        return tuple(listener.bound.url for listener in self._listeners)

    @property
    def waiting(self) -> int:
        """Requests that wait until others have ended."""
        return len(self._site.waiting)

    def close(self, grace: float) -> None:
        """Take no more requests, let those that run end within `grace` seconds, free everything.

        Closing again does nothing, and does not wait either.
        """
        if not self._once.acquire(blocking=False):
            return
        self._front.detach(self._site, self._listeners, grace)


class Front:
    """One loop and its threads, shared by all sites; they exist as long as there is a site."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: Loop | None = None
        self._listeners: dict[Where, Listener] = {}
        self._capacity = Capacity()
        #: Sites that wait for the end of their requests.
        self._leaving = 0

    def attach(
        self, site: Site, addresses: Sequence[Where], *, mode: int = 0o660, guests: Sequence[Guest] = ()
    ) -> Attachment:
        """Serve a site.

        :param addresses: addresses and ports, paths of unix sockets. Port 0 takes any that is free. An
            address that a site of another name is served on already is shared with it
        :param mode: of the unix sockets
        :param guests: protocols that share these addresses
        :raises OSError: an address cannot be listened on; its text says which, and why. Nothing is left then
        """
        with self._lock:
            site.closing = False
            if self._loop is None:
                self._loop = Loop()
                self._loop.start()
            mine: list[Listener] = []
            try:
                for where in addresses:
                    # Not in one go: those before the one that fails have to be withdrawn.
                    mine += [self._listener(self._loop, where, site, mode, guests)]
            except OSError:
                self._withdraw(self._loop, site, mine)
                self._rest()
                raise
            return Attachment(self, site, mine)

    def detach(self, site: Site, listeners: Sequence[Listener], grace: float) -> None:
        """Undo `attach`; see `Attachment.close`."""
        end = time.monotonic() + grace
        with self._lock:
            loop = self._loop
            if loop is None:
                return
            own = self._withdraw(loop, site, listeners)
            self._leaving += 1
        # Without the lock: sites that stop side by side share the time.
        try:
            _let_requests_arrive(own, min(_LAST_REQUESTS, grace / 2))
            for listener in own:
                loop.call(listener.close_idle)
            _until(lambda: not _busy(site, own), end)
            loop.call(lambda: loop.turn_away(site))
            for listener in listeners:
                listener.cut_channels(site)
            for listener in own:
                loop.call(listener.cut)
            _until(lambda: not site.running, time.monotonic() + _THREADS / 2)
            if site.running:
                log.warning("%d requests did not end within %.1f s and are left behind", site.running, grace)
        finally:
            with self._lock:
                self._leaving -= 1
                self._rest()

    def _listener(self, loop: Loop, where: Where, site: Site, mode: int, guests: Sequence[Guest]) -> Listener:
        shared = self._listeners.get(where)
        if shared is not None:
            if any(other.name == site.name for other in shared.sites):
                reason = os.strerror(errno.EADDRINUSE)
                raise cannot_listen(where, reason) from OSError(errno.EADDRINUSE, reason)
            shared.add(site, guests)
            return shared
        listener = Listener(loop, listen(where, mode), self._capacity)
        listener.add(site, guests)
        if not isinstance(where, tuple) or where[1]:
            self._listeners[where] = listener
        else:
            self._listeners[where[0], listener.bound.socket.getsockname()[1]] = listener
        loop.call(listener.open)
        return listener

    def _withdraw(self, loop: Loop, site: Site, listeners: Sequence[Listener]) -> list[Listener]:
        """Take a site from its listeners. Close those that have no other one, and return them."""
        site.closing = True
        own = []
        for listener in listeners:
            listener.remove(site)
            if listener.sites == [site]:
                loop.call(listener.close)
                self._listeners = {w: each for w, each in self._listeners.items() if each is not listener}
                own.append(listener)
        return own

    def _rest(self) -> None:
        """End the threads if nothing is served any more."""
        if not (self._listeners or self._leaving) and self._loop is not None:
            loop, self._loop = self._loop, None
            loop.stop(_THREADS)


def _busy(site: Site, listeners: Sequence[Listener]) -> bool:
    return bool(site.running or site.waiting) or any(listener.busy for listener in listeners)


def _until(condition: Callable[[], bool], end: float) -> None:
    while not condition() and time.monotonic() < end:
        time.sleep(_LOOK)


def _let_requests_arrive(listeners: Sequence[Listener], seconds: float) -> None:
    """Wait until no request arrives any more: none that a client has sent is lost."""
    end = time.monotonic() + seconds
    heard, quiet_since = -1, 0.0
    while any(listener.sessions for listener in listeners) and (now := time.monotonic()) < end:
        before, heard = heard, sum(listener.heard for listener in listeners)
        if heard != before:
            quiet_since = now
        elif now - quiet_since > _QUIET:
            return
        time.sleep(_LOOK)
