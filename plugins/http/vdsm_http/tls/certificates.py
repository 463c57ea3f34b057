"""The certificate of this host and the revocation lists as TLS contexts, reloaded when the files change."""

from __future__ import annotations

import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from vdsm_bridge.config import TlsOptions
from vdsm_http.tls.revocation import Revocations
from vdsm_http.tls.revocation import read as read_lists
from vdsm_http.tls.validity import first_certificate, validity

log = logging.getLogger(__name__)

#: Seconds between two checks of the files.
_LOOK: Final = 2.0
#: Seconds between two log lines about the end of the same certificate.
_REMIND: Final = 86_400.0
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_OWN: Final = "Cannot use the certificate of this host"
_LISTS: Final = "Cannot use the certificate revocation lists"
_OTHERS_READ: Final = 0o004

#: Time of the last change (of content, mode or name), size and inode of each file; None: absent.
_Stamp = tuple[tuple[int, int, int] | None, ...]


class CertificateUnusable(OSError):
    """The files of `[tls]` cannot be used; the text names the file and the reason."""


class _Loaded(NamedTuple):
    """Contexts of one reading of the files: for callers on loopback, and for all others.

    :ivar lists: file of the revocation lists; empty: none is used
    :ivar fault: the problem of that file. OpenSSL has no list then, and refuses all client certificates
    """

    path: str
    local: ssl.SSLContext
    remote: ssl.SSLContext
    expires: datetime
    lists: str = ""
    revocations: Revocations = Revocations()
    fault: str = ""


