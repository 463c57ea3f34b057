"""The list of all domains, asked for until libvirt gives it."""

from __future__ import annotations

import time
from typing import Final

from vdsm_core.errors import NotResponding, Unavailable, VdsmError
from vdsm_core.hypervisor import DomainState, Hypervisor

#: Seconds before the second reading, after one that failed.
FIRST_PAUSE: Final = 1.0
#: Maximum seconds between two readings.
MAX_PAUSE: Final = 15.0
#: Maximum seconds of one reading. A host with many machines is slow while it boots.
MAX_READING: Final = 300.0
#: Readings that libvirt may owe at the same time: each takes one of its workers.
_MAX_OWED: Final = 3
_OPERATION: Final = "domains"


class Listing:
    """Reads all domains. After each failure in a row, the next reading begins later and may take longer."""

    def __init__(self, hypervisor: Hypervisor, patience: float) -> None:
        """:param patience: seconds that the first reading may take"""
        self._hypervisor = hypervisor
        self._patience = patience
        self._failures = 0
        #: What the last reading failed with.
        self._failure = ""
        self._ended = False
        #: When the reading that runs began, on the monotonic clock.
        self._began: float | None = None

    @property
    def _factor(self) -> float:
        return 2.0 ** min(self._failures, 10)

    @property
    def pause(self) -> float:
        """Seconds before the next reading."""
        return min(FIRST_PAUSE * self._factor, MAX_PAUSE)

    def read(self) -> list[DomainState]:
        """Return every domain.

        :raises Unavailable: `end` was called meanwhile
        :raises HypervisorDeadline: libvirt has not answered in time
        :raises NotResponding: it owes answers to earlier readings
        :raises HypervisorUnavailable: it is not reached
        """
        self._began = time.monotonic()
        try:
            found = self._read()
        except VdsmError as error:
            self._failure = str(error)
            self._failures += 1
            raise
        finally:
            self._began = None
        if self._ended:
            raise Unavailable(reason="the plugin stops")
        self._failures, self._failure = 0, ""
        return found

    def end(self) -> None:
        """Reject the result of a reading that has not ended."""
        self._ended = True

    def _read(self) -> list[DomainState]:
        owed = [call for call in self._hypervisor.overdue_calls() if call.operation == _OPERATION]
        if len(owed) >= _MAX_OWED:
            first = owed[0]
            raise NotResponding(object=first.object, operation=first.operation, seconds=first.seconds)
        patience = min(self._patience * self._factor, max(self._patience, MAX_READING))
        return self._hypervisor.domains.list_all(timeout=patience)

    def awaited(self) -> str:
        """Return what the list of machines waits for, as a part of a sentence."""
        hypervisor = self._hypervisor
        if not hypervisor.connected:
            return f"libvirt ({hypervisor.uri}) is not reached: {hypervisor.status().reason}"
        began = self._began
        if began is not None:
            return f"libvirt has been listing them for {time.monotonic() - began:.1f} s"
        if self._failure:
            return f"the last attempt to list them failed, and the next one follows: {self._failure}"
        return "libvirt is about to list them"
