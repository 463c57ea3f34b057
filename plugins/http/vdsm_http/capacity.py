"""Shares of limited resources: descriptors and memory. The party with the largest share yields first."""

from __future__ import annotations

import ipaddress
import itertools
import logging
import resource
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from vdsm_bridge import is_loopback
from vdsm_bridge.config import LimitOptions
from vdsm_http.messages import Peer
from vdsm_http.pace import Pace

log = logging.getLogger(__name__)

#: Descriptors that are left to the rest of the process: libvirt, the state store, logs, what verbs open.
_RESERVE: Final = 128
#: Idle connections among which the one that makes room is chosen.
_CANDIDATES: Final = 32
#: Seconds between two log lines about one shortage.
_SILENCE: Final = 60.0


_DEFAULT: Final = LimitOptions()


class Holder(Protocol):
    """A connection, as far as shares are concerned.

    `since` is the time of its last change of state, on the monotonic clock. `stream`: the connection left
    HTTP; its end costs its client more than the end of a connection that waits for a request.
    """

    party: str
    since: float
    stream: bool

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""

    def cut(self) -> None:
        """Break the connection."""

    def make_room(self) -> None:
        """End the connection in favour of another one."""


def party(peer: Peer) -> str:
    """Return whose share a connection counts for: a local user, an IPv4 address, an IPv6 /64 network."""
    if peer.uid is not None:
        return f"uid {peer.uid}"
    if peer.owner is not None:
        return f"uid {peer.owner}"
    if ":" in peer.address and not is_loopback(peer.address):
        address = ipaddress.ip_address(peer.address.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return str(mapped or ipaddress.ip_network((address, 64), strict=False))
    return peer.address


def descriptors() -> int:
    """Return how many connections the process can hold, by its limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, soft - _RESERVE) if soft != resource.RLIM_INFINITY else 1_000_000


class Shares:
    """Counts the connections of each party.

    A party does not yield for itself: the party with the most connections gets no further one.

    :param whole: a counter that these connections are counted in, too
    """

    def __init__(self, whole: Shares | None = None) -> None:
        self._whole = whole
        self._lock = threading.Lock()
        #: By party, in the order of their arrival.
        self._holders: dict[str, dict[Holder, None]] = {}
        self.total = 0

    def add(self, holder: Holder) -> None:
        """Count a connection."""
        with self._lock:
            self._holders.setdefault(holder.party, {})[holder] = None
            self.total += 1
        if self._whole is not None:
            self._whole.add(holder)

    def remove(self, holder: Holder) -> None:
        """Forget a connection; one that is not counted is ignored."""
        with self._lock:
            mine = self._holders.get(holder.party, {})
            if holder in mine:
                self.total -= 1
                del mine[holder]
                if not mine:
                    del self._holders[holder.party]
        if self._whole is not None:
            self._whole.remove(holder)

    def count(self, party: str) -> int:
        """Return how many connections a party has."""
        return len(self._holders.get(party, ()))

    def victim(self, newcomer: str = "") -> Holder | None:
        """Return the connection that makes room: of the largest party, the one that is idle for longest.

        Of many, it is the one that is idle for longest among those that arrived first.

        A stream makes room where that party has nothing else. None if the requests of all its connections
        are under way, or the largest party is the newcomer's.
        """
        with self._lock:
            largest = max(self._holders, key=lambda name: len(self._holders[name]), default="")
            if not largest or largest == newcomer:
                return None
            found = (holder for holder in self._holders[largest] if holder.idle)
            # Those that arrived first: while connections arrive without a pause, to look at all of them
            # each time would cost others more than the newcomers themselves.
            idle = list(itertools.islice(found, _CANDIDATES))
            if all(holder.stream for holder in idle):
                idle += found
        return min(idle, key=lambda holder: (holder.stream, holder.since), default=None)


class Buffers:
    """The memory that all connections of the front hold in total.

    :param options: returns the limits in force
    """

    def __init__(self, options: Callable[[], LimitOptions]) -> None:
        self._options = options
        self._in = 0
        self._lock = threading.Lock()
        self._out: dict[Holder, int] = {}

    def hold_in(self, change: int) -> bool:
        """Count bytes of a body that arrives, or give them back. Return whether there are too many."""
        with self._lock:
            self._in += change
            return change > 0 and self._in > self._options().incoming

    def hold_out(self, holder: Holder, size: int) -> None:
        """Count a reply that was not read at once. If there are too many, the largest one yields."""
        with self._lock:
            self._out[holder] = size
            victims = []
            total = sum(self._out.values())
            while total > self._options().outgoing and len(self._out) > 1:
                largest = max(self._out, key=self._out.__getitem__)
                total -= self._out.pop(largest)
                victims.append(largest)
        for victim in victims:
            victim.cut()

    def release_out(self, holder: Holder) -> None:
        """Forget a reply that was read, or given up."""
        with self._lock:
            self._out.pop(holder, None)


class Capacity:
    """The resources that all listeners of the front share: descriptors, memory and time."""

    def __init__(self) -> None:
        #: Returns the table `[limits]` that is in force.
        self.options: Callable[[], LimitOptions] = lambda: _DEFAULT
        self.shares = Shares()
        self.buffers = Buffers(lambda: self.options())
        self.requests = Pace(lambda: self.options().requests_per_second)
        self.arrivals = Pace(lambda: self.options().connections_per_second)
        self.handshakes = Pace(lambda: self.options().handshakes_per_second)


class Throttle:
    """Lines about one trouble, at most one a minute.

    :param clock: seconds, monotonic
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quiet_until = -1.0
        self._left_out = 0

    def warn(self, text: str) -> None:
        """Log a warning, unless one was logged a short time ago."""
        now = self._clock()
        if now < self._quiet_until:
            self._left_out += 1
            return
        more = f" ({self._left_out} more of this kind)" if self._left_out else ""
        self._quiet_until, self._left_out = now + _SILENCE, 0
        log.warning("%s%s", text, more)
