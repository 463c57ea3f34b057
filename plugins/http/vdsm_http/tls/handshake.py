"""The beginning of a connection on a socket with TLS: detect plain or TLS, and run the handshake."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import time
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from vdsm_bridge import Certificate, is_loopback
from vdsm_http.capacity import party
from vdsm_http.loop import READ, WRITE, Loop
from vdsm_http.messages import Peer, Refusal
from vdsm_http.session import Session
from vdsm_http.tls.connection import TlsConnection

if TYPE_CHECKING:
    from vdsm_http.listener import Listener

log = logging.getLogger(__name__)

#: The first byte of every TLS connection: the record type of a handshake (RFC 8446, section 5.1).
RECORD: Final = 0x16
_CHUNK: Final = 65_536
#: Limits for what a refused client may still send before it reads the alert.
_LINGER_BYTES: Final = 1024 * 1024
_LINGER_SECONDS: Final = 1.0
#: Reasons of failed handshakes, by OpenSSL's names.
_REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it sent no certificate, which is required here",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the CA of this host's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it rejects this host's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it rejects this host's certificate as expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it rejects this host's certificate as revoked",
    "UNSUPPORTED_PROTOCOL": "it offers only versions of TLS that are too old",
    "NO_SHARED_CIPHER": "it offers no cipher suite that is accepted here",
}


class Handshake:
    """A connection until it is a `Session`. Only the loop works on it.

    It counts for its party like an idle connection, and makes room for others in the same way.
    """

    stream = False
    idle = True
    busy = False
    #: Its first request is still to come, see `Session.fresh`.
    fresh = True

    def __init__(self, loop: Loop, listener: Listener, sock: socket.socket, peer: Peer) -> None:
        self._loop = loop
        self._listener = listener
        self._socket = sock
        self.fd = sock.fileno()
        self.peer = peer
        self.party = party(peer)
        self.closed = False
        self.tick = 0
        self.since = time.monotonic()
        self.deadline = self.since + listener.timeout
        self.held_in = 0
        self._events = READ
        #: Bytes that were taken from a client whose handshake failed; None: it has not.
        self._drained: int | None = None

    @property
    def begun(self) -> bool:
        """Whether the first step has run."""
        return isinstance(self._socket, ssl.SSLSocket)

    def begin(self) -> None:
        """Wait for the first byte."""
        self._loop.watch(self.fd, self)
        self._loop.timers.add(self)

    def ready(self, _events: int) -> None:
        """Detect TLS or plain bytes, queue the next step of a handshake, or drain after a failure."""
        self._listener.received += 1
        if self._drained is not None:
            self._drain(self._drained)
        elif isinstance(self._socket, ssl.SSLSocket):
            self._queue_up()
        else:
            self._detect()

    def take_turn(self) -> None:
        """Do the next step of the handshake."""
        if self.closed:
            return
        if isinstance(self._socket, ssl.SSLSocket):
            self._go_on(self._socket)
        else:
            self._start()

    def _queue_up(self) -> None:
        if not self._events:
            return  # it is queued; a broken connection is reported without being watched
        # Watch nothing until the turn: the bytes that are there would be reported by every poll.
        self._wait_for(0)
        assert self._listener.tls is not None
        self._listener.tls.turns.add(self)

    def expired(self, _now: float) -> None:
        """Close a connection whose deadline has passed."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if not self.closed:
            self._leave()
            self._socket.close()

    end = make_room = close

    def cut(self) -> None:
        """Break the connection. Any thread may call this."""
        with contextlib.suppress(OSError):
            # SSLSocket.shutdown() would drop the TLS state, and later bytes would be plain.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _leave(self) -> None:
        self.closed = True
        self._loop.forget(self.fd)
        self._loop.timers.discard(self)
        self._listener.discard(self)

    def _detect(self) -> None:
        try:
            first = self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            first = b""
        if not first:
            self.close()
        elif first[0] == RECORD:
            self._begin_tls()
        else:
            session = self._become(self._socket, self.peer)
            if self._listener.mode == "required":
                session.refuse(Refusal(HTTPStatus.BAD_REQUEST, "This address requires TLS: use https://"))
            else:
                session.ready(READ)

    def _begin_tls(self) -> None:
        assert self._listener.tls is not None
        if self._listener.tls.certificates.usable:
            self._queue_up()
        else:
            # Only where plain connections are accepted, too; else the socket does not listen.
            self._report("this host has no certificate that can be used")
            self.close()

    def _start(self) -> None:
        assert self._listener.tls is not None
        certificates = self._listener.tls.certificates
        context = certificates.context(remote=not is_loopback(self.peer.address))
        self.deadline = time.monotonic() + certificates.handshake_timeout
        self._loop.timers.add(self)
        # The descriptor is closed if this fails, and its number may be another connection's then.
        self._loop.forget(self.fd)
        try:
            secured = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        except OSError:
            self.close()  # the client is gone already
            return
        self._socket = secured
        self._events = READ
        self._loop.watch(self.fd, self)
        self._go_on(secured)

    def _go_on(self, secured: ssl.SSLSocket) -> None:
        try:
            secured.do_handshake()
        except ssl.SSLWantReadError:
            self._wait_for(READ)
        except ssl.SSLWantWriteError:
            self._wait_for(WRITE)
        except OSError as error:
            self._fail(error)
        else:
            self._finish(secured)

    def _wait_for(self, events: int) -> None:
        if events != self._events:
            self._events = events
            self._loop.change(self.fd, events)

    def _finish(self, secured: ssl.SSLSocket) -> None:
        described = secured.getpeercert()
        certificate, der = None, b""
        if described:
            der = secured.getpeercert(binary_form=True) or b""
            if secured.session_reused and ssl.cert_time_to_seconds(str(described["notAfter"])) < time.time():
                self._report("its certificate has expired")
                self.close()
                return
            if self._listener.tls is not None and self._listener.tls.certificates.revoked(der):
                # It was revoked between two steps of the handshake.
                self._report("its certificate is revoked")
                self.close()
                return
            certificate = Certificate.of(described, der)
        # Nothing is sent in reply to the end of a handshake. The kernel would confirm it 40 ms later, and
        # clients that collect small packets (RFC 896) would wait so long with their first request.
        secured.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        connection = TlsConnection(secured, partial(self._loop.change, self.fd))
        peer = self.peer._replace(secure=True, certificate=certificate, der=der)
        session = self._become(connection, peer)
        # The first request arrives with the end of the handshake, most often.
        self._loop.again(session)

    def _become(self, sock: socket.socket | TlsConnection, peer: Peer) -> Session:
        """Replace this object by a session on the same connection."""
        self._leave()
        session = Session(self._loop, self._listener, sock, peer)
        self._listener.adopt(session)
        session.begin()
        return session

    def _fail(self, error: OSError) -> None:
        if isinstance(error, ssl.SSLEOFError) or not isinstance(error, ssl.SSLError):
            self.close()  # the client has gone, as one that only checks that the port is open
            return
        self._report(_reason(error))
        # OpenSSL has sent the alert. Closing with unread data would make the kernel throw it away.
        try:
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self.deadline = time.monotonic() + _LINGER_SECONDS
        self._loop.timers.add(self)
        self._wait_for(READ)
        self._drain(0)

    def _report(self, reason: str) -> None:
        log.warning("Cannot finish the TLS handshake of %s: %s", self.peer.address, reason)

    def _drain(self, drained: int) -> None:
        self._drained = drained
        try:
            while data := socket.socket.recv(self._socket, _CHUNK):
                self._drained += len(data)
                if self._drained > _LINGER_BYTES:
                    break
        except BlockingIOError:
            return
        except OSError:
            pass
        self.close()


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    name = error.reason or ""
    return _REASONS.get(name, name.replace("_", " ").lower() or str(error))
