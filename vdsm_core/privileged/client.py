"""The daemon's side: calling operations of the privileged helper."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, ParamSpec, TypeVar

import msgspec

from vdsm_core.errors import (
    InvalidArgument,
    InvalidRequest,
    OperationFailed,
    ResourceExhausted,
    UnexpectedError,
    VdsmError,
)
from vdsm_core.privileged.commands import CommandFailed
from vdsm_core.privileged.errors import HelperUnavailable, OperationDeadline, OperationOutcomeUnknown
from vdsm_core.privileged.frames import (
    MAX_REPLY,
    MAX_REQUEST,
    MAX_SECONDS,
    RELOAD,
    VERSION,
    Failure,
    Frames,
    ProtocolError,
    Reply,
    Request,
    failure_of,
    framed,
    peer_uid,
    reply_of,
)
from vdsm_core.privileged.operation import Operation

P = ParamSpec("P")
R = TypeVar("R")

#: Seconds within which a helper that has ended is back, and begins an operation.
_PATIENCE: Final = 20.0
#: Seconds before the second attempt; the wait doubles with each further one.
_FIRST_PAUSE: Final = 0.05
#: How often an idempotent operation is begun at the most.
_REPEATS: Final = 5
#: Calls at the same time; the helper takes a few more.
_MAX_CALLS: Final = 48
#: Connections that are kept for the next call.
_MAX_IDLE: Final = 8
#: Seconds that the helper gets to take note of a reload.
_RELOAD_TIME: Final = 5.0
_LABEL: Final = 256

_COMMON: Final[dict[str, type[VdsmError]]] = {
    error.slug: error
    for error in (
        CommandFailed,
        HelperUnavailable,
        InvalidArgument,
        InvalidRequest,
        OperationFailed,
        UnexpectedError,
    )
}
_WITHOUT: Final = (
    "{what}. Run vdsmd as the service of the packages, with vdsm-helper.socket, or start it as root: "
    "then it starts a helper of its own"
)


_Connection = tuple[socket.socket, Frames]


class Caller(msgspec.Struct, frozen=True):
    """For whom an operation is run: a name and a flow id for the log, seconds that are left to wait."""

    name: str = "vdsm"
    flow: str = ""
    seconds: float = MAX_SECONDS


class _NotBegun(Exception):
    """The helper ended before it began the operation."""


class _Lost(Exception):
    """The helper ended while it ran the operation."""


class PrivilegedClient:
    """Runs operations in the helper.

    :param address: the helper's unix socket
    :param caller: for whom the present thread works
    """

    def __init__(self, address: str, caller: Callable[[], Caller] = Caller) -> None:
        self._address = address
        self._caller = caller
        self._names: dict[Operation[..., Any], str] = {}
        self._changing = threading.Lock()
        self._idle: list[_Connection] = []
        self._calls = threading.Semaphore(_MAX_CALLS)
        self._trouble = ""

    def use(self, address: str) -> None:
        """Call another helper from now on."""
        self.close()
        self._address = address

    def register(self, plugin: str, operations: Iterable[Operation[..., Any]]) -> None:
        """Let the operations of a plugin be called."""
        with self._changing:
            self._names = {**self._names, **{each: f"{plugin}.{each.name}" for each in operations}}

    def unregister(self, plugin: str) -> None:
        """Let the operations of a plugin be called no more; those that run go on."""
        with self._changing:
            kept = {each: name for each, name in self._names.items() if name.partition(".")[0] != plugin}
            self._names = kept

    @property
    def trouble(self) -> str:
        """Why the last call found no helper; empty after one that did."""
        return self._trouble

    def run(self, operation: Operation[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run an operation in the helper, and return its result.

        :raises HelperUnavailable: it was not begun: no helper, or none with this operation
        :raises OperationDeadline: it did not end within its deadline, or that of the call
        :raises OperationOutcomeUnknown: the helper ended meanwhile, and the operation cannot be repeated
            safely
        :raises InvalidArgument: the helper does not accept an argument
        :raises VdsmError: the operation failed
        """
        name = self._names.get(operation)
        if name is None:
            reason = "its plugin does not run. Switch it on, and look at its state in Host.getPlugins"
            raise HelperUnavailable(operation=operation.name, reason=reason)
        caller = self._caller()
        seconds = min(operation.deadline, caller.seconds)
        if seconds <= 0:
            raise HelperUnavailable(operation=name, reason="the deadline of the call has passed")
        arguments = operation.pack(*args, **kwargs)
        request = framed(Request(VERSION, name, arguments, _label(caller.name), _label(caller.flow), seconds))
        if len(request) > MAX_REQUEST:
            raise InvalidArgument(argument=name, reason=f"its arguments have more than {MAX_REQUEST} bytes")
        reply = self._call(name, request, seconds, operation.idempotent)
        if reply.kind == "failed":
            raise _error(failure_of(reply), operation)
        try:
            return operation.unpack_result(reply.body)
        except msgspec.DecodeError as error:
            raise OperationFailed(reason=f"the result of {name} is not what it declares: {error}") from None

    def reload(self) -> None:
        """Ask the helper to end when no operation runs; its successor has the present plugins and options.

        Without a helper, do nothing.
        """
        request = framed(Request(VERSION, RELOAD, b"", "vdsm", "", _RELOAD_TIME))
        try:
            self._call(RELOAD, request, _RELOAD_TIME, idempotent=True)
        except VdsmError as error:
            self._trouble = str(error)
        self.close()

    def close(self) -> None:
        """Close the connections that no call uses."""
        with self._changing:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def _call(self, name: str, request: bytes, seconds: float, idempotent: bool) -> Reply:
        end = time.monotonic() + seconds
        if not self._calls.acquire(timeout=seconds):
            raise ResourceExhausted(reason=f"{_MAX_CALLS} privileged operations run already")
        try:
            reply = self._repeat(name, request, end, idempotent)
        except HelperUnavailable as error:
            self._trouble = str(error)
            raise
        except TimeoutError:
            raise OperationDeadline(operation=name, seconds=seconds) from None
        finally:
            self._calls.release()
        self._trouble = ""
        return reply

    def _repeat(self, name: str, request: bytes, end: float, idempotent: bool) -> Reply:
        """Call until the operation has ended, as far as that is safe.

        :raises TimeoutError: it may have begun, and has not ended in time
        """
        begin_by = min(end, time.monotonic() + _PATIENCE)
        pause, losses = 0.0, 0
        while True:
            try:
                if idempotent:
                    return self._exchange(name, request, end)
                return self._exchange_once(name, request, begin_by, end)
            except _NotBegun as error:
                reason = f"the helper ended before it began ({error}). Look at its log"
            except _Lost:
                losses += 1
                if not idempotent or losses == _REPEATS:
                    raise OperationOutcomeUnknown(operation=name) from None
                reason = "the helper has ended several times. Look at its log"
            # Others that were kept are of the same helper, which is gone.
            self.close()
            if time.monotonic() + pause > begin_by:
                raise HelperUnavailable(operation=name, reason=reason)
            time.sleep(pause)
            pause = max(_FIRST_PAUSE, pause * 2)

    def _exchange(self, name: str, request: bytes, end: float) -> Reply:
        """Make a call that may be repeated."""
        with self._lease(name) as (connection, frames):
            try:
                connection.settimeout(_left(end))
                return _ask(frames, request)
            except TimeoutError:
                raise
            except (OSError, ProtocolError):
                raise _Lost from None

    def _exchange_once(self, name: str, request: bytes, begin_by: float, end: float) -> Reply:
        """Make a call that may not be repeated once it has begun."""
        with self._lease(name) as (connection, frames):
            try:
                connection.settimeout(_left(begin_by))
                reply = _ask(frames, request)
            except TimeoutError:
                reason = "the helper did not begin it in time. Look at its log"
                raise HelperUnavailable(operation=name, reason=reason) from None
            except (OSError, ProtocolError) as error:
                raise _NotBegun(str(error)) from None
            if reply.kind != "begun":
                return reply
            try:
                connection.settimeout(_left(end))
                return reply_of(frames.receive())
            except TimeoutError:
                raise
            except (OSError, ProtocolError):
                raise _Lost from None

    @contextmanager
    def _lease(self, name: str) -> Iterator[_Connection]:
        """A connection for one call; what a call left in the middle is closed."""
        leased = self._connection(name)
        try:
            yield leased
        except BaseException:
            leased[0].close()
            raise
        with self._changing:
            if keep := len(self._idle) < _MAX_IDLE:
                self._idle.append(leased)
        if not keep:
            leased[0].close()

    def _connection(self, name: str) -> _Connection:
        with self._changing:
            if self._idle:
                return self._idle.pop()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_PATIENCE)
            connection.connect(self._address)
            uid = peer_uid(connection)
        except OSError as error:
            connection.close()
            raise HelperUnavailable(operation=name, reason=self._why(error)) from None
        if uid not in {0, os.geteuid()}:
            connection.close()
            reason = f"{self._address} belongs to user id {uid} and not to root. Remove it"
            raise HelperUnavailable(operation=name, reason=reason)
        return connection, Frames(connection, MAX_REPLY)

    def _why(self, error: OSError) -> str:
        if error.errno == errno.EACCES:
            return _WITHOUT.format(what=f"the socket {self._address} is not open to this user")
        if error.errno in {errno.ENOENT, errno.ECONNREFUSED} or not self._address:
            return _WITHOUT.format(what="vdsmd runs without a privileged helper")
        return f"{self._address} cannot be connected to ({error.strerror or error})"


def _ask(frames: Frames, request: bytes) -> Reply:
    # A helper that refuses a user has said why, and has closed the connection already.
    with suppress(BrokenPipeError, ConnectionResetError):
        frames.send(request)
    return reply_of(frames.receive())


def _left(end: float) -> float:
    return max(0.001, end - time.monotonic())


def _error(failure: Failure, operation: Operation[..., Any]) -> VdsmError:
    class_ = operation.raises.get(failure.slug) or _COMMON.get(failure.slug)
    if class_ is None:
        return OperationFailed(reason=failure.message)
    return class_(**failure.facts)


def _label(text: str) -> str:
    """Text for the log, as frames have it."""
    shown = text.encode("utf-8", "replace").decode("utf-8")[:_LABEL]
    return shown if shown.isprintable() else "".join(each if each.isprintable() else "?" for each in shown)
