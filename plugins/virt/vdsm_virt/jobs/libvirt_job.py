"""Work that libvirt carries on by itself, followed by a task of the engine.

libvirt continues a migration, a block job or a backup when the daemon ends. Such work is a task whose
steps hand it over to libvirt, watch it to its end, and settle its outcome. The task holds its locks
meanwhile. The daemon that resumes the task attaches to what libvirt is doing; if libvirt is not busy with it
any more, the end was not seen, and is concluded from the state of the machine.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from vdsm_core.errors import HypervisorError, HypervisorUnavailable, OperationFailed, VdsmError
from vdsm_core.hypervisor import DomainJob, NoSuchDomain, OperationInvalid, Pending
from vdsm_core.incident import report_incident
from vdsm_core.work.record import TaskAborted
from vdsm_core.work.steps import Again, Progress, Step, nothing
from vdsm_virt.errors import reason_of

log = logging.getLogger(__name__)

#: Seconds between two looks at most work. `Tasks.wake` shortens it.
LOOK: Final = 0.5
#: Seconds that a call has to return whose work was cancelled; then the state is read instead.
_CANCELLED: Final = 60.0
ON_REQUEST: Final = "it was cancelled on request"
_UNEXPLAINED: Final = "libvirt ended it and does not say why"
_CONNECTION_LOST: Final = "the connection to libvirt broke, and libvirt ended it"


class LibvirtJob(ABC):
    """One piece of work that libvirt carries on, in one life of the daemon.

    :param label: what it is, for the log: "The migration of machine X"
    :param verb: full name of the verb that begins such work
    :param resumed: whether an earlier daemon began it

    :ivar ended: set once the task is over and its locks are released
    :ivar cancelled: why the work was asked to end; empty if it was not
    """

    #: Seconds between two looks at the work.
    interval: float = LOOK

    def __init__(self, label: str, verb: str, *, resumed: bool) -> None:
        self.ended = threading.Event()
        self.cancelled = ""
        self.resumed = resumed
        self._label = label
        self._verb = verb
        self._cancelled_at = 0.0
        self._unexplained = _UNEXPLAINED
        self._pending: Pending | None = None

    @abstractmethod
    def begin(self) -> Pending | Again | None:
        """Give the work to libvirt. Return the call that lasts as long as the work, if there is one.

        :returns: `Again` if it is not known whether libvirt has begun: it is read first, then called again
        """

    @abstractmethod
    def read(self) -> DomainJob | None:
        """Return what libvirt reports of the work; None if it is not busy with it.

        :raises NoSuchDomain: libvirt does not have the machine any more
        :raises VdsmError: libvirt does not answer
        """

    @abstractmethod
    def abort(self) -> None:
        """Ask libvirt to end the work.

        :raises OperationInvalid: it has not begun yet, or is about to be over
        :raises VdsmError: libvirt does not answer
        """

    @abstractmethod
    def observe(self, job: DomainJob, progress: Progress) -> None:
        """Note how far the work is; cancel it if it does not advance."""

    @abstractmethod
    def conclude(self, unexplained: str) -> Again | None:
        """Find out from the state of the machine how work ended whose end was not reported.

        :param unexplained: the reason to give if the work failed
        :returns: None if it succeeded
        :raises VdsmError: it failed
        """

    @abstractmethod
    def failure(self, reason: str) -> VdsmError:
        """Return the error that work ends with."""

    def cancel(self, reason: str) -> None:
        """Have the work end without success; `watch` asks libvirt again until it has."""
        if not self.cancelled:
            self.cancelled, self._cancelled_at = reason, time.monotonic()

    def steps(self, prepare: Step, settle: Callable[[Progress], Any]) -> tuple[Step, ...]:
        """Return the steps of the task.

        :param prepare: the first one; its `undo` settles work that did not succeed
        :param settle: the last one, after success
        """
        hand_over = Step(
            name="hand over to libvirt",
            do=self.explained(self._hand_over),
            undo=self._take_back,
            repeatable=True,
        )
        return (
            prepare,
            hand_over,
            Step(
                name="watch",
                do=self.explained(self._watch),
                undo=nothing,
                repeatable=True,
                defers_stop=True,
            ),
            Step(name="settle", do=settle, undo=nothing, repeatable=True, defers_stop=True),
        )

    def explained(self, do: Callable[[Progress], Any]) -> Callable[[Progress], Any]:
        """Keep the reason of a failure in the memory of the task, for the steps that are undone."""

        def run(progress: Progress) -> Any:
            try:
                return do(progress)
            except TaskAborted:
                self.cancel(ON_REQUEST)
                progress.memory.setdefault("reason", self.cancelled)
                raise
            except VdsmError as error:
                progress.memory.setdefault("reason", self.cancelled or reason_of(error))
                raise
            except Exception as error:
                incident = report_incident(log, self._verb, self._label)
                progress.memory["reason"] = str(incident)
                raise incident from error
            finally:
                progress.memory["cancelled"] = bool(self.cancelled)

        return run

    def _hand_over(self, progress: Progress) -> Again | None:
        progress.check()
        if self.resumed:
            # An earlier daemon may have been killed when libvirt had begun.
            try:
                if self.read() is not None:
                    return None
            except NoSuchDomain:
                return None
            except VdsmError as error:
                log.debug("%s waits for libvirt: %s", self._label, error)
                return Again(after=self.interval)
        begun = self.begin()
        if isinstance(begun, Again):
            return begun
        self._pending = begun
        return None

    def _watch(self, progress: Progress) -> Again | None:
        if progress.stopping:
            self.cancel(ON_REQUEST)
        again = self._look(progress)
        if again is None:
            progress.memory["over"] = True
        return again

    def _look(self, progress: Progress) -> Again | None:
        if self._pending is not None and self._pending.wait(0):
            pending, self._pending = self._pending, None
            return None if self._over(pending.error, progress) else Again(after=self.interval)
        try:
            if self.cancelled:
                self._abort()
            job = self.read()
        except NoSuchDomain:
            job = None
        except VdsmError as error:
            log.debug("%s cannot be looked at: %s", self._label, error)
            return Again(after=self.interval)
        if job is not None:
            self.observe(job, progress)
        if self._pending is not None and self._has_overrun():
            self._pending.give_up()
            self._pending = None
        if job is not None or self._pending is not None:
            return Again(after=self.interval)
        try:
            return self.conclude(self._unexplained)
        except HypervisorUnavailable as error:
            log.debug("%s cannot be concluded: %s", self._label, error)
            return Again(after=self.interval)
        except VdsmError as error:
            raise self._failed(str(error.facts.get("reason") or error), progress) from error

    def _over(self, error: Exception | None, progress: Progress) -> bool:
        """Return whether the end of libvirt's call is the end of the work."""
        if error is None:
            return True
        if isinstance(error, HypervisorUnavailable):
            log.info("Libvirt was lost: %s: %s", self._label, error)
            self._unexplained = _CONNECTION_LOST
            return False
        if isinstance(error, HypervisorError):
            progress.memory["by_libvirt"] = True
        raise self._failed(reason_of(error), progress) from error

    def _failed(self, reason: str, progress: Progress) -> VdsmError:
        """Return the error that the step ends with, now that libvirt has ended the work without success."""
        reason = self.cancelled or reason
        progress.memory.update(over=True, reason=reason)
        return TaskAborted(task_id=progress.task_id) if progress.stopping else self.failure(reason)

    def _has_overrun(self) -> bool:
        return bool(self.cancelled) and time.monotonic() > self._cancelled_at + _CANCELLED

    def _abort(self) -> None:
        try:
            self.abort()
        except OperationInvalid as error:
            # Not begun yet, or about to be over: the next look tries again.
            log.debug("%s cannot be stopped now: %s", self._label, error)

    def _take_back(self, progress: Progress) -> Again | None:
        """Undo the handing over: end what libvirt does, unless it is over."""
        if progress.memory.get("over"):
            return None
        self.cancel(str(progress.memory.get("reason") or ON_REQUEST))
        try:
            if self.read() is None:
                return None
            self._abort()
        except NoSuchDomain:
            return None
        if self._has_overrun():
            raise OperationFailed(reason=f"libvirt has not ended it within {_CANCELLED:.0f} s")
        return Again(after=self.interval)
