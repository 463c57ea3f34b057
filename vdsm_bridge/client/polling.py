"""Events where a transport has no streams: the host is asked, and answers once something happens."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from vdsm_bridge.client.transport import CallOptions, Event, EventStream, Transport, TransportError

#: Seconds that one question waits: less than the host allows, and less than proxies cut.
_QUESTION: Final = 25.0


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
        # The host takes one pattern; of several, the choice is made here.
        self._wanted = _any_of(patterns) if len(patterns) > 1 else lambda _: True
        asked = {"filter": patterns[0] if len(patterns) == 1 else "", "after": after, "snapshot": snapshot}
        given = {name: value for name, value in asked.items() if value is not None}
        made = transport.call("Events.subscribe", given, self._options)
        self._id: str = made["subscriptionID"]
        self._ready = self._chosen(made["states"])
        self._steady = max((state["seq"] for state in made["states"]), default=0)
        self._reach(made["seq"])

    def next(self, timeout: float) -> list[Event]:
        """See `EventStream.next`."""
        end = time.monotonic() + timeout
        found, self._ready = self._ready, []
        while not found and (left := end - time.monotonic()) > 0:
            wait = min(left, _QUESTION)
            asked = {"subscriptionID": self._id, "timeout": wait}
            patient = replace(self._options, timeout=self._options.timeout + wait)
            told = self._transport.call("Events.next", asked, patient)
            if told:
                self._reach(told[-1]["seq"])
            found = self._chosen(told)
        return found

    def close(self) -> None:
        """Unsubscribe; a host that does not hear it lets the subscription expire."""
        with suppress(TransportError):
            self._transport.call("Events.unsubscribe", {"subscriptionID": self._id}, self._options)

    def _chosen(self, told: Sequence[dict[str, Any]]) -> list[Event]:
        return [Event.of(event) for event in told if self._wanted(event["id"])]

    def _reach(self, seq: int) -> None:
        # Between the numbers at which the states are true, nobody could go on without them.
        if seq >= self._steady:
            self.position = seq


def _any_of(patterns: Sequence[str]) -> Callable[[str], bool]:
    """The host's rule for patterns, for several; a gap is always wanted."""
    expressions = []
    for pattern in patterns:
        bare = pattern.strip("|")
        parts = [*(bare.split("|") if bare else []), "*", "*", "*"][:3]
        expressions.append(r"\|".join("[^|]*".join(map(re.escape, part.split("*"))) for part in parts))
    compiled = re.compile(rf"\|(?:{'|'.join(expressions)}|events\|gap\|no_id)")
    return lambda candidate: compiled.fullmatch(candidate) is not None
