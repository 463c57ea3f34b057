"""TLS to a host: the CAs that a client trusts, and its own certificate."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from vdsm_bridge.client.transport import Credentials, Unreachable

#: The host's refusals, by OpenSSL's names of the alerts.
_ALERTS: Final = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the host needs a client certificate; give --cert and --key",
    "TLSV1_ALERT_UNKNOWN_CA": "the host does not trust the CA of the client certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the client certificate is revoked",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the host refused the handshake; it may need --cert and --key",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the host does not accept the client certificate for this purpose",
    "WRONG_VERSION_NUMBER": "the host does not use TLS there; a port without TLS needs http://",
    "UNEXPECTED_EOF_WHILE_READING": "the host closed the connection; a port without TLS needs http://",
}


def client_context(credentials: Credentials) -> ssl.SSLContext:
    """Return the context of a client with the CAs of hosts, and its own certificate if there is one.

    :raises Unreachable: one of the files cannot be used
    """
    for path in (credentials.ca, credentials.certificate, credentials.key):
        _check_readable(path)
    path = credentials.ca
    try:
        context = ssl.create_default_context(cafile=credentials.ca or None)
        if credentials.certificate:
            path = credentials.certificate
            context.load_cert_chain(credentials.certificate, credentials.key or None)
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise Unreachable(f"cannot use {path} for TLS: {reason}") from None
    return context


def reason_of(error: ssl.SSLError) -> str:
    """Return the reason why there is no connection, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}; --ca names the CA that signed it"
    name = error.reason or ""
    return _ALERTS.get(name, name.replace("_", " ").lower() or str(error))


def _check_readable(path: str) -> None:
    if path:
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise Unreachable(f"cannot read {path}: {error.strerror}") from None
