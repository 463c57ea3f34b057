"""Whether a migration gets on, and what is done if it does not."""

from __future__ import annotations

from collections.abc import Iterator

from vdsm_core.hypervisor import DomainJob
from vdsm_virt.api.migration import ConvergenceAction, ConvergenceSchedule


class Convergence:
    """Watches how much of the memory is still to be sent.

    :param patience: seconds without progress that are too many
    """

    def __init__(self, schedule: ConvergenceSchedule, patience: float) -> None:
        self._steps = sorted(
            (item for item in schedule.stalling if item.limit >= 0), key=lambda item: item.limit
        )
        self._last_steps = [item.action for item in schedule.stalling if item.limit < 0]
        self._patience = patience
        self._least: int | None = None
        self._progress_at: float | None = None
        self._iteration = 0
        self._stalled = 0

    def look(self, job: DomainJob, now: float) -> Iterator[ConvergenceAction]:
        """What is to be done now.

        :param now: on the monotonic clock
        """
        if self._least is None or job.remaining < self._least or not job.total:
            self._least = job.remaining if job.total else None
            self._progress_at = now
            self._iteration = job.iteration
            return
        if job.iteration > self._iteration:
            self._iteration = job.iteration
            self._stalled += 1
            yield from self._due()

    def stuck_for(self, now: float) -> float:
        """Seconds since it got on last, if these are too many; otherwise 0."""
        if self._progress_at is None or now - self._progress_at < self._patience:
            return 0.0
        return now - self._progress_at

    def _due(self) -> Iterator[ConvergenceAction]:
        if self._steps and self._stalled > self._steps[0].limit:
            yield self._steps.pop(0).action
        elif not self._steps:
            yield from self._last_steps
            self._last_steps = []
