"""Events for transports without streams, by long polling: the host answers once there is an event."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from vdsm_bridge.client.transport import CallOptions, Event, EventStream, Transport, TransportError

#: Seconds that one poll waits: less than the host allows, and less than the timeout of proxies.
_POLL_TIMEOUT: Final = 25.0


class PolledEvents(EventStream):
    """Events by the verbs of `Events`; see `Transport.events`."""

    def __init__(
        self,
        transport: Transport,
        patterns: Sequence[str],
        options: CallOptions,
        *,
        after: int | None,
        snapshot: bool,
    ) -> None:
        self._transport = transport
        self._options = replace(options, request_id="")
        # The host takes one pattern; several are matched here.
        self._matches = _any_of(patterns) if len(patterns) > 1 else lambda _: True
        asked = {"filter": patterns[0] if len(patterns) == 1 else "", "after": after, "snapshot": snapshot}
        given = {name: value for name, value in asked.items() if value is not None}
        made = transport.call("Events.subscribe", given, self._options)
        self._id: str = made["subscriptionID"]
        self._received = self._matching(made["states"])
        self._snapshot_end = max((state["seq"] for state in made["states"]), default=0)
        self._advance(made["seq"])

    def next(self, timeout: float) -> list[Event]:
        """See `EventStream.next`."""
        end = time.monotonic() + timeout
        found, self._received = self._received, []
        while not found and (left := end - time.monotonic()) > 0:
            wait = min(left, _POLL_TIMEOUT)
            asked = {"subscriptionID": self._id, "timeout": wait}
            options = replace(self._options, timeout=self._options.timeout + wait)
            events = self._transport.call("Events.next", asked, options)
            if events:
                self._advance(events[-1]["seq"])
            found = self._matching(events)
        return found

    def close(self) -> None:
        """Unsubscribe. If the call fails, the subscription expires on the host."""
        with suppress(TransportError):
            self._transport.call("Events.unsubscribe", {"subscriptionID": self._id}, self._options)

    def _matching(self, events: Sequence[dict[str, Any]]) -> list[Event]:
        return [Event.of(event) for event in events if self._matches(event["id"])]

    def _advance(self, seq: int) -> None:
        # Below the number of the last state, a position would resume without the rest of the snapshot.
        if seq >= self._snapshot_end:
            self.position = seq


def _any_of(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that matches ids against several patterns, as the host does; gaps always match."""
    expressions = []
    for pattern in patterns:
        bare = pattern.strip("|")
        parts = [*(bare.split("|") if bare else []), "*", "*", "*"][:3]
        expressions.append(r"\|".join("[^|]*".join(map(re.escape, part.split("*"))) for part in parts))
    compiled = re.compile(rf"\|(?:{'|'.join(expressions)}|events\|gap\|no_id)")
    return lambda candidate: compiled.fullmatch(candidate) is not None
