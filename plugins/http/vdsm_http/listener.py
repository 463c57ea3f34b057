"""A listening socket with its sites and its connections."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Final, NamedTuple

from vdsm_http import replies
from vdsm_http.arrivals import Arrivals
from vdsm_http.capacity import Capacity, Shares, Throttle, descriptors
from vdsm_http.channel import Channel
from vdsm_http.loop import Loop
from vdsm_http.pace import Pace
from vdsm_http.refused import Refused
from vdsm_http.session import Session
from vdsm_http.site import Site
from vdsm_http.sockets import Bound, has_input
from vdsm_http.tls.handshake import Handshake
from vdsm_http.tls.lookout import Lookout
from vdsm_http.tls.mode import Mode, Secured

#: Connections that are accepted at a time, before other events are handled.
_BURST: Final = 64
#: Seconds for them.
_SLICE: Final = 0.005
#: Refused connections that are answered at a time, and per second and party; others are closed at once.
_MOST_REFUSED: Final = 16
_REFUSED_PER_SECOND: Final = 20.0
#: Seconds without new connections after the system had no descriptor left.
_PAUSE: Final = 0.5


class Guest(NamedTuple):
    """A protocol that is not HTTP and shares a listener with it.

    `recognise` is given the first bytes of a connection; it returns None as long as they are too few. `take`
    is called with the connection; it returns at once.
    """

    recognise: Callable[[bytes], bool | None]
    take: Callable[[Channel], None]


class Listener:
    """A listening socket with its sites and protocols."""

    def __init__(self, loop: Loop, bound: Bound, capacity: Capacity, tls: Secured | None = None) -> None:
        self._loop = loop
        self.bound = bound
        #: None where connections are plain, as those of unix sockets always are.
        self.tls = tls
        self.sites: list[Site] = []
        #: Protocols beside HTTP, each with the site that brought it.
        self.guests: list[tuple[Site, Guest]] = []
        self._capacity = capacity
        self.buffers = capacity.buffers
        self.timers = loop.timers
        self.sessions: set[Session | Handshake] = set()
        self._shares = Shares(capacity.shares)
        self.channels: dict[Channel, Site] = {}
        #: Pieces received; a stop waits until no more arrive.
        self.received = 0
        self.closing = False
        self._resting = _Resting(self)
        self.lookout = None if tls is None else Lookout(loop, self, tls)
        self._arrivals = Arrivals(loop.timers, capacity.arrivals, bound.hold_off)
        self._refused: set[Refused] = set()
        self._refusals = Pace(lambda: _REFUSED_PER_SECOND)
        self._full = Throttle()
        self._short = Throttle()
        self._greedy = Throttle()

    def add(self, site: Site, guests: Sequence[Guest]) -> None:
        """Serve a site and its further protocols."""
        self.sites = [*self.sites, site]
        self.guests = [*self.guests, *((site, guest) for guest in guests)]

    def remove(self, site: Site) -> None:
        """Serve a site no more. The last one stays: it answers what still arrives."""
        self.guests = [pair for pair in self.guests if pair[0] is not site]
        if self.sites != [site]:
            self.sites = [each for each in self.sites if each is not site]

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs it serves: two where both plain connections and TLS are accepted."""
        plain = (self.bound.url,) if self.mode != "required" else ()
        secure = (self.lookout.url,) if self.lookout is not None and self.lookout.served else ()
        return plain + secure

    @property
    def mode(self) -> Mode:
        """Whether connections are plain, encrypted, or either."""
        return "off" if self.tls is None else self.tls.mode

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
        if self.bound.closed or not self.bound.listening:
            return False  # it was closed after the poll that found connections, or lacks a certificate
        if self.lookout is not None:
            self.lookout.look()
        end = time.monotonic() + _SLICE
        for _ in range(_BURST):
            try:
                accepted = self.bound.accept()
            except OSError as error:
                self._short.warn(f"Cannot take a connection on {self.bound.url}: {error.strerror}")
                # The owner of a stream closes its descriptor later: trying at once would find none free.
                if self._evict(self._capacity.shares) is not False:
                    self._resting.begin()
                return False
            if accepted is None:
                return False
            kind = Session if self.tls is None else Handshake
            session = kind(self._loop, self, *accepted)
            if self._admit(session):
                self.adopt(session)
                self._arrivals.add(session)
            else:
                self._arrivals.refuse(session.peer, session.party)
                self._turn_away(accepted[0], session.party)
            if time.monotonic() > end:
                break
        return True

    def adopt(self, session: Session | Handshake) -> None:
        """Count a connection."""
        self.sessions.add(session)
        self._shares.add(session)

    def discard(self, session: Session | Handshake) -> None:
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
        self.channels[channel] = site
        self._shares.add(channel)

    def release(self, channel: Channel) -> None:
        """Forget a connection that left HTTP and was closed."""
        self.channels.pop(channel, None)
        self._shares.remove(channel)

    def cut_channels(self, site: Site) -> None:
        """Break the connections that left HTTP for a site."""
        for channel, owner in list(self.channels.items()):
            if owner is site:
                channel.cut()

    def reject(self) -> None:
        """Let no further connection begin. In the loop."""
        self.closing = True
        self._arrivals.end()
        self.bound.reject()

    def close(self) -> None:
        """Take the connections that have been made, and stop listening. In the loop."""
        while self.ready():
            pass
        self._arrivals.end()
        self._resting.end()
        if self.lookout is not None:
            self.lookout.closed = True
        self._loop.forget(self.bound.socket.fileno())
        self.bound.close()

    def open(self) -> None:
        """Take connections, once there is a certificate if that is needed. In the loop."""
        if self.lookout is not None:
            self.lookout.begin()
        if self.bound.listening:
            self._loop.watch(self.bound.socket.fileno(), self)

    def rest(self) -> None:
        """Take no connections for a while."""
        self._loop.forget(self.bound.socket.fileno())

    def close_idle(self) -> bool:
        """Close the connections without a request under way. Return whether others remain. In the loop."""
        with self._loop.crew.lock:
            idle = [session for session in self.sessions if not session.busy]
        for session in idle:
            # Closing a socket with unread input resets the connection: its request is answered instead.
            if not has_input(session.fd):
                session.close()
        return bool(self.sessions)

    def cut(self) -> None:
        """Break the remaining HTTP connections, with their requests or unread replies. In the loop."""
        for session in list(self.sessions):
            session.end()
        for refused in list(self._refused):
            refused.close()

    def may_run(self, session: Session) -> bool:
        """Return whether the next request of a connection may run now, by the rate of its party."""
        # Root on a unix socket must always be able to get in.
        return session.peer.uid == 0 or self._capacity.requests.take(session.party)

    def _admit(self, session: Session | Handshake) -> bool:
        """Return whether a connection may be open; the party with the most of them yields to others."""
        most = self._capacity.options().connections
        if most and session.peer.uid != 0 and self._capacity.shares.count(session.party) >= most:
            self._greedy.warn(f"{session.party} has {most} connections, the maximum ([limits] connections)")
            return False
        limit = max(site.limits.max_connections for site in self.sites)
        if self._shares.total >= limit:
            self._full.warn(f"{limit} connections are open on {self.bound.url}, the maximum")
            return self._evict(self._shares, session.party) is not None
        limit = descriptors()
        if self._capacity.shares.total >= limit:
            self._full.warn(f"{limit} connections are open in total, the maximum of the limit of open files")
            return self._evict(self._capacity.shares, session.party) is not None
        return True

    def _turn_away(self, sock: socket.socket, party: str) -> None:
        """Refuse a connection that was not admitted."""
        if len(self._refused) >= _MOST_REFUSED or not self._refusals.take(party):
            sock.close()
            return
        response = self.sites[0].refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections are open")
        body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        head = replies.head(response.status, response.headers, length=len(body), connection="close")
        refused = Refused(self._loop, sock, head + body, self._refused.discard)
        self._refused.add(refused)
        refused.begin()

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