class Certificates:
    """The TLS contexts in force. Changed files replace them; files that cannot be used change nothing.

    :param options: returns the options in force
    :param replaced: called when other files are used from now on
    :param clock: seconds, monotonic
    :param today: returns the time in UTC
    """

    def __init__(
        self,
        options: Callable[[], TlsOptions],
        *,
        replaced: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._options = options
        self._replaced = replaced
        self._clock = clock
        self._today = today
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None
        #: Options and stamps of the last attempt, successful or not.
        self._tried: tuple[TlsOptions, _Stamp] | None = None
        self._failure = ""
        self._look_at = 0.0
        self._remind_at = 0.0

    @property
    def usable(self) -> bool:
        """Whether there is a certificate. Without one, no handshake is possible."""
        return self._loaded is not None

    @property
    def handshake_timeout(self) -> float:
        """Seconds for one handshake."""
        return self._options().handshake_timeout

    def revoked(self, certificate: bytes) -> bool:
        """Return whether the certificate of a client, in DER form, is on a revocation list."""
        loaded = self._loaded
        return loaded is not None and loaded.revocations.covers(certificate)

    def context(self, *, remote: bool) -> ssl.SSLContext:
        """Return the context for a new connection.

        :param remote: the caller is on another machine
        """
        assert self._loaded is not None
        return self._loaded.remote if remote else self._loaded.local

    def due(self) -> bool:
        """Return whether to call `refresh` now: every few seconds, and at once after a reload."""
        now = self._clock()
        if now < self._look_at and self._tried is not None and self._tried[0] is self._options():
            return False
        self._look_at = now + _LOOK
        return True

    def refresh(self) -> None:
        """Read the files again if they have changed; use them if they can be used."""
        with self._lock:
            self._look_at = self._clock() + _LOOK
            options = self._options()
            stamp = _stamp(options)
            before = self._loaded
            if self._tried is None or self._tried != (options, stamp):
                self._try(options)
            self._tried = (options, stamp)
            self._remind()
            replaced = self._loaded is not before
        if replaced:
            self._replaced()

    def trouble(self) -> str:
        """Return the problem of the certificate; empty if there is none."""
        self.refresh()
        with self._lock:
            if self._failure:
                return self._failure
            return self._ending() if self._loaded is not None else ""

    def _try(self, options: TlsOptions) -> None:
        try:
            loaded = _load(options)
            if self._loaded is not None:
                _check_valid(loaded, self._loaded, self._today())
        except CertificateUnusable as error:
            self._failure = str(error)
            if self._loaded is not None:
                self._failure += ". The earlier one stays in use"
            log.error("%s", self._failure)  # noqa: TRY400 - a traceback adds nothing
            return
        if loaded.fault:
            log.error("%s", loaded.fault)
        first = self._loaded is None
        self._loaded, self._failure, self._remind_at = loaded, "", 0.0
        log.info(
            "TLS uses %s %s, valid until %s",
            "the certificate" if first else "the new certificate",
            loaded.path,
            f"{loaded.expires:%Y-%m-%d %H:%M} UTC",
        )

    def _remind(self) -> None:
        now = self._clock()
        if self._loaded is None or now < self._remind_at:
            return
        if ending := self._ending():
            self._remind_at = now + _REMIND
            log.warning("%s", ending)

    def _ending(self) -> str:
        """Return the warning about the end of the certificate or of a list, empty if it is far away."""
        assert self._loaded is not None
        if self._loaded.fault:
            return self._loaded.fault
        end = self._loaded.revocations.expires
        if end is not None and end <= self._today():
            return (
                f"A certificate revocation list in {self._loaded.lists} expired on {end:%Y-%m-%d}: "
                "client certificates of its CA are refused. Replace it"
            )
        left = self._loaded.expires - self._today()
        if left > timedelta(days=self._options().expiry_warning):
            return ""
        what = f"The certificate {self._loaded.path}"
        if left <= timedelta():
            return f"{what} expired on {self._loaded.expires:%Y-%m-%d}: clients refuse it. Replace it"
        return f"{what} expires on {self._loaded.expires:%Y-%m-%d}, in {left.days} days. Replace it"


def _stamp(options: TlsOptions) -> _Stamp:
    return tuple(map(_stamp_of, (options.certificate, options.key, options.ca, options.crl)))


def _stamp_of(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - one call every few seconds, on a path that stays text
    except OSError:
        return None
    return found.st_ctime_ns, found.st_size, found.st_ino


def _load(options: TlsOptions) -> _Loaded:
    """Read the files.

    :raises CertificateUnusable: one of them cannot be used
    """
    for path in (options.certificate, options.key, options.ca):
        _check_readable(path)
    if os.stat(options.key).st_mode & _OTHERS_READ:  # noqa: PTH116 - as above
        raise CertificateUnusable(f"{_OWN}: {options.key}: every user of this host can read it (chmod 600)")
    try:
        _, expires = validity(first_certificate(Path(options.certificate).read_text("ascii")))
    except ValueError as error:
        raise CertificateUnusable(f"{_OWN}: {options.certificate}: {error}") from None
    local = ssl.CERT_REQUIRED if options.client_certificates == "required" else ssl.CERT_OPTIONAL
    remote = ssl.CERT_OPTIONAL if options.client_certificates == "optional" else ssl.CERT_REQUIRED
    contexts = (_context(options, local), _context(options, remote))
    if not options.crl:
        return _Loaded(options.certificate, *contexts, expires)
    lists, fault = Revocations(), ""
    try:
        lists = _use_lists(contexts, options.crl)
    except (OSError, ValueError) as error:
        fault = f"{_LISTS}: {options.crl}: {_reason(error)}. Client certificates are refused"
    return _Loaded(options.certificate, *contexts, expires, options.crl, lists, fault)


def _use_lists(contexts: Iterable[ssl.SSLContext], path: str) -> Revocations:
    """Let contexts check client certificates against the lists of a file; without them, refuse all.

    :raises OSError: the file cannot be read
    :raises ValueError: it has no lists
    """
    for context in contexts:
        # A CA without a list is refused, too: it may have been forgotten.
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    lists = read_lists(Path(path).read_text("ascii"))
    for context in contexts:
        context.load_verify_locations(path)
    return lists


def _check_valid(loaded: _Loaded, earlier: _Loaded, now: datetime) -> None:
    """Check that what was loaded is better than what is in use.

    :raises CertificateUnusable: it is not
    """
    if loaded.expires <= now:
        raise CertificateUnusable(f"{_OWN}: {loaded.path}: it expired on {loaded.expires:%Y-%m-%d}")
    if not earlier.lists or earlier.fault:
        return
    if loaded.fault:
        raise CertificateUnusable(loaded.fault.rpartition(". ")[0])
    end, before = loaded.revocations.expires, earlier.revocations.expires
    if end is not None and end <= now and (before is None or before > now):
        raise CertificateUnusable(f"{_LISTS}: {loaded.lists}: one of them expired on {end:%Y-%m-%d}")


def _check_readable(path: str) -> None:
    try:
        with open(path, "rb"):  # noqa: PTH123 - as above
            pass
    except OSError as error:
        hint = "; `vdsm-tool pki init` makes one" if isinstance(error, FileNotFoundError) else ""
        raise CertificateUnusable(f"{_OWN}: {path}: {error.strerror}{hint}") from error


def _context(options: TlsOptions, verify: ssl.VerifyMode) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[options.minimum_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # A resumed session is not checked against the CA again: TLS 1.3 sends no tickets. Those of TLS 1.2 stay,
    # because without them OpenSSL caches sessions in memory.
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    context.verify_mode = verify
    try:
        context.set_ciphers(options.ciphers)
    except ssl.SSLError:
        raise CertificateUnusable(
            f"{_OWN}: [tls] ciphers: no cipher suite matches '{options.ciphers}'"
        ) from None
    try:
        context.load_cert_chain(options.certificate, options.key, _no_passphrase)
    except (OSError, ValueError) as error:
        raise CertificateUnusable(f"{_OWN}: {options.key}: {_reason(error)}") from error
    try:
        context.load_verify_locations(options.ca)
    except (OSError, ValueError) as error:
        raise CertificateUnusable(f"{_OWN}: {options.ca}: {_reason(error)}") from error
    return context


def _no_passphrase() -> str:
    # Without this OpenSSL would ask at the terminal.
    raise ValueError("the key has a passphrase; write it without one")


def _reason(error: Exception) -> str:
    if not isinstance(error, ssl.SSLError):
        return (error.strerror if isinstance(error, OSError) else None) or str(error)
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    # OpenSSL reports a file that is not PEM differently from release to release.
    reason = "" if error.reason in {None, "NO_START_LINE"} else f": {error.reason.replace('_', ' ').lower()}"
    return f"it is not usable as PEM{reason}"
