"""A hypervisor that hangs on demand: libvirt's test driver, with domains that block.

It simulates libvirt with a hanging QEMU: every call that needs its monitor blocks; bulk statistics with
NOWAIT omit its values, unless theirs is the first call that needs it, which hangs; libvirt reports the holder
of the domain; `destroy` kills QEMU, upon which the blocked calls return.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from vdsm_core.hypervisor import open_libvirt

#: Calls on a domain that libvirt answers without its monitor.
ANSWERED: Final = frozenset(
    {"UUIDString", "UUID", "name", "ID", "isActive", "isPersistent", "isUpdated", "state", "connect"}
)
# Of libvirt's headers: VIR_DOMAIN_STATS_STATE, VIR_DOMAIN_STATS_BALLOON, VIR_DOMAIN_CONTROL_OCCUPIED and
# VIR_CONNECT_CLOSE_REASON_EOF.
_STATS_STATE: Final = 1
_STATS_OF_MONITOR: Final = 4
_CONTROL_OCCUPIED: Final = 2
_CLOSE_REASON_EOF: Final = 1
#: A URI without a listener.
_NOWHERE: Final = "qemu+unix:///system?socket=/nonexistent/libvirt-sock"


class _Hang:
    """A QEMU that hangs."""

    def __init__(self, *, statistics: bool) -> None:
        self.gate = threading.Event()
        self.since = time.monotonic()
        #: The next bulk statistics call is the first that needs its monitor.
        self.statistics = statistics


class BlockingDriver:
    """Libvirt's test driver, with domains that block on demand. Give `connect` to a `Hypervisor`.

    Use it in a `with` statement: it keeps the test driver's state until the end of the block, and then
    releases all blocked calls.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hangs: dict[str, _Hang] = {}
        self._waiting: list[tuple[str, str, _Connection]] = []
        self._connections: list[_Connection] = []
        self._keeper: Any = None
        self._uri = "test:///default"
        self._refusing = False

    def __enter__(self) -> Self:
        self._keeper = open_libvirt(self._uri)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release_all()
        self._keeper.close()

    def connect(self, _uri: str) -> Any:
        """Connect; to be passed to a `Hypervisor`."""
        connection = _Connection(self, open_libvirt(_NOWHERE if self._refusing else self._uri))
        with self._lock:
            self._connections.append(connection)
        return connection

    def block(self, uuid: str, *, statistics: bool = False) -> None:
        """Make a domain hang.

        :param statistics: the next bulk statistics call hangs, too, as the first that needs its monitor
        """
        with self._lock:
            self._hangs[uuid] = _Hang(statistics=statistics)

    def release(self, uuid: str) -> None:
        """Release a domain, and all calls that wait for it."""
        with self._lock:
            hang = self._hangs.pop(uuid, None)
        if hang is not None:
            hang.gate.set()

    def release_all(self) -> None:
        """Release all domains."""
        for uuid in list(self._hangs):
            self.release(uuid)

    def waiting(self) -> list[tuple[str, str]]:
        """Return the blocked calls, as pairs of uuid and libvirt's name of the method."""
        with self._lock:
            return [(uuid, method) for uuid, method, _connection in self._waiting]

    def waiting_by_connection(self) -> list[int]:
        """Return the numbers of blocked calls of each connection that has some."""
        with self._lock:
            return list(Counter(id(connection) for *_, connection in self._waiting).values())

    def break_connections(self, *, refuse: bool = False, notify: bool = True) -> None:
        """Cut every connection, as at the end of libvirtd.

        :param notify: call the close callbacks
        :param refuse: refuse new connections until `accept`
        """
        self._refusing = refuse
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.cut(notify=notify)

    def accept(self) -> None:
        """Accept new connections again."""
        self._refusing = False

    def hangs(self, uuid: str) -> _Hang | None:
        """Return the hang of a domain; None if it does not hang."""
        return self._hangs.get(uuid)

    def wait_for(self, uuid: str, method: str, connection: _Connection) -> None:
        """Block until the domain does not hang (any more)."""
        hang = self._hangs.get(uuid)
        if hang is None:
            return
        call = (uuid, method, connection)
        with self._lock:
            self._waiting.append(call)
        hang.gate.wait()
        with self._lock:
            self._waiting.remove(call)

    def meet(self, connection: _Connection) -> None:
        """Block a bulk statistics call that is the first to need a hanging domain's monitor."""
        with self._lock:
            met = [uuid for uuid, hang in self._hangs.items() if hang.statistics]
            for uuid in met:
                self._hangs[uuid].statistics = False
        for uuid in met:
            self.wait_for(uuid, "getAllDomainStats", connection)

    def closed_connection(self) -> Any:
        """Return a connection on which every call fails as on a broken one."""
        connection = open_libvirt(self._uri)
        connection.close()
        return connection

    def forget(self, connection: _Connection) -> None:
        """Forget a connection that its user closed."""
        with self._lock, contextlib.suppress(ValueError):
            self._connections.remove(connection)


