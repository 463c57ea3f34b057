"""`--watch`: a list that is read again whenever an event may have changed it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from vdsm_bridge.transport import CallRefused, Unreachable
from vdsmsh.connection.follower import Follower, raise_if_permanent
from vdsmsh.connection.session import Session
from vdsmsh.output.views import View
from vdsmsh.settings import Settings

#: Seconds that a burst of events gets to end before the list is read again.
_SETTLE: Final = 0.2
#: Seconds after which the list is read again if the last call failed.
_RETRY: Final = 2.0


def watch(
    session: Session, settings: Settings, patterns: Sequence[str], ask: Callable[[], Any], view: View
) -> None:
    """Show the result of a call, and again after each event that may have changed it. Ctrl-C ends it.

    :param patterns: of those events
    :param ask: makes the call
    :raises TransportError: the first call, or the first subscription, failed
    """

    def notify(text: str) -> None:
        if settings.verbosity:
            line = f"vdsmsh: {text}"
            print(line, file=session.streams.stderr, flush=True)
            if session.streams.stderr.isatty():
                view.add_line(line)

    # Subscribe first: a change between the call and the subscription would be missed.
    with Follower(session.transport, patterns, settings.reading, notify) as follower:
        view.show(ask())
        shown, due = follower.connections, 0.0
        while True:
            wait = session.streams.check_reader()
            changed = bool(follower.next(wait if shown else min(wait, _RETRY)))
            late = not shown and time.monotonic() >= due
            if not changed and not late and shown in (0, follower.connections):
                continue
            time.sleep(_SETTLE)
            follower.next(0.0)
            try:
                view.show(ask())
                shown = follower.connections
            except (CallRefused, Unreachable) as error:
                # A host that is gone breaks the stream, too, and the follower reports that.
                raise_if_permanent(error)
                shown, due = 0, time.monotonic() + _RETRY
