"""The HTTP front of one daemon: HTTP bindings put their sites here, on own or shared addresses."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from vdsm_bridge.config import LimitOptions
from vdsm_http.capacity import Capacity
from vdsm_http.listener import Guest, Listener
from vdsm_http.loop import Loop
from vdsm_http.site import Site
from vdsm_http.sockets import bind, cannot_listen, listen
from vdsm_http.tls.certificates import Certificates
from vdsm_http.tls.mode import Secured, Tls
from vdsm_http.tls.turns import Turns

log = logging.getLogger(__name__)

Where = tuple[str, int] | str

_PLAIN: Final = Tls("off")

_QUIET: Final = 0.05  # s without a byte from any client, after which no request is expected any more
#: The same while a connection has sent nothing: its client is about to, and may be slow on a busy machine.
_QUIET_FRESH: Final = 1.0
_LAST_REQUESTS: Final = 1.5  # s that clients may go on sending requests after a stop has begun
#: Seconds within which the kernel is done with a packet that it works on, also where it shares processors.
_PACKETS: Final = 0.02
#: Seconds that clients have for the last packet of handshakes that have begun: several times across an ocean.
_HANDSHAKES: Final = 0.3
_LOOK: Final = 0.005  # s between two looks whether requests have ended
_THREADS: Final = 0.2  # s within which idle threads must end


class Attachment:
    """A site on the front, until it is closed."""

    def __init__(self, front: Front, site: Site, listeners: Sequence[Listener]) -> None:
        self._front = front
        self._site = site
        self._listeners = listeners
        self._once = threading.Lock()

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of the site: `http://address:port`, `https://address:port`, `unix:path`."""
        return tuple(url for listener in self._listeners for url in listener.urls)

    @property
    def trouble(self) -> str:
        """The problem of the certificate of its addresses, and of those that are not served because of it."""
        found = [each.lookout.trouble() for each in self._listeners if each.lookout is not None]
        return "; ".join(dict.fromkeys(filter(None, found)))

    @property
    def waiting(self) -> int:
        """Requests that wait until others have ended."""
        return len(self._site.waiting)

    def close(self, grace: float) -> None:
        """Refuse new requests, wait up to `grace` seconds for running ones, release all resources.

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
        #: The certificate of this host, once a site has asked for TLS.
        self._certificates: Certificates | None = None
        #: Sites that wait for the end of their requests.
        self._leaving = 0

    def attach(
        self,
        site: Site,
        addresses: Sequence[Where],
        *,
        mode: int = 0o660,
        guests: Sequence[Guest] = (),
        tls: Tls = _PLAIN,
        limits: Callable[[], LimitOptions] | None = None,
    ) -> Attachment:
        """Serve a site.

        :param addresses: addresses and ports, paths of unix sockets. Port 0 takes any that is free. An
            address that a site of another name is served on already is shared with it
        :param mode: of the unix sockets
        :param guests: protocols that share these addresses
        :param tls: whether TCP addresses use TLS; sites that share an address must agree
        :param limits: returns the table `[limits]` in force, which holds for the whole front
        :raises OSError: cannot listen on an address; the message names it and the reason. Nothing is left
            then. Without a certificate that can be used, addresses that require TLS are taken, but
            connections to them are refused until there is one
        """
        with self._lock:
            self._secure(tls)
            self._capacity.options = limits or self._capacity.options
            site.closing = False
            if self._loop is None:
                self._loop = Loop()
                self._loop.start()
            mine: list[Listener] = []
            try:
                for where in addresses:
                    # Not in one go: those before the one that fails have to be withdrawn.
                    mine += [self._listener(self._loop, where, site, guests, mode=mode, tls=tls)]
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
            # Again and again: a request that has arrived is not under way until the loop has read it.
            _until(lambda: not (_remaining(loop, own) or site.running or site.waiting), end)
            loop.call(lambda: loop.reject(site))
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

    def _secure(self, tls: Tls) -> None:
        """Read the certificate if the site needs it."""
        if tls.mode != "off":
            if self._certificates is None:
                self._certificates = Certificates(tls.options, replaced=self._renew)
            self._certificates.refresh()

    def _renew(self) -> None:
        """Let listeners use a certificate that was read. Any thread may call this, also one in `attach`."""
        loop = self._loop
        if loop is not None:
            for listener in list(self._listeners.values()):
                if listener.lookout is not None:
                    loop.soon(listener.lookout.renew)

    def _listener(
        self, loop: Loop, where: Where, site: Site, guests: Sequence[Guest], *, mode: int, tls: Tls
    ) -> Listener:
        shared = self._listeners.get(where)
        if shared is not None:
            if not shared.bound.unix and shared.mode != tls.mode:
                other = shared.sites[0].name
                reason = (
                    f"{other} is served there with tls = '{shared.mode}', so '{tls.mode}' is not possible"
                )
                raise cannot_listen(where, reason)
            if any(other.name == site.name for other in shared.sites):
                reason = os.strerror(errno.EADDRINUSE)
                raise cannot_listen(where, reason) from OSError(errno.EADDRINUSE, reason)
            shared.add(site, guests)
            return shared
        secured = None
        if tls.mode != "off" and self._certificates is not None and not isinstance(where, str):
            secured = Secured(tls.mode, self._certificates, Turns(loop, self._capacity.handshakes))
        if secured is not None and secured.lacking and not isinstance(where, str):
            bound = bind(where)
        else:
            bound = listen(where, mode)
        listener = Listener(loop, bound, self._capacity, secured)
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
                loop.call(listener.reject)
                # Clients have sent the last packet of handshakes under way, and take a reset for a lost call.
                # What a processor of the kernel works on at this moment is in no table: wait for it first.
                time.sleep(_PACKETS)
                _until(listener.bound.settled, time.monotonic() + _HANDSHAKES)
                loop.call(listener.close)
                self._listeners = {w: each for w, each in self._listeners.items() if each is not listener}
                own.append(listener)
        return own

    def _rest(self) -> None:
        """End the threads if nothing is served any more."""
        if not (self._listeners or self._leaving) and self._loop is not None:
            loop, self._loop = self._loop, None
            loop.stop(_THREADS)


def _remaining(loop: Loop, listeners: Sequence[Listener]) -> bool:
    """Close idle connections. Return whether others remain."""
    left: list[bool] = [loop.call(listener.close_idle) for listener in listeners]
    return any(left)


def _until(condition: Callable[[], bool], end: float) -> None:
    while not condition() and time.monotonic() < end:
        time.sleep(_LOOK)


def _let_requests_arrive(listeners: Sequence[Listener], seconds: float) -> None:
    """Wait until no request arrives any more, so that no request in flight is lost."""
    end = time.monotonic() + seconds
    received, quiet_since = -1, 0.0
    while any(listener.sessions for listener in listeners) and (now := time.monotonic()) < end:
        before, received = received, sum(listener.received for listener in listeners)
        if received != before:
            quiet_since = now
        elif now - quiet_since > _QUIET:
            fresh = any(session.fresh for listener in listeners for session in list(listener.sessions))
            if not fresh or now - quiet_since > _QUIET_FRESH:
                return
        time.sleep(_LOOK)