# ruff: noqa: N802  # from here on, methods have libvirt's names


class _Connection:
    """A connection of the test driver. All other methods are those of the real one."""

    def __init__(self, driver: BlockingDriver, real: Any) -> None:
        self._driver = driver
        self._real = real
        self._closed: Callable[[], None] | None = None
        self._is_cut = False
        self._events: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def domainEventRegisterAny(
        self, domain: Any, event: int, callback: Callable[..., None], opaque: Any
    ) -> int:
        number = int(self._real.domainEventRegisterAny(domain, event, callback, opaque))
        self._events.append(number)
        return number

    def lookupByUUIDString(self, uuid: str) -> _Domain:
        return _Domain(self._driver, self, self._real.lookupByUUIDString(uuid))

    def getAllDomainStats(self, stats: int = 0, flags: int = 0) -> list[tuple[Any, dict[str, Any]]]:
        rows: list[tuple[Any, dict[str, Any]]] = self._real.getAllDomainStats(_STATS_STATE, flags)
        if not stats & _STATS_OF_MONITOR:
            return rows
        self._driver.meet(self)
        return [(domain, {**values, **self._figures(domain)}) for domain, values in rows]

    def isAlive(self) -> bool:
        return not self._is_cut

    def registerCloseCallback(self, callback: Callable[..., None], opaque: Any) -> int:
        self._closed = lambda: callback(self, _CLOSE_REASON_EOF, opaque)
        return 0

    def unregisterCloseCallback(self) -> None:
        self._closed = None

    def close(self) -> None:
        self._driver.forget(self)
        if not self._is_cut:
            self._real.close()

    def cut(self, *, notify: bool) -> None:
        """Break the connection, and call the close callback. Calls under way finish; later ones fail."""
        self._is_cut = True
        for number in self._events:
            self._real.domainEventDeregisterAny(number)
        self._real = self._driver.closed_connection()
        closed, self._closed = self._closed, None
        if notify and closed is not None:
            closed()

    def _figures(self, domain: Any) -> dict[str, int]:
        """Return the test driver's figures of an active domain, under the names of QEMU's driver."""
        if domain.ID() == -1:
            return {}
        _state, most, current, cpus, nanoseconds = domain.info()
        figures = {"balloon.maximum": most, "balloon.current": current}
        if self._driver.hangs(domain.UUIDString()) is None:
            figures |= {"balloon.rss": current, "vcpu.current": cpus, "cpu.time": nanoseconds}
        return figures


class _Domain:
    """A domain of the test driver. Calls that need its monitor block while it hangs."""

    def __init__(self, driver: BlockingDriver, connection: _Connection, real: Any) -> None:
        self._driver = driver
        self._connection = connection
        self._real = real

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)
        if name in ANSWERED:
            return method

        def waits(*arguments: Any) -> Any:
            self._driver.wait_for(self._real.UUIDString(), name, self._connection)
            return method(*arguments)

        return waits

    def controlInfo(self, flags: int = 0) -> list[int]:
        hang = self._driver.hangs(self._real.UUIDString())
        if hang is None:
            return list(self._real.controlInfo(flags))
        return [_CONTROL_OCCUPIED, 0, round((time.monotonic() - hang.since) * 1000)]

    def destroyFlags(self, flags: int = 0) -> int:
        result = int(self._real.destroyFlags(flags))
        self._driver.release(self._real.UUIDString())
        return result
