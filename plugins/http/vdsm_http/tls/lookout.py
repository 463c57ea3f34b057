"""What follows from the files of `[tls]`: whether a listener is served, and which connections end."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from vdsm_http.loop import Loop
from vdsm_http.tls.mode import Secured

if TYPE_CHECKING:
    from vdsm_http.listener import Listener

log = logging.getLogger(__name__)

#: Seconds between two checks: from a revocation to its effect on open connections.
_INTERVAL: Final = 2.0


class Lookout:
    """Checks the files regularly, also where no connection is made, from `begin` until it is `closed`.

    Without a certificate, a listener that requires TLS does not listen; the lookout lets it begin.
    """

    def __init__(self, loop: Loop, listener: Listener, tls: Secured) -> None:
        self._loop = loop
        self._listener = listener
        self._tls = tls
        #: Why it does not listen although there is a certificate.
        self._failure = ""
        self.deadline = 0.0
        self.tick = 0
        self.closed = False

    @property
    def url(self) -> str:
        """The address over TLS."""
        return self._listener.bound.url.replace("http:", "https:", 1)

    @property
    def served(self) -> bool:
        """Whether TLS connections are served."""
        return self._tls.certificates.usable and self._listener.bound.listening

    def trouble(self) -> str:
        """Return the problem of the files, and whether it keeps TLS from being served; empty: none."""
        found = self._tls.certificates.trouble() or self._failure
        return found if self.served or not found else f"{self.url} is not served: {found}"

    def begin(self) -> None:
        """Check from now on. In the loop."""
        if self.deadline:
            return
        if not self._listener.bound.listening:
            log.warning("%s is not served until the certificate of this host can be used", self.url)
        self._check_later()
        self._listen()  # it may have been mended since

    def expired(self, _now: float) -> None:
        """Check, and check again later."""
        self.look()
        self._try_to_open()
        self._check_later()

    def look(self) -> None:
        """Check if it is time to."""
        if self._tls.certificates.due():
            # Reading files may be slow; connections use the earlier certificate meanwhile.
            self._loop.crew.give(self._tls.certificates.refresh)

    def renew(self) -> None:
        """Use new files: listen if that was impossible, and end revoked connections. In the loop."""
        self._try_to_open()
        for each in [*self._listener.sessions, *self._listener.channels]:
            if each.peer.der and self._tls.certificates.revoked(each.peer.der):
                log.warning("Ended a connection of %s: its certificate is revoked", each.peer.address)
                each.end()

    def _check_later(self) -> None:
        self.deadline = time.monotonic() + _INTERVAL
        self._loop.timers.add(self)

    def _try_to_open(self) -> None:
        if self._listen():
            self._listener.open()

    def _listen(self) -> bool:
        """Let connections be made if they may be by now. Return whether they can be from now on."""
        listener = self._listener
        if self.closed or listener.closing or listener.bound.listening or self._tls.lacking:
            return False
        try:
            listener.bound.listen()
        except OSError as error:
            reason = f"Cannot listen on {listener.bound.url}: {error.strerror}"
            if reason != self._failure:
                log.error("%s", reason)  # noqa: TRY400 - a traceback adds nothing
            self._failure = reason
            return False
        self._failure = ""
        log.info("%s is served", self.url)
        return True
