"""What is done about a migration that does not get on."""

from __future__ import annotations

import pytest

from vdsm_core.hypervisor import DomainJob
from vdsm_virt.api.migration import ConvergenceAction, ConvergenceItem, ConvergenceSchedule
from vdsm_virt.jobs.migration.convergence import Convergence, computed, downtimes


def job(remaining, iteration, total=1000):
    return DomainJob(
        state="running", operation="migration-out", total=total, remaining=remaining, iteration=iteration
    )


def slower(milliseconds):
    return ConvergenceAction(name="setDowntime", params=[milliseconds])


ABORT = ConvergenceAction(name="abort")
SCHEDULE = ConvergenceSchedule(
    stalling=[
        ConvergenceItem(limit=1, action=slower(100)),
        ConvergenceItem(limit=3, action=slower(300)),
        ConvergenceItem(limit=-1, action=ABORT),
    ]
)


def test_the_steps_are_taken_in_their_order():
    """Each with the first pass beyond its limit, counted from the first pass that was seen."""
    for first in (1, 7):
        convergence = Convergence(SCHEDULE, patience=1000)
        steps = [list(convergence.look(job(500, n), n)) for n in range(first, first + 8)]
        assert steps == [[], [], [slower(100)], [], [slower(300)], [ABORT], [], []]


def test_passes_between_two_looks():
    """Each counts, however many there were; one action with each pass."""
    convergence = Convergence(SCHEDULE, patience=1000)
    assert [list(convergence.look(job(500, n), n)) for n in (1, 3, 9)] == [
        [],
        [slower(100)],
        [slower(300), ABORT],
    ]


def test_a_pass_counts_once():
    """However often it is looked at."""
    convergence = Convergence(SCHEDULE, patience=1000)
    looks = [list(convergence.look(job(500, iteration), 0)) for iteration in (1, 2, 2, 2, 2, 3)]
    assert looks == [[]] * 5 + [[slower(100)]]


def test_what_was_done_before_a_restart_is_not_done_again():
    """The next daemon goes on from the memory of the task."""
    memory = {}
    convergence = Convergence(SCHEDULE, patience=1000)
    convergence.keep_in(memory)
    assert [list(convergence.look(job(500, n), n)) for n in (1, 2, 3)] == [[], [], [slower(100)]]
    following = Convergence(SCHEDULE, patience=1000, memory=memory)
    assert [list(following.look(job(500, n), n)) for n in (3, 4, 5, 6)] == [[], [], [slower(300)], [ABORT]]


def test_the_schedule_of_a_caller_without_one():
    """VDSM's five steps with their passes, and the end."""
    schedule = computed(500)
    assert schedule.init == []
    assert [(item.limit, item.action.name, item.action.params) for item in schedule.stalling] == [
        (1, "setDowntime", [101]),
        (2, "setDowntime", [104]),
        (3, "setDowntime", [120]),
        (4, "setDowntime", [189]),
        (42, "setDowntime", [500]),
        (-1, "abort", []),
    ]


@pytest.mark.parametrize("downtime", [1, 2, 10, 250, 2_000_000])
def test_the_steps_of_the_downtime(downtime):
    """They grow, none is 0, and the last is the whole."""
    steps = downtimes(downtime)
    assert steps == sorted(steps)
    assert steps[0] >= 1
    assert steps[-1] == downtime


def test_time_without_progress_is_counted():
    """From the least that there was, and only beyond the patience."""
    convergence = Convergence(ConvergenceSchedule(), patience=5)
    for now, remaining in enumerate((900, 800, 850, 900, 820)):
        assert not list(convergence.look(job(remaining, now), now))
    assert convergence.stuck_for(5.9) == 0
    assert convergence.stuck_for(6.5) == 5.5
    assert not list(convergence.look(job(799, 6), 6.6))
    assert convergence.stuck_for(6.6) == 0


def test_what_has_not_begun_is_not_stuck():
    """Libvirt prepares, and there is nothing to be sent yet."""
    convergence = Convergence(SCHEDULE, patience=5)
    assert convergence.stuck_for(100) == 0
    for now in (0, 50):
        assert not list(convergence.look(job(0, 0, total=0), now))
    assert convergence.stuck_for(54) == 0
    assert not list(convergence.look(job(1000, 1), 100))
    assert convergence.stuck_for(104) == 0
