"""Frames between the daemon and the helper: a length of four bytes, big-endian, and a MessagePack array.

Nothing in a frame is nested beyond its own fields: arguments and results travel as bytes and are decoded by
the types of their operation, which bound their depth.
"""

from __future__ import annotations

import socket
import struct
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

#: Bytes of one frame, without its length.
MAX_REQUEST: Final = 256 * 1024
MAX_REPLY: Final = 16 * 2**20
#: Seconds that an operation may be given.
MAX_SECONDS: Final = 3_600.0

VERSION: Final = 1
#: Text of the daemon for the log: who calls, and the flow id.
Label = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f]*\Z", max_length=256)]
OperationName = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9_.-]*\Z", max_length=128)]
Fact = str | int | float | bool

#: What the daemon asks of the process itself: end when no operation runs, for one with the present plugins.
RELOAD: Final = "helper.reload"

_LENGTH: Final = struct.Struct("!I")
#: struct ucred: pid, uid, gid.
_CREDENTIALS: Final = struct.Struct("iII")
_CHUNK: Final = 65_536


class ProtocolError(Exception):
    """The other end does not keep to the protocol; the connection cannot be used any more."""


class ConnectionEnded(ProtocolError):
    """The other end has closed the connection."""


class Request(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One call. `seconds` is what the caller still waits."""

    version: Literal[1]
    operation: OperationName
    arguments: bytes
    caller: Label
    flow: Label
    seconds: Annotated[float, Meta(gt=0, le=MAX_SECONDS)]


class Reply(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What follows a request: "done" or "failed"; before it "begun", unless the operation is idempotent.

    `body` is the result of "done", and the `Failure` of "failed".
    """

    kind: Literal["begun", "done", "failed"]
    body: bytes = b""


class Failure(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An error of the tree: its slug, its text, its facts."""

    slug: str
    message: str
    facts: dict[str, Fact]


_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(Request)
_replies = msgspec.msgpack.Decoder(Reply)
_failures = msgspec.msgpack.Decoder(Failure)


def peer_uid(connection: socket.socket) -> int:
    """The user id of the process that has connected, or of the one that listens at the other end."""
    size = _CREDENTIALS.size
    return int(_CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1])


def framed(message: Request | Reply) -> bytes:
    """A message as it travels."""
    payload = _encoder.encode(message)
    return _LENGTH.pack(len(payload)) + payload


#: The one that is sent most.
BEGUN: Final = framed(Reply("begun"))


def request_of(payload: bytes) -> Request:
    """Decode and check a request.

    :raises ProtocolError: it is none
    """
    return _decoded(_requests, payload)  # type: ignore[no-any-return]


def reply_of(payload: bytes) -> Reply:
    """Decode and check a reply.

    :raises ProtocolError: it is none
    """
    return _decoded(_replies, payload)  # type: ignore[no-any-return]


def failure_of(reply: Reply) -> Failure:
    """Decode and check the body of a failed reply.

    :raises ProtocolError: it is none
    """
    return _decoded(_failures, reply.body)  # type: ignore[no-any-return]


def failed(slug: str, message: str, facts: dict[str, Any]) -> Reply:
    """A reply with an error. Facts of other types travel as text."""
    plain = {name: value if isinstance(value, Fact) else str(value) for name, value in facts.items()}
    return Reply("failed", _encoder.encode(Failure(slug, message, plain)))


def _decoded(decoder: msgspec.msgpack.Decoder[Any], payload: bytes) -> Any:
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise ProtocolError(f"a frame cannot be decoded: {error}") from None


class Frames:
    """The frames of one connection.

    :param limit: bytes that a frame may have which arrives here
    """

    def __init__(self, connection: socket.socket, limit: int) -> None:
        self._connection = connection
        self._limit = limit
        self._buffer = bytearray()

    def send(self, frame: bytes) -> None:
        """Send a frame, with its length.

        :raises OSError: the connection is gone, or its timeout passed
        """
        self._connection.sendall(frame)

    def receive(self) -> bytes:
        """Wait for the next frame, and return it without its length.

        :raises ConnectionEnded: there is none
        :raises ProtocolError: it is larger than allowed, or cut off
        :raises OSError: the connection is gone, or its timeout passed
        """
        self._fill(_LENGTH.size)
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > self._limit:
            raise ProtocolError(f"a frame of {length} bytes is larger than the {self._limit} that are taken")
        end = _LENGTH.size + length
        self._fill(end)
        payload = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return payload

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            chunk = self._connection.recv(_CHUNK)
            if not chunk:
                if self._buffer:
                    raise ConnectionEnded("the connection ended within a frame")
                raise ConnectionEnded("the connection ended")
            self._buffer += chunk
