"""How every call reaches libvirt: in a worker, on a leased connection, with a deadline, errors translated."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import libvirt

from vdsm_core.config import HypervisorOptions
from vdsm_core.errors import HypervisorUnavailable
from vdsm_core.hypervisor.connection.reconnect import Connection
from vdsm_core.hypervisor.connection.workers import Calls, Pending
from vdsm_core.hypervisor.error_mapping import translate

T = TypeVar("T")

#: The target of calls that are about no single domain. It never counts as stuck.
HOST: Final = "(host)"


class Caller:
    """Base of the classes that call libvirt."""

    def __init__(self, options: HypervisorOptions, calls: Calls, connection: Connection) -> None:
        self._options = options
        self._calls = calls
        self._connection = connection

    def _call(
        self,
        work: Callable[[Any], T],
        operation: str,
        *,
        target: str = HOST,
        timeout: float | None = None,
        urgent: bool = False,
    ) -> T:
        return self._calls.run(
            self._leased(work, operation, target, urgent=urgent),
            operation=operation,
            target=target,
            timeout=self._options.call_deadline if timeout is None else timeout,
            overtakes=urgent or target == HOST,
        )

    def _begin(self, work: Callable[[Any], None], operation: str, target: str) -> Pending:
        """Start a call that takes its time by nature, on a connection of its own."""
        return self._calls.begin(
            self._leased(work, operation, target, urgent=False), operation=operation, target=target
        )

    def _leased(
        self, work: Callable[[Any], T], operation: str, target: str, *, urgent: bool
    ) -> Callable[[], T]:
        connection, uri = self._connection, self._options.uri
        if not connection.up:
            raise HypervisorUnavailable(uri=uri, reason=connection.status.reason)
        links = connection.urgent if urgent else connection.ordinary
        started = time.monotonic()

        def leased() -> T:
            try:
                with connection.lease(links) as leased_connection:
                    return work(leased_connection)
            except libvirt.libvirtError as error:
                seconds = time.monotonic() - started
                mapped = translate(error, uri=uri, operation=operation, target=target, seconds=seconds)
            # Raised outside of the block above: its context would keep libvirt's objects alive.
            raise mapped

        return leased
