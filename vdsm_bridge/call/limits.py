"""The limits of one client over all bindings: calls in flight, calls per second, sizes of arguments."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from vdsm_bridge.call.context import Identity
from vdsm_core.config import LimitOptions
from vdsm_core.errors import CallRateExceeded, LimitExceeded, TooManyCalls, TooManyItems

log = logging.getLogger(__name__)

#: Clients above which those are forgotten that have made no call recently.
_MANY: Final = 1_024
#: Seconds between two log lines about one client.
_SILENCE: Final = 60.0
#: Seconds after which a client should try again that has too many calls in flight.
_LATER: Final = 1.0


class _Client:
    __slots__ = ("at", "in_flight", "quiet_until", "tokens")

    def __init__(self, tokens: float, now: float) -> None:
        self.in_flight = 0
        self.tokens = tokens
        #: When `tokens` was right, on the monotonic clock.
        self.at = now
        self.quiet_until = now


class CallLimits:
    """Counts the calls of each client, and refuses those beyond `[limits]`.

    Calls per second are limited by a token bucket of `call_burst` tokens for each client. Refused calls are
    not audited, or a client could fill the disk; the log has one line per client and minute.

    :param clock: seconds, monotonic
    """

    def __init__(self, options: LimitOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self.options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: dict[str, _Client] = {}

    def use(self, options: LimitOptions) -> None:
        """Use other limits for all later calls."""
        self.options = options

    def enter(self, identity: Identity) -> str:
        """Count a call, until `leave` is called with what this returns.

        :raises TooManyCalls: too many calls of this client are in flight
        :raises CallRateExceeded: this client calls too often
        """
        if _exempt(identity):
            return ""
        name = identity.client
        now = self._clock()
        with self._lock:
            client = self._clients.get(name)
            if client is None:
                client = self._add(name, now)
            refusal = self._refusal(client, now)
            if refusal is None:
                client.in_flight += 1
                return name
            silent = now < client.quiet_until
            if not silent:
                client.quiet_until = now + _SILENCE
        if not silent:
            log.warning("Refusing calls of %s: %s", name if name.isprintable() else ascii(name), refusal)
        raise refusal

    def leave(self, name: str) -> None:
        """Count a call no more."""
        if name:
            with self._lock:
                self._clients[name].in_flight -= 1

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Check the sizes of the arrays and structures in plain data.

        :raises TooManyItems: one has more than `max_items` elements
        """
        limit = self.options.max_items
        if not limit:
            return
        for name, value in arguments.items():
            pending = [value]
            while pending:
                item = pending.pop()
                if isinstance(item, (list, tuple, dict)):
                    if len(item) > limit:
                        raise TooManyItems(argument=name, limit=limit, option="[limits] max_items")
                    pending.extend(item.values() if isinstance(item, dict) else item)

    def _refusal(self, client: _Client, now: float) -> LimitExceeded | None:
        options = self.options
        rate = options.calls_per_second
        if rate:
            tokens = min(float(options.call_burst), client.tokens + (now - client.at) * rate)
            client.at = now
            if tokens < 1:
                client.tokens = tokens
                return CallRateExceeded(
                    limit=rate, option="[limits] calls_per_second", retry_after=round((1 - tokens) / rate, 3)
                )
            client.tokens = tokens - 1
        most = options.calls_in_flight
        if most and client.in_flight >= most:
            return TooManyCalls(limit=most, option="[limits] calls_in_flight", retry_after=_LATER)
        return None

    def _add(self, name: str, now: float) -> _Client:
        if len(self._clients) >= _MANY:
            options = self.options
            refill = options.call_burst / options.calls_per_second if options.calls_per_second else 0.0
            for other, client in list(self._clients.items()):
                # With a full bucket and no call, a client is like one that was never seen.
                if not client.in_flight and now - client.at >= refill:
                    del self._clients[other]
        client = self._clients[name] = _Client(float(self.options.call_burst), now)
        return client


def _exempt(identity: Identity) -> bool:
    """Return whether calls are not limited: the daemon's own, and those of admins on the unix socket.

    These could stop the daemon anyway, and repair a host that others overload.
    """
    return identity.how == "internal" or (identity.how == "peer" and identity.role == "admin")
