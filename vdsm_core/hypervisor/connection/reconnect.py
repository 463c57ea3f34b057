"""Keep a connection to libvirt: open it, watch it, open it again after a loss."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import libvirt
import msgspec

from vdsm_core.config import HypervisorOptions
from vdsm_core.errors import HypervisorLost, HypervisorUnavailable, VdsmError
from vdsm_core.hypervisor import enum_names
from vdsm_core.hypervisor.connection.pool import ConnectionPool, alive, close
from vdsm_core.hypervisor.connection.workers import Workers
from vdsm_core.hypervisor.error_mapping import is_disconnect, translate
from vdsm_core.hypervisor.events import ConnectionBack, ConnectionLost, HypervisorEvent
from vdsm_core.hypervisor.models import ConnectionStatus

log = logging.getLogger(__name__)
Announce = Callable[[HypervisorEvent], None]

#: Unanswered keepalive probes that break a connection.
KEEPALIVE_COUNT: Final = 3
#: Seconds after which a further connection that no call needed is closed.
IDLE_SECONDS: Final = 30.0
#: Seconds that closing the connections may take.
CLOSE_TIMEOUT: Final = 1.0


def open_libvirt(uri: str) -> Any:
    """Open a connection of libvirt."""
    return libvirt.open(uri)


@dataclass
class _Listening:
    """The connection that receives events."""

    connection: Any
    deregister: Callable[[], None] | None = None
    lost_because: str = ""

    def close(self) -> None:
        """Deregister its callbacks and close it. A broken connection is no error."""
        if self.connection is None:
            return
        if self.deregister is not None:
            self.deregister()
        with contextlib.suppress(libvirt.libvirtError):
            self.connection.unregisterCloseCallback()
        close(self.connection)


class Connection:
    """One connection that only receives events and is watched; beside it the pools that calls use.

    :param connect: opens a connection of libvirt
    :param announce: called with each event; must not block
    :param register: registers the event callbacks of a new connection with `announce`, and returns a function
        that deregisters them
    """

    def __init__(
        self,
        options: HypervisorOptions,
        connect: Callable[[str], Any],
        workers: Workers,
        announce: Announce,
        register: Callable[[Any, Announce], Callable[[], None]],
    ) -> None:
        self._options = options
        self._connect = connect
        self._workers = workers
        self._announce = announce
        self._register = register
        self._status = ConnectionStatus(state="down", since=time.time(), reason="not connected yet")
        self._listening: _Listening | None = None
        self._lock = threading.Lock()
        self._attempt = 0
        self._wake = threading.Event()
        self._attempted = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        #: For ordinary calls, for calls that preempt others, for bulk statistics, for channels to guests.
        self.ordinary = ConnectionPool(self._open)
        self.urgent = ConnectionPool(self._open)
        self.statistics = ConnectionPool(self._open)
        self.channels = ConnectionPool(self._open)

    @property
    def _pools(self) -> tuple[ConnectionPool, ...]:
        return self.ordinary, self.urgent, self.statistics, self.channels

    @property
    def status(self) -> ConnectionStatus:
        """Up or down, since when, and why."""
        return self._status

    @property
    def up(self) -> bool:
        """Whether libvirt is connected, according to the last call or keepalive."""
        return self._status.state == "up"

    def start(self, wait: float) -> None:
        """Start to connect; return when the first attempt has ended, after `wait` seconds at the latest."""
        self._thread = threading.Thread(target=self._supervise, name="libvirt-supervisor", daemon=True)
        self._thread.start()
        self._attempted.wait(wait)

    def stop(self, timeout: float) -> bool:
        """Close everything. Return whether that was done within `timeout` seconds."""
        if self._thread is None:
            return True
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @contextlib.contextmanager
    def lease(self, pool: ConnectionPool) -> Iterator[Any]:
        """Lend a connection for one call. Call it in a worker: it may have to be opened first.

        :raises HypervisorUnavailable: libvirt is not reached
        :raises libvirtError: raised by the caller's block, or a further connection could not be opened
        """
        if not self.up:
            raise HypervisorUnavailable(uri=self._options.uri, reason=self._status.reason)
        try:
            with pool.lease() as connection:
                yield connection
        except libvirt.libvirtError as error:
            if is_disconnect(error):
                self._wake.set()
            raise

    def _open(self) -> Any:
        connection = self._connect(self._options.uri)
        try:
            connection.setKeepAlive(self._options.keepalive, KEEPALIVE_COUNT)
        except libvirt.libvirtError as error:
            # Drivers inside this process have nothing to keep alive.
            log.debug("No keepalive: %s", error)
        return connection

    def _supervise(self) -> None:
        wait = self._options.reconnect_first
        while not self._stopping:
            if self._establish():
                wait = self._options.reconnect_first
                self._watch()
                continue
            self._attempted.set()
            self._wake.wait(wait)
            self._wake.clear()
            wait = min(2 * wait, self._options.reconnect_most)
        self._disconnect("closed")

    def _establish(self) -> bool:
        with self._lock:
            self._attempt += 1
            attempt = self._attempt
        try:
            self._workers.run(
                lambda: self._open_listening(attempt),
                operation="connect",
                target="(connection)",
                timeout=self._options.call_deadline,
                preempts=True,
            )
        except VdsmError as error:
            with self._lock:
                self._attempt += 1
            reason = str(error.facts.get("reason") or error)
            if reason != self._status.reason:
                log.warning("%s", error)
            self._status = msgspec.structs.replace(self._status, reason=reason)
            return False
        return True

    def _open_listening(self, attempt: int) -> None:
        """Open the connection for events, and register callbacks before the first call of anyone."""
        listening = _Listening(connection=None)
        try:
            listening.connection = self._open()
            self._register_close(listening)
            listening.deregister = self._register(listening.connection, self._announce)
            status = _status_of(listening.connection)
        except libvirt.libvirtError as error:
            mapped = translate(
                error, uri=self._options.uri, operation="connect", target="(connection)", seconds=0.0
            )
            if isinstance(mapped, HypervisorLost):  # nothing was called on it yet
                mapped = HypervisorUnavailable(uri=self._options.uri, reason=mapped.facts["reason"])
        else:
            self._adopt(attempt, listening, status)
            return
        listening.close()
        raise mapped

    def _adopt(self, attempt: int, listening: _Listening, status: ConnectionStatus) -> None:
        with self._lock:
            given_up = attempt != self._attempt
            if not given_up:
                self._listening, self._status = listening, status
        if given_up:
            listening.close()
            return
        log.info("Connected to %s, libvirt %s", self._options.uri, status.libvirt_version)
        self._announce(ConnectionBack())
        self._attempted.set()

    def _register_close(self, listening: _Listening) -> None:
        def closed(_connection: Any, reason: int, _opaque: Any) -> None:
            listening.lost_because = enum_names.word(enum_names.CLOSE_REASON, reason)
            self._wake.set()

        try:
            listening.connection.registerCloseCallback(closed, None)
        except libvirt.libvirtError as error:
            log.debug("No close callback: %s", error)

    def _watch(self) -> None:
        while not self._stopping:
            self._wake.wait(self._options.keepalive)
            self._wake.clear()
            for pool in self._pools:
                pool.prune(IDLE_SECONDS)
            listening = self._listening
            if self._stopping or listening is None:
                return
            if listening.lost_because or not alive(listening.connection):
                reason = listening.lost_because or "the connection is broken"
                log.warning("Lost %s: %s", self._options.uri, reason)
                self._disconnect(reason)
                self._announce(ConnectionLost(reason))
                return

    def _disconnect(self, reason: str) -> None:
        with self._lock:
            self._attempt += 1
            self._status = msgspec.structs.replace(
                self._status, state="down", since=time.time(), reason=reason
            )
            listening, self._listening = self._listening, None

        def close_all() -> None:
            for pool in self._pools:
                pool.retire()
            if listening is not None:
                listening.close()

        try:
            self._workers.run(
                close_all, operation="disconnect", target="(connection)", timeout=CLOSE_TIMEOUT, preempts=True
            )
        except VdsmError as error:
            log.warning("%s", error)


def _status_of(connection: Any) -> ConnectionStatus:
    # Without the version of QEMU: for that, libvirt starts each emulator the first time, for seconds.
    return ConnectionStatus(
        state="up",
        since=time.time(),
        libvirt_version=enum_names.version(connection.getLibVersion()),
        driver=connection.getType(),
    )
