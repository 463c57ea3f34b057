"""Bulk statistics of all domains, read in the background."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import libvirt
import msgspec

from vdsm_core.config import HypervisorOptions
from vdsm_core.errors import HypervisorDeadline, VdsmError
from vdsm_core.hypervisor.connection.caller import Caller
from vdsm_core.hypervisor.connection.reconnect import Connection
from vdsm_core.hypervisor.connection.workers import Workers
from vdsm_core.hypervisor.domains.merge import Control, Row, merge, read_control, suspects
from vdsm_core.hypervisor.models import Sample

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Statistics that libvirt has without QEMU: a call for them returns even if a QEMU hangs. (With libvirt
#: 9.0, CPU_TOTAL is not among them: it was seen to hang.)
CAUTIOUS_GROUPS: Final = libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_INTERFACE
#: Statistics that are read: what a host manager shows. The others cost further monitor commands.
GROUPS: Final = (
    CAUTIOUS_GROUPS
    | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)
#: The name under which a bulk call that does not return is reported.
TARGET: Final = "(statistics)"
#: Bulk calls that may be stuck at once, each on a connection of its own. libvirtd has 20 workers for all.
MAX_STUCK: Final = 6
#: A machine's values may be this many intervals old before it counts as not responding.
PATIENCE: Final = 2.5

_NOTHING: Final = Sample(taken_at=0.0, monotonic=0.0, domains={})


class Sampler:
    """Reads the statistics of all domains every `sample_interval` seconds.

    With the flag NOWAIT, libvirt omits values for which it would have to wait because another call holds the
    machine; such a machine keeps its last values. The first call that queries a hanging QEMU does hang: it is
    abandoned with its connection, and from then on it is the call that holds the machine.
    """

    def __init__(
        self, options: HypervisorOptions, caller: Caller, workers: Workers, connection: Connection
    ) -> None:
        self._options = options
        self._caller = caller
        self._workers = workers
        self._connection = connection
        self._sample = _NOTHING
        self._failure: VdsmError | None = None
        self._changed = threading.Condition()
        self._rounds_begun = 0
        self._rounds_done = 0
        self._wanted = threading.Event()
        self._shortest_limit = max(1.0, 2 * options.sample_interval)
        self._limit = self._shortest_limit
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="libvirt-sampler", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """End the thread. Return whether it ended within `timeout` seconds."""
        if self._thread is None:
            return True
        self._stopping = True
        self._wanted.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def sample(self) -> Sample:
        """Return the newest sample."""
        return self._sample

    def wake(self) -> None:
        """Start the next reading now instead of at the end of the interval."""
        self._wanted.set()

    def refresh(self, timeout: float) -> Sample:
        """Return a sample that was begun after this call.

        :raises HypervisorDeadline: there was none within `timeout` seconds
        :raises HypervisorUnavailable: libvirt is not reached
        """
        with self._changed:
            # A round under way may have read what changed before this call.
            wanted = self._rounds_begun + 1
            self._wanted.set()
            done = self._changed.wait_for(lambda: self._rounds_done >= wanted or self._stopping, timeout)
            failure, sample = self._failure, self._sample
        if not done:
            raise HypervisorDeadline(operation="statistics", object=TARGET, seconds=timeout)
        if failure is not None:
            raise failure
        return sample

    def _run(self) -> None:
        while not self._stopping:
            started = time.monotonic()
            with self._changed:
                self._rounds_begun += 1
                this_round = self._rounds_begun
                self._wanted.clear()
            self._round()
            with self._changed:
                self._rounds_done = this_round
                self._changed.notify_all()
            pause = started + self._options.sample_interval - time.monotonic()
            if not self._stopping:
                self._wanted.wait(max(pause, 0.0))

    def _round(self) -> None:
        try:
            rows = self._read_rows()
            taken_at, monotonic = time.time(), time.monotonic()
            incomplete = suspects(rows, self._sample, self._connection.status.driver)
            control = self._read_control(incomplete) if incomplete else {}
            overdue = {call.object: call for call in self._workers.overdue()}
            sample = merge(
                rows,
                self._sample,
                taken_at=taken_at,
                monotonic=monotonic,
                control=control,
                overdue=overdue,
                patience=PATIENCE * self._options.sample_interval,
            )
        except VdsmError as failure:
            if type(failure) is not type(self._failure):
                log.warning("No statistics: %s", failure)
            self._failure = failure
        except Exception:
            log.exception("No statistics")
        else:
            self._failure = None
            self._sample = msgspec.structs.replace(
                sample, previous=msgspec.structs.replace(self._sample, previous=None)
            )

    def _read_rows(self) -> list[Row]:
        if self._workers.overdue_on(TARGET) < MAX_STUCK:
            try:
                return self._statistics(self._read_all, self._limit)
            except HypervisorDeadline:
                log.warning("The QEMU of some machine hangs, or the host is very slow")
        return self._statistics(
            lambda connection: _bulk(connection, CAUTIOUS_GROUPS), self._options.call_deadline
        )

    def _read_all(self, connection: Any) -> list[Row]:
        started = time.monotonic()
        rows = _bulk(connection, GROUPS)
        # Also of a call that was given up: on a host where it always takes so long, the next one may.
        seconds = min(2 * (time.monotonic() - started), self._options.call_deadline)
        self._limit = max(self._shortest_limit, seconds)
        return rows

    def _read_control(self, uuids: list[str]) -> dict[str, Control]:
        try:
            return self._statistics(lambda connection: read_control(connection, uuids), self._shortest_limit)
        except HypervisorDeadline:
            return dict.fromkeys(uuids, Control("libvirt does not answer about it", held=True))

    def _statistics(self, work: Callable[[Any], T], timeout: float) -> T:
        pool = self._connection.statistics
        return self._caller.call(work, "statistics", target=TARGET, timeout=timeout, pool=pool)


def _bulk(connection: Any, groups: int) -> list[Row]:
    rows = connection.getAllDomainStats(groups, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
    return [(domain.UUIDString(), domain.name(), domain.ID() != -1, stats) for domain, stats in rows]
