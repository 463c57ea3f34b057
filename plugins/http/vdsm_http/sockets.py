"""Listening sockets: TCP on both families, unix sockets with their mode from the first moment on."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct
import termios
from collections.abc import Iterable, Sequence
from typing import Any, Final

from vdsm_bridge import owner_uid
from vdsm_http import filters
from vdsm_http.messages import Peer

_BACKLOG: Final = 1024
_CREDENTIALS: Final = 12  # struct ucred: pid, uid, gid (unix(7))


class Bound:
    """One listening socket.

    `where` is the requested address, `port` the bound port, which the system chooses for 0.
    """

    def __init__(self, sock: socket.socket, where: tuple[str, int] | str, inode: int = 0) -> None:
        self.socket = sock
        self.where = where
        self._inode = inode
        #: Whether connections can be made.
        self.listening = True

    @property
    def unix(self) -> bool:
        """Whether it is a unix socket."""
        return isinstance(self.where, str)

    @property
    def url(self) -> str:
        """`http://address:port`, or `unix:path`."""
        if isinstance(self.where, str):
            return f"unix:{self.where}"
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def listen(self) -> None:
        """Let connections be made, after `bind`.

        :raises OSError: another process has begun to listen on the address
        """
        self.socket.listen(_BACKLOG)
        self.listening = True

    def accept(self) -> tuple[socket.socket, Peer] | None:
        """Return the next connection, or None.

        :raises OSError: it cannot be taken: descriptors or memory are short
        """
        while True:
            try:
                sock, address = self.socket.accept()
            except BlockingIOError:
                return None
            except (ConnectionAbortedError, InterruptedError):
                continue  # others may wait behind it
            try:
                return sock, self._prepare(sock, address)
            except OSError:
                sock.close()  # the peer is gone already

    def _prepare(self, sock: socket.socket, address: Any) -> Peer:
        sock.setblocking(False)
        if isinstance(self.where, str):
            return Peer(uid=_user_of(sock))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        local = sock.getsockname()
        return Peer(address[0], address[1], local=local[:2], owner=owner_uid(local, address))

    def reject(self) -> None:
        """Let no further connection begin; those that have begun can still be accepted.

        Closing alone would reset a connection that is made just then, which its client takes for a lost call.
        The clients of dropped ones try again, and are refused.
        """
        if isinstance(self.where, str):
            self._unlink()
        else:
            filters.drop_all(self.socket)

    def hold_off(self, networks: Iterable[filters.Network]) -> None:
        """Let no connection of these networks begin for now, instead of those of the last call."""
        if not self.unix:
            filters.drop_from(self.socket, networks)

    @property
    def closed(self) -> bool:
        """Whether it listens no more."""
        return self.socket.fileno() < 0

    def settled(self) -> bool:
        """Return whether every connection that has begun can be accepted."""
        return self.unix or not filters.half_open(self.socket)

    def close(self) -> None:
        """Close the socket, and remove the path of a unix socket if it is still this one."""
        self.socket.close()
        self._unlink()

    def _unlink(self) -> None:
        if isinstance(self.where, str):
            try:
                if os.lstat(self.where).st_ino == self._inode:
                    os.unlink(self.where)  # noqa: PTH108 - paths of sockets stay text
            except OSError:
                pass


def tcp(addresses: str | Sequence[str], port: int) -> list[tuple[str, int]]:
    """Return where to listen, from an option that has one address or several; an empty one is none."""
    several = (addresses,) if isinstance(addresses, str) else addresses
    return [(address, port) for address in several if address]


def cannot_listen(where: tuple[str, int] | str, reason: str) -> OSError:
    """Return the error that names an address and the reason why it cannot be used."""
    place = where if isinstance(where, str) else f"{where[0]}:{where[1]}"
    return OSError(f"Cannot listen on {place}: {reason}")


def listen(where: tuple[str, int] | str, mode: int = 0o660) -> Bound:
    """Listen on an address and port, or on the path of a unix socket with this mode.

    :raises OSError: the address is in use or not local; the message names the address and the reason
    """
    try:
        return _listen_unix(where, mode) if isinstance(where, str) else _listen_tcp(*where)
    except OSError as error:
        raise cannot_listen(where, error.strerror or str(error)) from error


def bind(where: tuple[str, int]) -> Bound:
    """Take an address and port, without listening yet: connections to it are refused.

    :raises OSError: the address is in use or not local; the message names the address and the reason
    """
    try:
        bound = Bound(_bind(*where), where)
    except OSError as error:
        raise cannot_listen(where, error.strerror or str(error)) from error
    bound.listening = False
    return bound


def _listen_tcp(address: str, port: int) -> Bound:
    bound = Bound(_bind(address, port), (address, port))
    try:
        bound.listen()
    except OSError:
        bound.close()
        raise
    return bound


def _bind(address: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, place = found[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # The wildcard accepts callers of both families, independent of the system's default.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address != "::"))
        sock.bind(place)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _listen_unix(path: str, mode: int) -> Bound:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The mode of the open socket becomes that of the file, apart from the umask at bind.
        os.fchmod(sock.fileno(), mode)
        sock.bind(path)
        os.chmod(path, mode)  # noqa: PTH101 - as above
        inode = os.lstat(path).st_ino
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return Bound(sock, path, inode)


def has_input(fd: int) -> bool:
    """Return whether a socket has received bytes that were not read yet."""
    unread = bytearray(4)
    fcntl.ioctl(fd, termios.FIONREAD, unread)
    return unread != b"\0\0\0\0"


def _remove_stale(path: str) -> None:
    """Remove a socket that its owner left behind.

    :raises OSError: a process listens on it, or it is not a socket
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # noqa: PTH108 - as above
            return
    raise FileExistsError(f"another process listens on {path}")


def _user_of(sock: socket.socket) -> int:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS)
    return int(struct.unpack("3i", credentials)[1])
