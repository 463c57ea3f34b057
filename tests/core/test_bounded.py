"""Work that may never come to its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress

import pytest

from vdsm_core.bounded import GivenUp, StartStopTimeout, bounded


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets what hangs go on."""
    event = threading.Event()
    yield event
    event.set()


def gone(name: str) -> bool:
    """Whether the thread of some work comes to its end."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if name not in {thread.name for thread in threading.enumerate()}:
            return True
        time.sleep(0.01)
    return False


def test_a_result_is_handed_over() -> None:
    """As if there was no bound."""
    assert bounded("sum", lambda: 1 + 1, 10) == 2


def test_an_error_is_handed_over() -> None:
    """What would end the process is an ordinary error to the caller."""
    with pytest.raises(ZeroDivisionError):
        bounded("division", lambda: 1 / 0, 10)

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        bounded("leaving", leave, 10)


def test_what_waits_is_left_alone(release: threading.Event) -> None:
    """The caller goes on when the time is up; the result that comes too late is not lost."""
    results: Future[str] = Future()
    with pytest.raises(StartStopTimeout, match=r"The nap did not come to its end within 0\.1 s"):
        bounded("nap", lambda: str(release.wait(10)), 0.1, late=results.set_result)
    release.set()
    assert results.result(10) == "True"
    assert gone("nap")


def test_what_computes_without_an_end_is_interrupted(caplog: pytest.LogCaptureFixture) -> None:
    """It does not take its part of the interpreter from everybody else for ever."""

    def spin() -> None:
        while True:
            with suppress(Exception):
                sum(range(1000))

    with pytest.raises(StartStopTimeout):
        bounded("spin", spin, 0.5)
    assert gone("spin")
    assert "The spin computed without an end; it was interrupted" in caplog.text


def test_the_waiting_can_be_ended(release: threading.Event) -> None:
    """The daemon stops: nobody waits any more, and what waits is not disturbed."""
    hurry: Future[None] = Future()
    timer = threading.Timer(0.1, lambda: hurry.set_result(None))
    timer.start()
    with pytest.raises(GivenUp, match="The nap was not waited for: the daemon stops"):
        bounded("nap", lambda: release.wait(10), 10, hurry=hurry)
    timer.join()
    release.set()
    assert gone("nap")
