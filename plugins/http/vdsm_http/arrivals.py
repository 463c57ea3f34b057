"""New connections, no quicker than their party may make them."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from vdsm_bridge import is_loopback
from vdsm_http.filters import MOST, Network
from vdsm_http.messages import Peer
from vdsm_http.pace import Delay, Pace, Paced
from vdsm_http.timers import Timers

#: Seconds for which an address counts as one of a local user who connected from it.
_SHARED: Final = 60.0
#: Loopback addresses whose users are remembered; there are 16 million.
_MOST_ADDRESSES: Final = 1_024


class Arriving(Paced, Protocol):
    """A connection that was accepted."""

    peer: Peer

    def begin(self) -> None:
        """Wait for the first request."""


class Arrivals:
    """Begins new connections at the rate of their party. Only the loop uses it.

    Connections beyond the rate wait. Until they have begun, the kernel drops further ones of their address,
    so that a flood of connections costs others nothing. An address of loopback that several local users
    share is left open.

    :param hold_off: lets the kernel drop new connections of networks, instead of those of the call before
    :param clock: seconds, monotonic
    """

    def __init__(
        self,
        timers: Timers,
        pace: Pace,
        hold_off: Callable[[Iterable[Network]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hold_off = hold_off
        self._clock = clock
        self._delay: Delay[Arriving] = Delay(timers, pace, lambda arriving: arriving.begin(), self._served)
        #: Networks that are held off, by party.
        self._held: dict[str, set[Network]] = {}
        #: Local users by loopback address, and when each connected from there for the last time.
        self._users: dict[str, dict[str, float]] = {}

    def add(self, arriving: Arriving) -> None:
        """Begin a connection now, or when its party may."""
        if arriving.peer.uid == 0:
            arriving.begin()  # root on a unix socket must always be able to get in
            return
        self._count(arriving)

    def refuse(self, peer: Peer, party: str) -> None:
        """Count a connection that is closed: beyond the rate, its address is held off for a moment."""
        self._count(_Refused(peer, party))

    def _count(self, arriving: Arriving) -> None:
        peer, party = arriving.peer, arriving.party
        if peer.owner is not None:
            self._remember(peer.address, party)
        if self._delay.add(arriving) and peer.address and not self._shared(peer.address):
            network = _network(peer.address)
            held = self._held.setdefault(party, set())
            if network not in held and sum(map(len, self._held.values())) < MOST:
                held.add(network)
                self._apply()

    def end(self) -> None:
        """Let none wait any longer."""
        self._delay.end()

    def _served(self, party: str) -> None:
        if self._held.pop(party, None):
            self._apply()

    def _apply(self) -> None:
        self._hold_off(network for networks in self._held.values() for network in networks)

    def _remember(self, address: str, party: str) -> None:
        if len(self._users) >= _MOST_ADDRESSES and address not in self._users:
            self._users.clear()
        self._users.setdefault(address, {})[party] = self._clock()

    def _shared(self, address: str) -> bool:
        """Return whether several local users connected from an address a short time ago.

        The user of a connection that its client has closed already is not known: it counts as the only one.
        """
        recent = self._clock() - _SHARED
        return sum(at > recent for at in self._users.get(address, {}).values()) > 1


class _Refused:
    """A connection that takes part in the rate only."""

    closed = True

    def __init__(self, peer: Peer, party: str) -> None:
        self.peer = peer
        self.party = party

    def begin(self) -> None:
        """Do nothing."""


def _network(address: str) -> Network:
    """Return the network that a party has: an IPv4 address, 64 bits of IPv6, one address of loopback."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    length = 64 if mapped.version == 6 and not is_loopback(address) else mapped.max_prefixlen
    return ipaddress.ip_network((mapped, length), strict=False)
