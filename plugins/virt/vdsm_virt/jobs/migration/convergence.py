"""Whether a migration advances, and what is done if it does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vdsm_core.hypervisor import DomainJob
from vdsm_virt.api.migration import ConvergenceAction, ConvergenceItem, ConvergenceSchedule

#: VDSM's computed schedule: steps of the downtime, the limit of the last of them, and that of the end.
_STEPS: Final = 5
_LAST_CHANCE: Final = 42
_NO_LIMIT: Final = -1


def computed(downtime: int) -> ConvergenceSchedule:
    """Return VDSM's schedule for a caller without one: the downtime grows from pass to pass, then the end.

    :param downtime: the greatest one, in ms
    """
    values = downtimes(downtime)
    limits = [*range(1, _STEPS), _LAST_CHANCE]
    stalling = [
        ConvergenceItem(limit=limit, action=ConvergenceAction(name="setDowntime", params=[value]))
        for limit, value in zip(limits, values, strict=True)
    ]
    end = ConvergenceItem(limit=_NO_LIMIT, action=ConvergenceAction(name="abort"))
    return ConvergenceSchedule(stalling=[*stalling, end])


def downtimes(downtime: int) -> list[int]:
    """Return the steps of the downtime in ms: offset + base^i, the last one is the whole.

    :param downtime: in ms
    """
    offset = downtime / _STEPS
    base = (downtime - offset) ** (1 / (_STEPS - 1))
    return [max(1, int(offset + base**step + 1e-6)) for step in range(_STEPS)]


class Convergence:
    """Watches the passes over the memory and how much of it is still to be sent.

    :param patience: seconds without progress that are too many
    :param memory: what an earlier daemon kept of the same migration, and what the next one needs
    """

    def __init__(
        self, schedule: ConvergenceSchedule, patience: float, memory: dict[str, Any] | None = None
    ) -> None:
        self._steps = schedule.stalling
        self._patience = patience
        self._minimum: int | None = None
        self._progress_at: float | None = None
        self._memory: dict[str, Any] = {} if memory is None else memory

    def keep_in(self, memory: dict[str, Any]) -> None:
        """Use another place for what outlives the daemon."""
        self._memory = memory

    def look(self, job: DomainJob, now: float) -> Iterator[ConvergenceAction]:
        """Return what is due now.

        :param now: on the monotonic clock
        """
        if self._minimum is None or job.remaining < self._minimum or not job.total:
            self._minimum = job.remaining if job.total else None
            self._progress_at = now
        if job.iteration:
            first = self._memory.setdefault("first_pass", job.iteration)
            last = self._memory.get("last_pass", first)
            self._memory["last_pass"] = job.iteration
            for iteration in range(last + 1, job.iteration + 1):
                yield from self._due(iteration - first)

    def stuck_for(self, now: float) -> float:
        """Return the seconds without progress, if these are too many; otherwise 0."""
        if self._progress_at is None or now - self._progress_at < self._patience:
            return 0.0
        return now - self._progress_at

    def _due(self, passes: int) -> Iterator[ConvergenceAction]:
        done = self._memory.get("actions_done", 0)
        if done < len(self._steps) and self._steps[done].limit < passes:
            self._memory["actions_done"] = done + 1
            yield self._steps[done].action
