"""What is done about a migration that does not get on."""

from __future__ import annotations

from vdsm_core.hypervisor import DomainJob
from vdsm_virt.api.migration import ConvergenceAction, ConvergenceItem, ConvergenceSchedule
from vdsm_virt.jobs.migration.convergence import Convergence


def job(remaining, iteration, total=1000):
    return DomainJob(
        state="running", operation="migration-out", total=total, remaining=remaining, iteration=iteration
    )


def slower(milliseconds):
    return ConvergenceAction(name="setDowntime", params=[milliseconds])


ABORT = ConvergenceAction(name="abort")
SCHEDULE = ConvergenceSchedule(
    stalling=[
        ConvergenceItem(limit=3, action=slower(300)),
        ConvergenceItem(limit=-1, action=ABORT),
        ConvergenceItem(limit=1, action=slower(100)),
    ]
)


def test_one_that_gets_on_is_left_alone():
    """Each look finds less to be sent."""
    convergence = Convergence(SCHEDULE, patience=10)
    assert [list(convergence.look(job(1000 - n, n), n)) for n in range(100)] == [[]] * 100
    assert convergence.stuck_for(100) == 0


def test_the_steps_are_taken_in_their_order():
    """After as many passes without progress as they say; the last ones when all others have been taken."""
    convergence = Convergence(SCHEDULE, patience=1000)
    steps = [list(convergence.look(job(500, n), n)) for n in range(1, 9)]
    assert steps == [[], [], [slower(100)], [], [slower(300)], [ABORT], [], []]


def test_a_pass_counts_once():
    """However often it is looked at."""
    convergence = Convergence(SCHEDULE, patience=1000)
    looks = [list(convergence.look(job(500, iteration), 0)) for iteration in (1, 2, 2, 2, 2, 3)]
    assert looks == [[]] * 5 + [[slower(100)]]


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
