"""A listening socket with its sites and its connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from vdsm_http.capacity import Capacity, Shares, Throttle, descriptors
from vdsm_http.channel import Channel
from vdsm_http.loop import Loop
from vdsm_http.session import Session
from vdsm_http.site import Site
from vdsm_http.sockets import Bound

#: Connections that are taken in one go, before others have their turn.
_BURST: Final = 64
#: Seconds without new connections after the system had no descriptor left.
_PAUSE: Final = 0.5


class Guest(NamedTuple):
    """A protocol that is not HTTP and shares a listener with it.

    `recognise` is given the first bytes of a connection; it returns None as long as they are too few. `take`
    gets the connection; it returns at once.
    """

    recognise: Callable[[bytes], bool | None]
    take: Callable[[Channel], None]


class Listener:
    """One socket, and what it serves."""

    def __init__(self, loop: Loop, bound: Bound, capacity: Capacity) -> None:
        self._loop = loop
        self.bound = bound
        self.sites: list[Site] = []
        #: Protocols beside HTTP, each with the site that brought it.
        self.guests: list[tuple[Site, Guest]] = []
        self._capacity = capacity
        self.buffers = capacity.buffers
        self.timers = loop.timers
        self.sessions: set[Session] = set()
        self._shares = Shares(capacity.shares)
        self._channels: dict[Channel, Site] = {}
        #: Pieces received; a stop waits until no more arrive.
        self.heard = 0
        self.closing = False
        self._resting = _Resting(self)
        self._full = Throttle()
        self._short = Throttle()

    def add(self, site: Site, guests: Sequence[Guest]) -> None:
        """Serve a site, and protocols that come with it."""
        self.sites = [*self.sites, site]
        self.guests = [*self.guests, *((site, guest) for guest in guests)]

    def remove(self, site: Site) -> None:
        """Serve a site no more. The last one stays: it answers what still arrives."""
        self.guests = [pair for pair in self.guests if pair[0] is not site]
        if self.sites != [site]:
            self.sites = [each for each in self.sites if each is not site]

    @property
    def timeout(self) -> float:
        """Seconds for what belongs to no site yet."""
        return self.sites[0].limits.timeout

    @property
    def max_header(self) -> int:
        """Bytes of a head whose site is not known yet."""
        return max(site.limits.max_header for site in self.sites)

    def choose(self, method: str, path: str) -> Site:
        """Return the site that answers a request."""
        for site in self.sites:
            if site.claims(method, path):
                return site
        return self.sites[0]

    def ready(self, _events: int = 0) -> bool:
        """Take the connections that wait. Return whether there may be more. In the loop."""
        for _ in range(_BURST):
            try:
                accepted = self.bound.accept()
            except OSError as error:
                self._short.warn(f"Cannot take a connection on {self.bound.url}: {error.strerror}")
                # A stream gives its descriptor back when its owner notices: looking at once finds none free.
                if self._evict(self._capacity.shares) is not False:
                    self._resting.begin()
                return False
            if accepted is None:
                return False
            session = Session(self._loop, self, *accepted)
            if self._admit(session):
                self.sessions.add(session)
                self._shares.add(session)
                session.begin()
            else:
                session.close()
        return True

    def discard(self, session: Session) -> None:
        """Forget a connection that was closed."""
        self.sessions.discard(session)
        self._shares.remove(session)
        if session.held_in:
            self.buffers.hold_in(-session.held_in)
            session.held_in = 0
        self.buffers.release_out(session)

    def handed_over(self, session: Session, channel: Channel, site: Site) -> None:
        """Count a connection that left HTTP for a site until it is closed."""
        self.discard(session)
        self._channels[channel] = site
        self._shares.add(channel)

    def release(self, channel: Channel) -> None:
        """Forget a connection that left HTTP and was closed."""
        self._channels.pop(channel, None)
        self._shares.remove(channel)

    def cut_channels(self, site: Site) -> None:
        """Break the connections that left HTTP for a site."""
        for channel, owner in list(self._channels.items()):
            if owner is site:
                channel.cut()

    def close(self) -> None:
        """Take the connections that have been made, and stop listening. In the loop."""
        self.closing = True
        self.bound.turn_away()
        while self.ready():
            pass
        self._resting.end()
        self._loop.forget(self.bound.socket.fileno())
        self.bound.close()

    def open(self) -> None:
        """Begin to listen. In the loop."""
        self._loop.watch(self.bound.socket.fileno(), self)

    def rest(self) -> None:
        """Take no connections for a while."""
        self._loop.forget(self.bound.socket.fileno())

    def close_idle(self) -> None:
        """Close the connections without a request under way. In the loop."""
        with self._loop.crew.lock:
            idle = [session for session in self.sessions if not session.busy]
        for session in idle:
            session.close()

    @property
    def busy(self) -> bool:
        """Whether a request runs, or a reply is not sent."""
        return any(session.busy for session in list(self.sessions))

    def cut(self) -> None:
        """Break what is left of HTTP: requests that do not end, replies that nobody reads. In the loop."""
        for session in list(self.sessions):
            session.end()

    def _admit(self, session: Session) -> bool:
        """Return whether a connection may be open; the party with the most of them yields to others."""
        limit = max(site.limits.max_connections for site in self.sites)
        if self._shares.total >= limit:
            self._full.warn(f"{limit} connections are open on {self.bound.url}, as many as may be")
            return self._evict(self._shares, session.party) is not None
        limit = descriptors()
        if self._capacity.shares.total >= limit:
            self._full.warn(f"{limit} connections are open in all, as many as the limit of open files allows")
            return self._evict(self._capacity.shares, session.party) is not None
        return True

    def _evict(self, shares: Shares, newcomer: str = "") -> bool | None:
        """Let a connection make room. Return whether it is a stream; None if there is none."""
        with self._loop.crew.lock:
            victim = shares.victim(newcomer)
            if victim is None:
                return None
            # A stream counts as gone from now on, however long its owner takes: the next one is another.
            shares.remove(victim)
            victim.make_room()
        return victim.stream


class _Resting:
    """A pause in taking connections."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.deadline = 0.0
        self.tick = 0
        self.closed = False

    def begin(self) -> None:
        """Rest for a moment."""
        self._listener.rest()
        self.deadline = time.monotonic() + _PAUSE
        self._listener.timers.add(self)

    def expired(self, _now: float) -> None:
        """Go on."""
        with suppress(ValueError):
            self._listener.open()

    def end(self) -> None:
        """Never go on."""
        self.closed = True
