"""Brokers, and the credentials for them."""

from __future__ import annotations

import ipaddress
import urllib.parse
from pathlib import Path
from typing import Final

import msgspec
from proton import SSL, Connection, SSLDomain, Transport

from vdsm_qmf.errors import BadBroker

ANONYMOUS: Final = "ANONYMOUS"
PLAIN: Final = "PLAIN"
EXTERNAL: Final = "EXTERNAL"
#: Best first; Proton uses the first that the broker supports.
SCRAM: Final = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1")
MECHANISMS: Final = (EXTERNAL, *SCRAM, PLAIN, ANONYMOUS)

_PORTS: Final = {"amqp": 5672, "amqps": 5671}
_LOOPBACK_NAMES: Final = frozenset({"localhost", "localhost.localdomain"})


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """The address of a broker. Its text has no password."""

    host: str
    port: int
    tls: bool = False
    user: str = ""

    def __str__(self) -> str:
        scheme = "amqps" if self.tls else "amqp"
        user = f"{urllib.parse.quote(self.user)}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{user}{host}:{self.port}"

    @property
    def on_loopback(self) -> bool:
        """Whether the broker is on this machine, by its address."""
        if self.host in _LOOPBACK_NAMES:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Security(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials. `anonymous` allows a connection without any, to a broker on loopback only."""

    user: str = ""
    password: str = ""
    mechanisms: tuple[str, ...] = ()
    anonymous: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def __repr__(self) -> str:
        return f"Security(user={self.user!r}, mechanisms={self.mechanisms!r}, anonymous={self.anonymous!r})"


def parse_url(url: str) -> tuple[Broker, str, str]:
    """Split a URL into the broker, the password, and the path; the last two may be empty.

    :raises BadBroker: the URL is malformed
    """
    parts = urllib.parse.urlsplit(url)
    shown = url.rpartition("@")[2]
    if parts.scheme not in _PORTS:
        raise BadBroker(url=shown, reason="the URL must begin with amqp:// or amqps://")
    try:
        port = parts.port or _PORTS[parts.scheme]
    except ValueError:
        raise BadBroker(url=shown, reason="the port must be a number from 1 to 65535") from None
    if not parts.hostname:
        raise BadBroker(url=shown, reason="the URL has no host")
    user, password = (urllib.parse.unquote(part or "") for part in (parts.username, parts.password))
    broker = Broker(host=parts.hostname, port=port, tls=parts.scheme == "amqps", user=user)
    return broker, password, urllib.parse.unquote(parts.path.strip("/"))


def read_password(path: str) -> str:
    """Read the password from a file that only its owner may read; return an empty one without a path.

    :raises BadBroker: the file cannot be read, or others may read it
    """
    if not path:
        return ""
    file = Path(path)
    try:
        if file.stat().st_mode & 0o077:
            raise BadBroker(url=path, reason="others may read the password file; run chmod 600 on it")
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadBroker(url=path, reason=f"cannot read the password file: {error}") from None


def choose_mechanisms(broker: Broker, security: Security) -> tuple[str, ...]:
    """Return the mechanisms to offer to a broker. A password is never sent in the clear beyond this machine.

    :raises BadBroker: there is none, or a configured one may not be used
    """
    user = broker.user or security.user
    private = broker.tls or broker.on_loopback
    possible = {
        EXTERNAL: broker.tls and bool(security.cert_file),
        PLAIN: bool(user) and private,
        ANONYMOUS: security.anonymous and broker.on_loopback,
        **dict.fromkeys(SCRAM, bool(user)),
    }
    if security.anonymous and not broker.on_loopback:
        raise BadBroker(url=str(broker), reason="'anonymous' is allowed for brokers on loopback only")
    for name in security.mechanisms:
        if name not in possible:
            raise BadBroker(url=str(broker), reason=f"'{name}' is none of {', '.join(MECHANISMS)}")
        if not possible[name]:
            raise BadBroker(url=str(broker), reason=_why_not(name, private=private))
    chosen = tuple(
        name
        for name in MECHANISMS
        if possible[name] and (not security.mechanisms or name in security.mechanisms)
    )
    if not chosen:
        reason = "there are no credentials: set a user, a certificate, or, on loopback, 'anonymous'"
        raise BadBroker(url=str(broker), reason=reason)
    return chosen


def _why_not(mechanism: str, *, private: bool) -> str:
    if mechanism == EXTERNAL:
        return "EXTERNAL needs amqps:// and a certificate"
    if mechanism == ANONYMOUS:
        return "ANONYMOUS needs the option 'anonymous'"
    if mechanism == PLAIN and not private:
        return "PLAIN would send the password in the clear: use amqps:// or SCRAM"
    return f"{mechanism} needs a user"


def prepare(transport: Transport, connection: Connection, broker: Broker, security: Security) -> None:
    """Set up SASL and TLS of a new connection, and bind it to its transport.

    :raises BadBroker: the files for TLS cannot be used, or there is no mechanism
    """
    mechanisms = choose_mechanisms(broker, security)
    sasl = transport.sasl()
    # `choose_mechanisms` has already decided where a password may be sent in the clear.
    sasl.allow_insecure_mechs = True
    sasl.allowed_mechs(" ".join(mechanisms))
    connection.hostname = broker.host
    user = broker.user or security.user
    if user:
        connection.user = user
    if security.password:
        connection.password = security.password
    transport.bind(connection)
    if broker.tls:
        SSL(transport, _domain(broker, security)).peer_hostname = broker.host


def _domain(broker: Broker, security: Security) -> SSLDomain:
    if not SSL.present():
        raise BadBroker(url=str(broker), reason="Proton was built without TLS; install a build with OpenSSL")
    domain = SSLDomain(SSLDomain.MODE_CLIENT)
    try:
        if security.ca_file:
            domain.set_trusted_ca_db(security.ca_file)
        domain.set_peer_authentication(SSLDomain.VERIFY_PEER_NAME)
        if security.cert_file:
            domain.set_credentials(security.cert_file, security.key_file or security.cert_file, None)
    except Exception as error:  # noqa: BLE001 - Proton raises several types for an unusable file
        raise BadBroker(url=str(broker), reason=f"TLS: {error}") from None
    return domain
