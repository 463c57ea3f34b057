"""One HTTP connection: reading requests, sending replies, closing cleanly."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from vdsm_bridge import report_incident
from vdsm_http import replies
from vdsm_http.capacity import party
from vdsm_http.channel import Channel
from vdsm_http.loop import READ, WRITE, Loop, Outcome, Phase
from vdsm_http.messages import Peer, Refusal, Request, Response
from vdsm_http.parser import RequestParser
from vdsm_http.site import Site
from vdsm_http.tls.connection import TlsConnection, interject

if TYPE_CHECKING:
    from vdsm_http.listener import Listener

log = logging.getLogger(__name__)

_CHUNK: Final = 65_536
#: Bytes up to which the pieces of a reply are joined: one call into the system instead of several.
_JOIN: Final = 262_144
#: Pieces in one system call; the system takes up to 1,024 (sysconf(3), IOV_MAX).
_PIECES: Final = 512
#: Requests of one client, sent together, that run before those of other clients; seconds to begin them in.
_BATCH: Final = 16
_SLICE: Final = 0.002
#: Bytes per second that a body or a reply may take, beyond the timeout.
_RATE: Final = 65_536.0
#: Bytes and seconds that a refused sender may keep sending, so that it reads the reply.
_LINGER_BYTES: Final = 8 * 1024 * 1024
_LINGER_SECONDS: Final = 1.0
#: Bytes of a first word that a guest protocol may need to be recognised.
_FIRST: Final = 64
#: The first byte of a TLS connection (RFC 8446, section 5.1).
_TLS_RECORD: Final = 0x16


class Session:
    """A connection. The thread that runs its request owns it; else the loop does.

    :param listener: where it was accepted
    """

    stream = False

    def __init__(
        self, loop: Loop, listener: Listener, sock: socket.socket | TlsConnection, peer: Peer
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._socket = sock
        self.fd = sock.fileno()
        self.peer = peer
        self.party = party(peer)
        self.phase = Phase.OPEN
        self.tick = 0
        self.since = time.monotonic()
        self.deadline = self.since + listener.timeout
        self._parser: RequestParser | None = None
        self._first = b""
        self._out: deque[memoryview] = deque()
        self._keep = True
        self._linger = False
        self._ended = False
        self._refusal: Refusal | None = None
        self._drained = 0
        #: Bytes that are held for it: of a body that arrives, of a reply that is not read.
        self.held_in = 0
        self.held_out = 0

    @property
    def closed(self) -> bool:
        """Whether the loop is done with it."""
        return self.phase is Phase.GONE

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self.phase is Phase.PAUSED or (
            self.phase is Phase.OPEN and (self._parser is None or self._parser.between)
        )

    @property
    def busy(self) -> bool:
        """Whether a request runs, or its reply is not sent completely."""
        return self.phase not in (Phase.OPEN, Phase.GONE)

    @property
    def fresh(self) -> bool:
        """Whether nothing was received yet."""
        return self._parser is None and self.phase is Phase.OPEN

    def begin(self) -> None:
        """Wait for the first request."""
        self._loop.watch(self.fd, self)
        self._loop.timers.add(self)

    def ready(self, _events: int) -> None:
        """Read or write as much as possible. While a request runs, its thread owns the connection."""
        if self.phase is Phase.SENDING:
            self._flush()
        elif self.phase is Phase.DRAINING:
            self._discard()
        elif self.phase is Phase.OPEN:
            parser = self._parser
            if parser is not None and parser.requests:
                self._advance()
            elif parser is not None and parser.upgraded is not None:
                # The site answered in HTTP, so the connection stays HTTP (RFC 9110, section 7.8).
                self._feed(parser, parser.stay())
            else:
                self._receive()

    def expired(self, now: float) -> None:
        """End a connection whose deadline has passed; one whose request runs has none."""
        if self.phase is Phase.RUNNING:
            self.deadline = now + self._listener.timeout
            self._loop.timers.add(self)
        elif self.phase is Phase.PAUSED:
            self.phase, self.deadline = Phase.OPEN, now + self._listener.timeout
            self._loop.timers.add(self)
            self._resume()
        elif self.phase is Phase.OPEN and not self.idle:
            self.refuse(Refusal(HTTPStatus.REQUEST_TIMEOUT, "The request took too long"))
        else:
            self.close()

    def close(self) -> None:
        """Close the connection. Only its owner may call this."""
        if self.phase is Phase.GONE:
            return
        self.phase = Phase.GONE
        self._loop.forget(self.fd)
        self._loop.timers.discard(self)
        self._listener.discard(self)
        self._socket.close()
        self._forget()

    make_room = close

    def _forget(self) -> None:
        """Let go of what was read."""
        parser, self._parser = self._parser, None
        if parser is not None:
            parser.release()

    def cut(self) -> None:
        """Break the connection of a request that does not end. Any thread may call this."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Close the connection, or break it if its request runs. In the loop."""
        if self.phase is Phase.RUNNING:
            self.cut()
        else:
            self.close()

    # Receiving. Only the loop does.

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._listener.received += 1
        if not data:
            self._end_of_input()
            return
        if self._parser is not None:
            self._feed(self._parser, data)
        elif first := self._recognised(data):
            if first[0] == _TLS_RECORD:
                self._end_stray()
                return
            self._parser = RequestParser(self.peer, self._listener.choose, self._listener.max_header)
            self._feed(self._parser, first)

    def _feed(self, parser: RequestParser, data: bytes) -> None:
        began = parser.between
        try:
            parser.feed(data)
        except Refusal as refusal:
            # Its traceback would keep this connection alive until the next garbage collection.
            self._refusal = Refusal(refusal.status, refusal.reason)
        # Empty lines between two requests belong to none, and give no more time.
        began = began and not (parser.between and not parser.requests)
        if began:
            self.since = time.monotonic()
        if began or parser.expected:
            site = parser.site
            timeout = self._listener.timeout if site is None else site.limits.timeout
            self.deadline = self.since + timeout + parser.expected / _RATE
        self._account(parser.buffered)
        self._advance()

    def _recognised(self, data: bytes) -> bytes:
        """Return what was received so far if it is HTTP; nothing if more is needed, or a guest has it."""
        first = self._first + data
        if not self._listener.guests:
            return first
        undecided = False
        for site, guest in self._listener.guests:
            verdict = guest.recognise(first)
            if verdict:
                self._hand_over(site, guest.take, first)
                return b""
            undecided = undecided or verdict is None
        if undecided and len(first) < _FIRST:
            self._first = first
            return b""
        return first

    def _end_stray(self) -> None:
        """End a TLS connection to an address without TLS."""
        log.warning("%s uses TLS on %s, which is plain", self.peer.address, self._listener.bound.url)
        self._linger = True
        self._end()

    def _end_of_input(self) -> None:
        parser = self._parser
        if parser is not None and not parser.between:
            self._ended = True
            self.refuse(Refusal(HTTPStatus.BAD_REQUEST, "The request ends early"))
        else:
            self.close()

    def _account(self, held: int) -> None:
        if held != self.held_in:
            over = self._listener.buffers.hold_in(held - self.held_in)
            self.held_in = held
            if over and self._refusal is None:
                self._refusal = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "Too many bodies arrive at once")

    # Running requests.

    def _advance(self) -> None:
        """Run the requests that are whole, one after the other."""
        parser = self._parser
        assert parser is not None
        end = time.monotonic() + _SLICE
        for _ in range(_BATCH):
            if not parser.requests or time.monotonic() > end:
                break
            if not self._listener.may_run(self):
                self._pause()
                return
            site, request = parser.requests.popleft()
            self.phase = Phase.RUNNING
            outcome = self._loop.run(site, self, request)
            if outcome is Outcome.GIVEN:
                return
            if outcome is Outcome.REFUSED:
                self._decline(site, request, HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests wait")
            if outcome is Outcome.DEPOSED:
                self._give_back()
                return
            if self.phase is not Phase.OPEN:
                self._settle()
                return
        if parser.requests or parser.upgraded is not None:
            self._loop.again(self)
        else:
            self._await(parser)

    def _pause(self) -> None:
        """Let requests wait until the next tick, because the client sends too many."""
        self.phase, self.deadline = Phase.PAUSED, time.monotonic()
        self._loop.forget(self.fd)
        self._loop.timers.add(self)

    def _await(self, parser: RequestParser) -> None:
        """Refuse what follows the requests that were whole, or let the client send the next one."""
        if self._refusal is not None:
            self.refuse(self._refusal)
        elif parser.awaits:
            # Only now: the replies to all earlier requests are on their way.
            parser.awaits = False
            interject(self._socket, replies.CONTINUE)

    def work(self, site: Site, request: Request) -> None:
        """Run a request in a worker, and give the connection back to the loop."""
        self.perform(site, request)
        self._give_back()

    def perform(self, site: Site, request: Request) -> None:
        """Run a request and send its reply."""
        try:
            self._reply(request, site, site.handler(request))
        except BaseException:  # noqa: BLE001 - logged as an incident
            # Handlers reply to their own bugs; this is the last resort.
            error = report_incident(log, "The request", f"A request of the site {site.name}")
            self._decline(site, request, HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    def reject(self, site: Site, request: Request) -> None:
        """Reply that a queued request will not run. In the loop."""
        self._decline(site, request, HTTPStatus.SERVICE_UNAVAILABLE, "The service stops")
        self._resume()

    def _decline(
        self, site: Site, request: Request, status: HTTPStatus, reason: str, *, last: bool = False
    ) -> None:
        """Reply with a refusal of the site."""
        try:
            response = site.refuse(status, reason)
            response.close = response.close or last
            self._reply(request, site, response)
        except BaseException:
            log.exception("Site %s failed to refuse a request", site.name)
            self._keep = False
            self.phase = Phase.ENDING

    def _settle(self) -> None:
        """Go on with what a reply led to. In the loop."""
        if self.phase is Phase.SENDING:
            self._loop.change(self.fd, WRITE)
        elif self.phase is Phase.ENDING:
            self._end()

    def _give_back(self) -> None:
        """Leave the connection to the loop, from a thread that ran its request."""
        if self.phase is Phase.GONE:
            return
        parser = self._parser
        assert parser is not None
        rests = not (parser.requests or parser.awaits or parser.upgraded is not None or self._refusal)
        if self.phase is Phase.OPEN and rests:
            with self._loop.crew.lock:
                # The loop may have closed it meanwhile, to make room for another one.
                if self.phase is Phase.OPEN:
                    self._loop.watch(self.fd, self)
        else:
            self._loop.soon(self._resume)

    def _resume(self) -> None:
        if self.phase is Phase.GONE:
            return
        self._loop.watch(self.fd, self)
        if self.phase is Phase.OPEN:
            self._advance()
        else:
            self._settle()

    # Replying.

    def refuse(self, refusal: Refusal) -> None:
        """Reply to an unacceptable request. In the loop."""
        parser = self._parser
        site = (parser.site if parser is not None else None) or self._listener.sites[0]
        self._linger = not self._ended
        request = Request("GET", "", keep_alive=False)
        self._decline(site, request, refusal.status, refusal.reason, last=True)
        self._settle()

    def _reply(self, request: Request, site: Site, response: Response) -> None:
        if response.takeover is not None:
            self._take(site, response)
            return
        body = response.body
        pieces = [body] if isinstance(body, bytes) else body
        length = len(body) if isinstance(body, bytes) else sum(map(len, pieces))
        keep = request.keep_alive and not (response.close or site.closing or self._listener.closing)
        connection = "close" if not keep else "keep-alive" if request.version == "1.0" else ""
        bare = response.status in {204, 304} or response.status < 200
        head = replies.head(
            response.status, response.headers, length=None if bare else length, connection=connection
        )
        self._keep = keep
        self._linger = self._linger or response.close
        if bare or not length or request.method == "HEAD":
            self._send([head], len(head))
        elif length < _JOIN:
            self._send([b"".join((head, *pieces))], length + len(head))
        else:
            self._send([head, *pieces], length + len(head))

    def _send(self, pieces: list[bytes], size: int) -> None:
        try:
            if len(pieces) == 1:
                sent = self._socket.send(pieces[0])
            else:
                sent = self._socket.sendmsg(pieces[:_PIECES])
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        if sent == size:
            self._sent()
            return
        self._out = deque(memoryview(piece) for piece in pieces if piece)
        replies.drop(self._out, sent)
        self.held_out = size
        self.deadline = time.monotonic() + self._listener.timeout + size / _RATE
        self.phase = Phase.SENDING
        self._listener.buffers.hold_out(self, size)

    def _flush(self) -> None:
        """Send more of a reply. In the loop."""
        try:
            while self._out:
                views = [self._out[number] for number in range(min(_PIECES, len(self._out)))]
                replies.drop(self._out, self._socket.sendmsg(views))
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._listener.buffers.release_out(self)
        self._sent()
        if self.phase is Phase.OPEN:
            self._loop.change(self.fd, READ)
            self._advance()
        else:
            self._settle()

    def _sent(self) -> None:
        if self._keep:
            self.since = time.monotonic()
            self.deadline = self.since + self._listener.timeout
            self.phase = Phase.OPEN
        else:
            self.phase = Phase.ENDING

    # Ending.

    def _end(self) -> None:
        """End the connection; a refused client has time to read the reply. In the loop."""
        parser = self._parser
        unread = self._linger or (parser is not None and not parser.between)
        if not unread or self._ended:
            self.close()
            return
        # Closing with unread data would make the kernel break the connection, and the reply with it.
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self.phase = Phase.DRAINING
        self.deadline = time.monotonic() + _LINGER_SECONDS
        self._loop.change(self.fd, READ)
        self._loop.timers.add(self)
        self._discard()

    def _discard(self) -> None:
        try:
            while data := self._socket.recv(_CHUNK):
                self._drained += len(data)
                if self._drained > _LINGER_BYTES:
                    break
        except BlockingIOError:
            return
        except OSError:
            pass
        self.close()

    # Leaving HTTP.

    def _take(self, site: Site, response: Response) -> None:
        takeover = response.takeover
        assert takeover is not None
        head = replies.head(response.status, response.headers, length=None)
        try:
            whole = self._socket.send(head) == len(head)
        except OSError:
            whole = False
        if not whole:
            # The new owner finds it broken, and releases its resources for it.
            self.cut()
        parser = self._parser
        initial = (parser.upgraded or b"") if parser is not None else b""
        self._hand_over(site, takeover, initial)

    def _hand_over(self, site: Site, takeover: Callable[[Channel], None], initial: bytes) -> None:
        self.phase = Phase.GONE
        self._loop.forget(self.fd)
        self._loop.timers.discard(self)
        self._socket.setblocking(True)
        channel = Channel(self._socket, self.peer, self.party, initial, self._listener.release)
        self._listener.handed_over(self, channel, site)
        self._forget()
        try:
            takeover(channel)
        except BaseException:
            log.exception("Site %s failed to take a connection over", site.name)
            channel.close()
