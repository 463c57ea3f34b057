"""Calls with a deadline: worker threads that may be left behind in a call that does not return."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from vdsm_core.errors import HypervisorDeadline, NotResponding, ResourceExhausted
from vdsm_core.hypervisor.models import UnfinishedCall

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Seconds after which a worker without work ends.
IDLE_SECONDS: Final = 15.0
#: Calls under way at once, those that are stuck included.
MAX_CALLS: Final = 256


class _Call:
    """One call: its function and its outcome."""

    __slots__ = (
        "begun",
        "done",
        "error",
        "finished",
        "function",
        "operation",
        "overdue",
        "result",
        "started",
        "target",
    )

    def __init__(self, function: Callable[[], Any], operation: str, target: str) -> None:
        self.function = function
        self.operation = operation
        self.target = target
        self.started = time.monotonic()
        #: Its caller does not wait in `run`.
        self.begun = False
        self.result: Any = None
        self.error: Exception | None = None
        self.finished = False
        self.overdue = False
        # A bare lock is the cheapest thing to wait for with a timeout: an Event allocates one for each wait.
        self.done = threading.Lock()
        self.done.acquire()

    def seconds(self) -> float:
        return time.monotonic() - self.started


class Pending:
    """A call under way that its caller polls."""

    def __init__(self, call: _Call, workers: Workers) -> None:
        self._call = call
        self._workers = workers
        self._ended = False

    def wait(self, timeout: float) -> bool:
        """Wait for the end of the call; return whether it has ended.

        :param timeout: seconds
        """
        self._ended = self._ended or self._call.done.acquire(timeout=timeout)
        return self._ended

    @property
    def error(self) -> Exception | None:
        """The error that the call raised. Valid once the call has ended."""
        return self._call.error

    def give_up(self) -> None:
        """Stop waiting: count the call among the overdue ones."""
        self._workers.disown(self._call)


class _Worker:
    """One thread and the call that it is to do next. Without a call when woken, it ends."""

    __slots__ = ("call", "thread", "wake")

    def __init__(self) -> None:
        self.call: _Call | None = None
        self.wake = threading.Lock()
        self.wake.acquire()
        self.thread: threading.Thread | None = None


class Workers:
    """Runs functions in worker threads and waits for each no longer than its deadline.

    A function that does not return in time keeps its thread, and its target is remembered as stuck: further
    calls on the target are refused until it returns. The threads are daemon threads, so that a stuck one
    does not keep the process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        self._stuck: dict[str, list[_Call]] = {}
        self._numbers = itertools.count(1)
        self._stopped = False

    def run(
        self,
        function: Callable[[], T],
        *,
        operation: str,
        target: str,
        timeout: float,
        preempts: bool = False,
    ) -> T:
        """Return what `function` returns, or raise its error.

        :param target: the domain's uuid, or another name of the object
        :param timeout: seconds
        :param preempts: call even if an earlier call on the target is stuck
        :raises HypervisorDeadline: the function did not return in time; it continues in the background
        :raises NotResponding: an earlier call on the target is stuck
        :raises ResourceExhausted: too many calls are under way
        """
        if self._stuck and not preempts:
            self._refuse_stuck(target)
        call = _Call(function, operation, target)
        self._hand_over(call)
        if not call.done.acquire(timeout=timeout):
            self._give_up(call, timeout)
        error, call.error = call.error, None
        if error is not None:
            try:
                raise error
            finally:
                # The traceback holds this frame: a cycle, and with it domains and connections, would stay.
                del error
        return call.result  # type: ignore[no-any-return]  # the result of `function`, kept as Any

    def begin(self, function: Callable[[], None], *, operation: str, target: str) -> Pending:
        """Run a function that takes its time by nature; the caller looks after its deadline.

        Threads of such calls are not waited for by `stop`.

        :param target: what the call is about; nothing else that has to go on meanwhile
        :raises ResourceExhausted: too many calls are under way
        """
        call = _Call(function, operation, target)
        call.begun = True
        self._hand_over(call)
        return Pending(call, self)

    def disown(self, call: _Call) -> None:
        """Count a call among those that have outlived their deadline, unless it has ended."""
        with self._lock:
            if call.finished or call.overdue:
                return
            call.overdue = True
            self._stuck.setdefault(call.target, []).append(call)
        log.warning("%s on %s has not returned after %.1f s", call.operation, call.target, call.seconds())

    def overdue(self) -> list[UnfinishedCall]:
        """Return the calls that have outlived their deadline, the oldest first."""
        with self._lock:
            calls = [call for stuck in self._stuck.values() for call in stuck]
        calls.sort(key=lambda call: call.started)
        return [
            UnfinishedCall(object=call.target, operation=call.operation, seconds=call.seconds())
            for call in calls
        ]

    def overdue_on(self, target: str) -> int:
        """Return how many calls on a target have outlived their deadline."""
        with self._lock:
            return len(self._stuck.get(target, ()))

    def stop(self, timeout: float) -> int:
        """End the threads; return how many are left behind in calls that do not return.

        Calls that were begun with `begin` are left to themselves.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            self._stopped = True
            idle, self._idle = self._idle, []
            workers = [worker for worker in self._workers if worker.call is None or not worker.call.begun]
        for worker in idle:
            worker.wake.release()
        for worker in workers:
            if worker.thread is not None:
                worker.thread.join(max(0.0, deadline - time.monotonic()))
        return sum(worker.thread is not None and worker.thread.is_alive() for worker in workers)

    def _refuse_stuck(self, target: str) -> None:
        with self._lock:
            stuck = self._stuck.get(target)
            call = stuck[0] if stuck else None
        if call is not None:
            raise NotResponding(object=target, operation=call.operation, seconds=call.seconds())

    def _hand_over(self, call: _Call) -> None:
        with self._lock:
            # The last one to fall idle is the one whose stack is in the processor's cache.
            worker = self._idle.pop() if self._idle else self._new_worker()
            worker.call = call
        if worker.thread is None:
            number = next(self._numbers)
            worker.thread = threading.Thread(
                target=self._work, args=(worker,), name=f"libvirt-call-{number}", daemon=True
            )
            worker.thread.start()
        else:
            worker.wake.release()

    def _new_worker(self) -> _Worker:
        if self._stopped:
            raise ResourceExhausted(reason="the connection to the hypervisor is being closed")
        if len(self._workers) >= MAX_CALLS:
            raise ResourceExhausted(reason=f"{MAX_CALLS} calls to the hypervisor are under way")
        worker = _Worker()
        self._workers.add(worker)
        return worker

    def _give_up(self, call: _Call, timeout: float) -> None:
        with self._lock:
            if call.finished:
                return
            call.overdue = True
            self._stuck.setdefault(call.target, []).append(call)
        log.warning("%s on %s has not returned after %.1f s", call.operation, call.target, timeout)
        raise HypervisorDeadline(operation=call.operation, object=call.target, seconds=timeout)

    def _work(self, worker: _Worker) -> None:
        while (call := worker.call) is not None:
            try:
                call.result = call.function()
            except Exception as error:  # noqa: BLE001  # raised in the thread that called
                call.error = error
            worker.call = None
            stays = self._finish(call, worker)
            call.done.release()
            # Release the objects of this call now, not with the next call of this thread.
            del call
            if not stays:
                return
            if not worker.wake.acquire(timeout=IDLE_SECONDS) and self._expire(worker):
                return
        with self._lock:
            self._workers.discard(worker)

    def _finish(self, call: _Call, worker: _Worker) -> bool:
        with self._lock:
            call.finished = True
            if call.overdue:
                remaining = [other for other in self._stuck.pop(call.target, ()) if other is not call]
                if remaining:
                    self._stuck[call.target] = remaining
            stays = not self._stopped
            if stays:
                # Before the caller is woken, so that its next call finds this worker.
                self._idle.append(worker)
            else:
                self._workers.discard(worker)
        if call.overdue:
            log.warning("%s on %s returned after %.1f s", call.operation, call.target, call.seconds())
            call.result = call.error = None
        return stays

    def _expire(self, worker: _Worker) -> bool:
        with self._lock:
            if worker in self._idle:
                self._idle.remove(worker)
                self._workers.discard(worker)
                return True
        # A call was handed over at the last moment: the wake-up is on its way.
        worker.wake.acquire()
        return False
