"""A subscriber to a daemon's events on the message bus, that goes on where it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import msgspec

from tests.functional.daemon import Daemon
from tests.functional.subscribers import Subscriber
from vdsm_qmf.console import Cluster, HostChange


class QmfStream(Subscriber):
    """QMF events over a broker, by the console; after each restart of the host it begins anew by number.

    :param broker: its URL, with the password
    :param instance: the host's name on the bus
    """

    def __init__(self, daemon: Daemon, broker: str, instance: str) -> None:
        super().__init__(daemon)
        self._broker = broker
        self._instance = instance
        self._cluster: Cluster | None = None
        self._restarted = threading.Event()

    def listen(self, after: int) -> Iterator[list[dict[str, Any]]]:
        """A stream of the console's, which stays on the broker meanwhile."""
        self._restarted.clear()
        cluster = self._console()
        cluster.wait_for(self._instance)
        with cluster.events(resume={self._instance: after}) as stream:
            self.connections += 1
            yield []
            while not self._restarted.is_set():
                event = stream.next(0.05)
                yield [] if event is None else [msgspec.structs.asdict(event)]

    def run(self) -> None:
        """Listen until `stop`; then leave the bus."""
        try:
            super().run()
        finally:
            if self._cluster is not None:
                self._cluster.close()

    def _console(self) -> Cluster:
        if self._cluster is None:
            self._cluster = Cluster(self._broker, on_change=self._changed)
            self._cluster.start()
        return self._cluster

    def _changed(self, change: HostChange) -> None:
        if change.what == "restarted":
            self._restarted.set()
