"""Which broker to try next, and when."""

from __future__ import annotations

import random
import time
from typing import Final

from vdsm_qmf.bus.security import Broker
from vdsm_qmf.bus.settings import BusSettings

#: Parts of reasons that another attempt does not change: the identity of either side.
_PERMANENT: Final = ("amqp:unauthorized-access", "certificate verify failed")


class Reconnect:
    """The attempts to connect to the brokers, one after the other, with growing waits."""

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings
        self._attempts = 0
        self._failures = 0
        self._refusals = 0
        self._up_since: float | None = None

    @property
    def broker(self) -> Broker:
        """The broker of the present attempt."""
        return self._settings.brokers[self._attempts % len(self._settings.brokers)]

    @property
    def is_refused(self) -> bool:
        """Whether every broker was tried, and each refused this identity or failed to prove its own."""
        return self._refusals >= len(self._settings.brokers)

    def connected(self) -> None:
        """Note that the attempt succeeded."""
        self._up_since = time.monotonic()

    def ended(self, reason: str) -> float:
        """Note the end of a connection or an attempt, and turn to the next broker.

        :returns: seconds to wait before the next attempt
        """
        settings = self._settings
        since, self._up_since = self._up_since, None
        if since is not None and time.monotonic() - since > settings.reconnect_max:
            # A connection that ends soon after its start counts as failed: the broker is overloaded.
            self._failures = 0
        self._refusals = self._refusals + 1 if any(part in reason for part in _PERMANENT) else 0
        self._attempts += 1
        # Each broker is tried before the wait grows.
        rounds = self._failures // len(settings.brokers)
        self._failures += 1
        longest = min(settings.reconnect_max, settings.reconnect_first * 2.0 ** min(rounds, 16))
        # A thousand hosts that lose one broker at once must not return at once.
        spread = random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        return longest * spread
