"""Calls to libvirt: in a worker, on a leased connection, with a deadline, and errors translated."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import libvirt

from vdsm_core.config import HypervisorOptions
from vdsm_core.errors import HypervisorUnavailable
from vdsm_core.hypervisor.connection.pool import ConnectionPool
from vdsm_core.hypervisor.connection.reconnect import Connection
from vdsm_core.hypervisor.connection.workers import Pending, Workers
from vdsm_core.hypervisor.error_mapping import translate
from vdsm_core.hypervisor.errors import NoSuchDomain

T = TypeVar("T")

#: The target of calls that concern no single domain.
HOST: Final = "(host)"


class Caller:
    """Runs the calls to libvirt of all parts of the hypervisor.

    `work` is called with libvirt's connection or domain, in a worker thread; its result must not refer to
    libvirt's objects. `operation` and the target name the call in errors, in the log and in the list of
    overdue calls. `timeout` is in seconds; None stands for the configured `call_deadline`.
    """

    def __init__(self, options: HypervisorOptions, workers: Workers, connection: Connection) -> None:
        self._options = options
        self._workers = workers
        self._connection = connection

    def call(
        self,
        work: Callable[[Any], T],
        operation: str,
        *,
        timeout: float | None = None,
        target: str = HOST,
        pool: ConnectionPool | None = None,
    ) -> T:
        """Return the result of a call that concerns no single domain. Overdue calls do not hold it up.

        :param pool: where its connection is leased, by default `Connection.ordinary`
        :raises HypervisorDeadline: libvirt did not answer in time
        :raises HypervisorUnavailable: libvirt is not reached
        :raises ResourceExhausted: too many calls are under way
        """
        leased = self._leased(work, operation, target, pool or self._connection.ordinary)
        return self._run(leased, operation, target, timeout, preempts=True)

    def call_domain(
        self,
        uuid: str,
        work: Callable[[Any], T],
        operation: str,
        *,
        timeout: float | None = None,
        urgent: bool = False,
    ) -> T:
        """Return the result of a call on one domain.

        :param urgent: preempt overdue calls on the domain, on a connection of the urgent pool
        :raises HypervisorDeadline: libvirt did not answer in time
        :raises HypervisorUnavailable: libvirt is not reached
        :raises NoSuchDomain: libvirt has no domain of this uuid
        :raises NotResponding: an earlier call on the domain is overdue
        :raises ResourceExhausted: too many calls are under way
        """
        target = uuid.lower()
        pool = self._connection.urgent if urgent else self._connection.ordinary
        leased = self._leased(lambda connection: work(lookup(connection, uuid)), operation, target, pool)
        return self._run(leased, operation, target, timeout, preempts=urgent)

    def begin(
        self,
        work: Callable[[Any], None],
        operation: str,
        target: str,
        *,
        pool: ConnectionPool | None = None,
    ) -> Pending:
        """Start a call that takes its time by nature, on a connection of its own.

        :param pool: where its connection is leased, by default `Connection.ordinary`
        :raises HypervisorUnavailable: libvirt is not reached
        :raises ResourceExhausted: too many calls are under way
        """
        leased = self._leased(work, operation, target, pool or self._connection.ordinary)
        return self._workers.begin(leased, operation=operation, target=target)

    def _run(
        self, leased: Callable[[], T], operation: str, target: str, timeout: float | None, *, preempts: bool
    ) -> T:
        return self._workers.run(
            leased,
            operation=operation,
            target=target,
            timeout=self._options.call_deadline if timeout is None else timeout,
            preempts=preempts,
        )

    def _leased(
        self, work: Callable[[Any], T], operation: str, target: str, pool: ConnectionPool
    ) -> Callable[[], T]:
        connection, uri = self._connection, self._options.uri
        if not connection.up:
            raise HypervisorUnavailable(uri=uri, reason=connection.status.reason)
        started = time.monotonic()

        def leased() -> T:
            try:
                with connection.lease(pool) as leased_connection:
                    return work(leased_connection)
            except libvirt.libvirtError as error:
                seconds = time.monotonic() - started
                mapped = translate(error, uri=uri, operation=operation, target=target, seconds=seconds)
            # Raised outside of the block above: its context would keep libvirt's objects alive.
            raise mapped

        return leased


def lookup(connection: Any, uuid: str) -> Any:
    """Return a domain.

    :raises NoSuchDomain: libvirt has none of this uuid
    """
    try:
        return connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        # "Invalid UUID"
        if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
            raise
    raise NoSuchDomain(uuid=uuid)
