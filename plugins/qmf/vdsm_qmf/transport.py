"""The transport of `vdsmsh` and other clients over the bus: `amqp://user@broker/HOST`.

The password of the user is that of the URL, else `VDSM_BUS_PASSWORD`, else in the file that
`VDSM_BUS_PASSWORD_FILE` names. `VDSM_BUS_CA`, `VDSM_BUS_CERT` and `VDSM_BUS_KEY` name files for TLS;
without them those of the credentials are used, the certificate only where there is no password.
`VDSM_BUS_VENDOR` and `VDSM_BUS_PRODUCT` are those of the hosts' agents, if they are not the default ones.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from vdsm_bridge.errors import VdsmError
from vdsm_bridge.transport import Answer, CallOptions, Credentials, Fleet, Transport, Unreachable
from vdsm_qmf.bus.security import Security, parse_url, read_password
from vdsm_qmf.console import Cluster
from vdsm_qmf.protocol.names import PRODUCT, VENDOR

#: Seconds without a new host after which the list of hosts is considered complete.
_QUIET: Final = 0.3
_POLL: Final = 0.05
_ENVIRONMENT: Final = "VDSM_BUS_"


class BusTransport(Fleet):
    """Hosts on a message bus. The connection is made at the first use."""

    def __init__(
        self, url: str, credentials: Credentials, environment: Mapping[str, str] = os.environ
    ) -> None:
        super().__init__(url, credentials)
        self._environment = environment
        self._cluster: Cluster | None = None
        self._host = ""

    @property
    def revision(self) -> str:
        """The revision of the API in the host's last answer."""
        return self._cluster.revision(self._host) if self._cluster is not None else ""

    def call(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> Any:
        """Call a verb of the host in the URL; without one, of the only host on the bus."""
        cluster, host = self._connected(options.timeout), self._of_url(options.timeout)
        return call(cluster, host, verb, arguments, options)

    def preview(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> str:
        """Return the call as a command line of this distribution."""
        return preview(self.url, self._host, verb, arguments, options)

    def close(self) -> None:
        """Disconnect."""
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None

    def hosts(self, timeout: float) -> list[str]:
        """Return the hosts that have answered, once no further host answers."""
        cluster = self._connected(timeout)
        cluster.wait_for(hosts=1, timeout=timeout)
        known, since = 0, time.monotonic()
        while time.monotonic() < since + _QUIET:
            time.sleep(_POLL)
            if (now := len(cluster.living())) != known:
                known, since = now, time.monotonic()
        return cluster.living()

    def find(self, name: str, timeout: float) -> str:
        """Find a host: by id as soon as it has answered, by name once all have."""
        cluster = self._connected(timeout)
        if any(host.id == name for host in cluster.hosts()):
            return name
        living = self.hosts(timeout)
        matches = [host.id for host in cluster.hosts() if host.id in living and name in (host.id, host.name)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise Unreachable(f"{len(matches)} hosts have the name '{name}', use an id: {', '.join(matches)}")
        raise Unreachable(f"no host '{name}' is on the bus; hosts on the bus: {len(living)}")

    def on(self, host: str) -> Transport:
        """Return the transport of one host."""
        return _OneHost(self.url, self.credentials, self._connected, host)

    def call_many(
        self, hosts: Iterable[str], verb: str, arguments: Mapping[str, Any], options: CallOptions
    ) -> Iterator[Answer]:
        """Call a verb on several hosts at once."""
        cluster = self._connected(options.timeout)
        for result in cluster.call_many(hosts, verb, arguments, timeout=options.timeout):
            yield Answer(host=result.host, value=result.value, error=result.error)

    def _of_url(self, timeout: float) -> str:
        if not self._host:
            name = parse_url(self.url)[2]
            living = [self.find(name, timeout)] if name else self.hosts(timeout)
            if len(living) != 1:
                raise Unreachable(
                    f"{len(living)} hosts are on the bus, name one in the URL: {', '.join(living)}"
                )
            self._host = living[0]
        return self._host

    def _connected(self, timeout: float) -> Cluster:
        if self._cluster is None:
            get = self._environment.get
            try:
                broker, password, _ = parse_url(self.url)
                password = (
                    password
                    or get(f"{_ENVIRONMENT}PASSWORD", "")
                    or read_password(get(f"{_ENVIRONMENT}PASSWORD_FILE", ""))
                )
                # A password is of another user than the certificate may be.
                own = self.credentials if broker.tls and not password else Credentials()
                certificate = get(f"{_ENVIRONMENT}CERT", "")
                security = Security(
                    password=password,
                    # Without a user there are no credentials, which is allowed on loopback only.
                    anonymous=not broker.user and broker.on_loopback,
                    ca_file=get(f"{_ENVIRONMENT}CA", "") or (self.credentials.ca if broker.tls else ""),
                    cert_file=certificate or own.certificate,
                    key_file=get(f"{_ENVIRONMENT}KEY", "") if certificate else own.key,
                )
            except VdsmError as error:
                raise Unreachable(str(error)) from None
            cluster = Cluster(
                self.url,
                security=security,
                token=self.credentials.token,
                vendor=get(f"{_ENVIRONMENT}VENDOR") or VENDOR,
                product=get(f"{_ENVIRONMENT}PRODUCT") or PRODUCT,
                events=False,
            )
            cluster.start(min(timeout, 15.0))
            self._cluster = cluster
        return self._cluster


class _OneHost(Transport):
    """One host of a fleet. The connection belongs to the fleet."""

    def __init__(
        self, url: str, credentials: Credentials, cluster: Callable[[float], Cluster], host: str
    ) -> None:
        super().__init__(url, credentials)
        self._cluster = cluster
        self._host = host

    @property
    def revision(self) -> str:
        """The revision of the API in the host's last answer."""
        return self._cluster(1.0).revision(self._host)

    def call(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> Any:
        """Call a verb."""
        return call(self._cluster(options.timeout), self._host, verb, arguments, options)

    def preview(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> str:
        """Return the call as a command line of this distribution."""
        return preview(self.url, self._host, verb, arguments, options)

    def close(self) -> None:
        """Do nothing: the connection belongs to the fleet."""


def call(cluster: Cluster, host: str, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> Any:
    """Call a verb with the options of a transport."""
    return cluster.call(
        host,
        verb,
        arguments,
        timeout=options.timeout,
        request_id=options.request_id,
        flow_id=options.flow_id,
    )


def preview(url: str, host: str, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> str:
    """Return a shell command that sends the call. It has no password."""
    broker, _, named = parse_url(url)
    words = ["python3", "-m", "vdsm_qmf", f"{broker}/{host or named}".rstrip("/"), verb]
    words.append(json.dumps(arguments))
    for flag, value in (("--request-id", options.request_id), ("--flow-id", options.flow_id)):
        if value:
            words += [flag, value]
    return shlex.join(words)
