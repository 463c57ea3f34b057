"""An asyncio event loop on a thread of its own, for a program that is made of threads."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

log = logging.getLogger(__name__)

Work = Callable[[], None]
Timer = asyncio.TimerHandle


class Loop:
    """Runs callbacks on one thread. Serves any number of connections.

    `call_soon` and `stop` may be called from any thread, everything else on the loop's thread only.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._soon: deque[Work] = deque()
        self._scheduled = False

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop, while it runs."""
        assert self._loop is not None
        return self._loop

    def start(self) -> None:
        """Start the thread."""
        loop = _EventLoop()
        loop.set_exception_handler(_log_failure)
        with self._lock:
            self._loop = loop
            self._scheduled = True
        loop.call_soon(self._do_soon)
        self._thread = threading.Thread(target=self._run, args=(loop,), name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; discard scheduled work."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self.call_soon(self.event_loop.stop)
        if thread is not threading.current_thread():
            thread.join()

    def call_soon(self, work: Work) -> None:
        """Run work on the loop's thread, in order of arrival. Never blocks."""
        with self._lock:
            self._soon.append(work)
            if self._scheduled or self._loop is None:
                return
            # One wake-up for all work that arrives until the loop gets to it: each is a system call.
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._do_soon)

    def call_later(self, delay: float, work: Work) -> Timer:
        """Run work after `delay` seconds."""
        return self.event_loop.call_later(delay, work)

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine. It is cancelled if the loop stops before its end."""
        return self.event_loop.create_task(coroutine)

    def _do_soon(self) -> None:
        with self._lock:
            batch, self._soon = self._soon, deque()
            self._scheduled = False
        for work in batch:
            try:
                work()
            except Exception:
                # The rest of the batch belongs to other connections.
                log.exception("A callback of the message bus failed")

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
        finally:
            with self._lock:
                self._loop = None
                self._soon.clear()
            loop.run_until_complete(_end_tasks())
            loop.close()


class _EventLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, with names resolved on daemon threads.

    The threads of asyncio's own executor are joined at exit: a resolver that hangs would delay the end of the
    process.
    """

    # The types of the arguments and the result are those of the overridden method.
    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """Resolve a name."""
        found: asyncio.Future[Any] = self.create_future()

        def resolve() -> None:
            try:
                addresses = socket.getaddrinfo(host, port, **options)
            except OSError as error:
                self._settle(found, error=error)
            else:
                self._settle(found, addresses=addresses)

        threading.Thread(target=resolve, name=f"resolve {host}", daemon=True).start()
        return await found

    def _settle(self, found: asyncio.Future[Any], *, addresses: Any = None, error: Any = None) -> None:
        def settle() -> None:
            if found.done():
                return
            if error is not None:
                found.set_exception(error)
            else:
                found.set_result(addresses)

        with suppress(RuntimeError):  # the loop was closed meanwhile
            self.call_soon_threadsafe(settle)


async def _end_tasks() -> None:
    """Cancel what still runs. Transports that were aborted close their sockets meanwhile."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)


def _log_failure(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.error(
        "A callback of the message bus failed: %s", context["message"], exc_info=context.get("exception")
    )
