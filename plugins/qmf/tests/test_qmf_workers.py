"""Jobs of several clients on the threads of the agent: none can take all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_qmf.workers import Workers


class Jobs:
    """Jobs that note their names, and wait at a gate."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun: list[str] = []

    def job(self, name: str) -> Callable[[], None]:
        """Return a job that waits."""

        def run() -> None:
            self.begun.append(name)
            assert self.gate.wait(20)

        return run


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    """Jobs that end with the test."""
    jobs = Jobs()
    yield jobs
    jobs.gate.set()


def test_a_share_of_the_queue(jobs: Jobs) -> None:
    """A client fills three quarters of the queue; others still find room in it, until it is full."""
    workers = Workers("test", 1, 8)
    assert workers.submit(jobs.job("first"), "many")
    until(lambda: jobs.begun == ["first"])
    assert [workers.submit(jobs.job("many"), "many") for _ in range(8)] == [True] * 6 + [False] * 2
    assert [workers.submit(jobs.job("few"), "few") for _ in range(3)] == [True, True, False]
    jobs.gate.set()
    workers.stop(10.0)
    assert jobs.begun == ["first", "many", "few", "many", "few", "many", "many", "many", "many"]


def test_a_share_of_the_threads(jobs: Jobs) -> None:
    """The jobs of a client that do not end leave a quarter of the threads to others."""
    workers = Workers("test", 4, 100)
    for _ in range(10):
        assert workers.submit(jobs.job("many"), "many")
    until(lambda: len(jobs.begun) == 3)
    assert workers.submit(jobs.job("few"), "few")
    until(lambda: jobs.begun == ["many"] * 3 + ["few"])
    jobs.gate.set()
    workers.stop(10.0)
    assert jobs.begun.count("many") == 10


def test_jobs_of_no_client() -> None:
    """They run in their order, and only the queue bounds them; a job that fails costs no thread."""
    workers = Workers("test", 1, 1_000)
    done: list[int] = []

    def fail() -> None:
        raise ValueError("a bug")

    assert workers.submit(fail)
    for number in range(900):
        assert workers.submit(partial(done.append, number))
    workers.stop(10.0)
    assert done == list(range(900))
    assert not workers.submit(fail)


def test_one_thread_and_one_place(jobs: Jobs) -> None:
    """The smallest share is one."""
    workers = Workers("test", 1, 1)
    assert workers.submit(jobs.job("a"), "a")
    until(lambda: jobs.begun == ["a"])
    assert workers.submit(jobs.job("b"), "a")
    assert not workers.submit(jobs.job("c"), "c")
    jobs.gate.set()
    workers.stop(10.0)
    assert jobs.begun == ["a", "b"]
