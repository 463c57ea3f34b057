"""Work that may never end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_core.plugins.timeout import (
    GivenUp,
    StartStopTimeout,
    _computed,
    _computed_in_ticks,
    run_with_timeout,
)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets what hangs go on."""
    event = threading.Event()
    yield event
    event.set()


def gone(name: str) -> bool:
    """Whether no thread of some work is left."""
    return name not in {thread.name for thread in threading.enumerate()}


def test_a_result_is_handed_over() -> None:
    """As if there was no bound."""
    assert run_with_timeout("sum", lambda: 1 + 1, 10) == 2


def test_an_error_is_handed_over() -> None:
    """What would end the process is an ordinary error to the caller."""
    with pytest.raises(ZeroDivisionError):
        run_with_timeout("division", lambda: 1 / 0, 10)

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        run_with_timeout("leaving", leave, 10)


def test_what_waits_is_left_alone(release: threading.Event) -> None:
    """The caller goes on when the time is up; the result that comes too late is not lost."""
    results: Future[str] = Future()
    with pytest.raises(StartStopTimeout, match=r"The nap did not finish within 0\.1 s"):
        run_with_timeout("nap", lambda: str(release.wait(10)), 0.1, on_late_result=results.set_result)
    release.set()
    assert results.result(10) == "True"
    until(lambda: gone("nap"))


def spin() -> None:
    """Compute without an end, and take errors for nothing."""
    while True:
        with suppress(Exception):
            sum(range(1000))


def test_what_computes_without_an_end_is_interrupted(caplog: pytest.LogCaptureFixture) -> None:
    """It does not slow the interpreter down for other threads forever."""
    with pytest.raises(StartStopTimeout):
        run_with_timeout("spin", spin, 0.5)
    until(lambda: gone("spin"))
    assert "The spin computed without end; it was interrupted" in caplog.text


def test_also_where_others_compute() -> None:
    """However small its part of the time was until then."""
    over = threading.Event()

    def compute() -> None:
        while not over.is_set():
            sum(range(1000))

    others = [threading.Thread(target=compute) for _ in range(4)]
    for other in others:
        other.start()
    try:
        with pytest.raises(StartStopTimeout):
            # Long enough to have its part of the processor on a machine that does much else.
            run_with_timeout("spin", spin, 3.0)
        until(lambda: gone("spin"))
    finally:
        over.set()
        for other in others:
            other.join()


def test_what_has_computed_and_waits_now_is_left_alone(
    release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """What it took in the first half of its time is no reason to interrupt it."""
    results: Future[str] = Future()

    def work() -> str:
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass
        return str(release.wait(20))

    with pytest.raises(StartStopTimeout) as caught:
        # Half of it is long enough for a tenth of a second of work on a busy machine.
        run_with_timeout("work", work, 4.0, on_late_result=results.set_result)
    assert not caught.value.interrupted
    release.set()
    assert results.result(10) == "True"
    until(lambda: gone("work"))
    assert "interrupted" not in caplog.text


@pytest.mark.parametrize("statistics", [True, False])
def test_what_a_thread_has_computed(statistics: bool) -> None:
    """Both sources of the kernel agree roughly; neither has a value for a thread that has ended."""
    read = (
        _computed if statistics else lambda one: _computed_in_ticks(Path(f"/proc/self/task/{one.native_id}"))
    )
    done, over = threading.Event(), threading.Event()

    def work() -> None:
        while time.thread_time() < 0.2:
            pass
        done.set()
        over.wait(20)

    thread = threading.Thread(target=work)
    thread.start()
    done.wait(60)
    assert 0.15 < read(thread) < 1.0
    over.set()
    thread.join()
    until(lambda: read(thread) == 0.0)


def test_the_waiting_can_be_ended(release: threading.Event) -> None:
    """The daemon stops: no caller waits any more, and the waiting thread is not interrupted."""
    give_up: Future[None] = Future()
    timer = threading.Timer(0.1, lambda: give_up.set_result(None))
    timer.start()
    with pytest.raises(GivenUp, match="The nap was abandoned: the daemon is shutting down"):
        run_with_timeout("nap", lambda: release.wait(10), 10, give_up=give_up)
    timer.join()
    release.set()
    until(lambda: gone("nap"))
