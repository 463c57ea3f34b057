"""A feature with long work, and the writer of the state beside this file; see README.md.

It uses only what the plugin API of the landed release and of this one have in common.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from vdsm_bridge import Context, Feature, Identity, Namespace, Progress, action, query, task
from vdsm_bridge.testing.host import TestHost
from vdsm_core.errors import InvalidArgument

#: Seconds that the slow tasks take: longer than the daemon that began them lived, short for the next one.
SLOW = 2.0


class Kiln(Namespace):
    """Fires pots."""

    def __init__(self) -> None:
        self._logs = 0
        self._fired: list[int] = []

    @query(since="1.0")
    def get_fired(self) -> list[int]:
        """Degrees of every firing that was begun since the start."""
        return self._fired

    @action(since="1.0")
    def stoke(self, logs: int) -> int:
        """Put wood on. Return how many logs were put on since the start.

        :param logs: how many
        :raises InvalidArgument: they are too many
        """
        if logs > 100:
            raise InvalidArgument(argument="logs", reason="the kiln is too small")
        self._logs += logs
        return self._logs

    @task(since="1.0", revert="cool")
    def fire(self, progress: Progress, seconds: float = 0.0, degrees: int = 1000) -> int:
        """Fire once, and do not begin again.

        :param seconds: how long it takes
        :param degrees: how hot it becomes
        :raises InvalidArgument: it would melt
        """
        if degrees > 2000:
            raise InvalidArgument(argument="degrees", reason="the kiln would melt")
        self._fired.append(degrees)
        progress.report(40, "glowing")
        progress.sleep(seconds)
        return degrees

    def cool(self, seconds: float, degrees: int) -> None:
        """Roll `fire` back."""

    @task(since="1.0", resumable=True)
    def dry(self, progress: Progress, seconds: float = 0.0) -> str:
        """Dry, again if need be.

        :param seconds: how long it takes
        """
        progress.report(10, "steaming")
        progress.sleep(seconds)
        return "dry"


class Kilns(Feature):
    """The feature `kiln`."""

    def namespaces(self) -> list[Namespace]:
        """`Kiln`."""
        return [Kiln()]


def _write(folder: Path) -> None:
    """Fill a state directory, and die by SIGKILL while two tasks run and one is queued."""
    config = {"daemon": {"state_dir": str(folder), "task_workers": 2}}
    host = TestHost(verbs={"kiln": Kilns}, config=config)
    host.__enter__()

    def call(verb: str, request_id: str = "", /, **arguments: Any) -> Any:
        context = Context(identity=Identity("alice", "operator"), binding="test", request_id=request_id)
        return host.bridge.call(verb, arguments, context)

    call("Kiln.stoke", "stoked", logs=7)
    with suppress(InvalidArgument):
        call("Kiln.stoke", "refused", logs=1000)
    call("Kiln.fire", "fired", degrees=900)
    call("Kiln.fire", degrees=3000)
    time.sleep(1.0)  # both are over
    call("Kiln.fire", seconds=SLOW, degrees=1100)
    call("Kiln.dry", seconds=SLOW)
    time.sleep(0.5)  # both run
    call("Kiln.fire", degrees=1200)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
