"""The contract of a transport: how a client, such as `vdsmsh`, reaches a host.

A distribution names its class in the entry-point group `vdsm.transports`, under each URL scheme that it
serves::

    [project.entry-points."vdsm.transports"]
    amqp = "vdsm_bus.client:BusTransport"

This module imports only the standard library, so that a client starts quickly and needs no part of a host.

Errors::

    TransportError
    ├── NoTransport      no installed distribution serves the URL
    ├── Unreachable      no answer: nothing listens, the connection broke, or the timeout passed
    └── CallRefused      the host answered with an error
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

#: Entry-point group; the name of an entry point is a URL scheme.
GROUP: Final = "vdsm.transports"


class TransportError(Exception):
    """A call did not return a result. The text says what cannot be done, and why."""


class NoTransport(TransportError):
    """No transport of this scheme can be used.

    :ivar installed: whether there is one, which cannot be loaded
    """

    def __init__(self, message: str, *, installed: bool) -> None:
        super().__init__(message)
        self.installed = installed


class Unreachable(TransportError):
    """There was no answer. An action may have been carried out, unless nothing was sent."""


class CallRefused(TransportError):
    """The host answered with an error of its own.

    :ivar slug: the stable name, for programs, e.g. "no-such-vm"
    :ivar code: VDSM's number; 100 where VDSM had none
    :ivar facts: the facts of the error, by name
    """

    def __init__(self, slug: str, code: int, message: str, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.slug = slug
        self.code = code
        self.message = message
        self.facts = dict(facts or {})


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The credentials of a client. On a unix socket the kernel proves the user, without any.

    :ivar token: a bearer token; never shown, so it stays out of the representation
    :ivar token_source: shell code that yields the token, for requests that are printed instead of sent
    :ivar ca: file with the certificates of the CAs that sign hosts; empty: those that the system trusts
    :ivar certificate: file with the client certificate, for TLS; empty: none
    :ivar key: file with its private key; empty: it is in the same file
    """

    token: str = field(default="", repr=False)
    token_source: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """The options of one call.

    :ivar timeout: seconds to wait for the answer
    :ivar request_id: a call with the id of an earlier one returns its result, and does not run again
    :ivar flow_id: the caller's tag, for the host's log
    """

    timeout: float = 60.0
    request_id: str = ""
    flow_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of the host.

    :ivar seq: its number, higher than that of the event before it
    :ivar time: Unix time, in seconds
    """

    seq: int
    id: str
    time: float
    params: Mapping[str, Any]

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Event:
        """Return the event that a host describes, without members that later releases add."""
        return cls(
            seq=described["seq"], id=described["id"], time=described["time"], params=described["params"]
        )

    @property
    def is_gap(self) -> bool:
        """Whether it announces missing events: a client must read the state of the host again."""
        return self.id == "|events|gap|no_id"


class EventStream(ABC):
    """Events of a host, as they happen.

    :ivar position: the number of the event after which a new stream continues; None while only a new
        snapshot would do
    """

    position: int | None = None

    @property
    def place(self) -> int | None:
        """Deprecated: `position`, as earlier releases named it."""
        importlib.import_module("vdsm_core.deprecated").warn_of_attribute("EventStream.place")
        return self.position

    @place.setter
    def place(self, number: int | None) -> None:
        importlib.import_module("vdsm_core.deprecated").warn_of_attribute("EventStream.place")
        self.position = number

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def next(self, timeout: float) -> list[Event]:
        """Wait for events and return them; return none after `timeout` seconds.

        :raises CallRefused: the host ended the stream
        :raises Unreachable: the connection broke
        """

    @abstractmethod
    def close(self) -> None:
        """End the stream."""


class Transport(ABC):
    """One host, reached by its URL. The first call connects.

    :param url: URL of the host; its scheme is the name of the entry point
    """

    def __init__(self, url: str, credentials: Credentials) -> None:
        self.url = url
        self.credentials = credentials

    @abstractmethod
    def call(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> Any:
        """Call a verb by its full name, `VM.pause`, with arguments by wire name.

        :returns: plain data; for a task verb an object with `taskID`; None where there is no result
        :raises CallRefused: the host answered with an error
        :raises Unreachable: there was no answer
        """

    def verbs(self, options: CallOptions) -> list[dict[str, Any]]:
        """Return every verb of the host, as `Host.getVerbs` describes it.

        :raises CallRefused: the host answered with an error
        :raises Unreachable: there was no answer
        """
        described: list[dict[str, Any]] = self.call("Host.getVerbs", {}, options)
        return described

    def events(
        self,
        patterns: Sequence[str],
        options: CallOptions,
        *,
        after: int | None = None,
        snapshot: bool = False,
    ) -> EventStream:
        """Return a stream of the events whose id matches a pattern; without patterns, of all.

        This implementation polls; a transport with streams overrides it.

        :param after: begin behind the event of this number; without it, with the next event
        :param snapshot: begin with the current states, as events
        :raises CallRefused: the host answered with an error
        :raises Unreachable: there was no answer
        """
        # Import it here: it imports this module, and most commands do without.
        polling = importlib.import_module("vdsm_bridge.client.polling")
        stream: EventStream = polling.PolledEvents(self, patterns, options, after=after, snapshot=snapshot)
        return stream

    @property
    @abstractmethod
    def revision(self) -> str:
        """The revision of the API in the last answer, also in an error; empty before the first."""

    @abstractmethod
    def preview(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> str:
        """Return a line for a POSIX shell that sends the same request. It contains no secret."""

    @abstractmethod
    def close(self) -> None:
        """Free the resources of the transport. It is not used afterwards."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The outcome of a call on one of several hosts: a value or an error."""

    host: str
    value: Any = None
    error: TransportError | None = None


class Fleet(Transport):
    """A transport to several hosts: its URL is that of what they share, such as a message bus.

    A URL with the id of a host as its path, `amqp://broker/HOST`, is that of one host.
    """

    @abstractmethod
    def hosts(self, timeout: float) -> list[str]:
        """Return the ids of the hosts that answer, sorted.

        :param timeout: seconds to wait for the first one
        :raises Unreachable: no host answered
        """

    @abstractmethod
    def find(self, name: str, timeout: float) -> str:
        """Return the id of the host with an id or name.

        :raises Unreachable: none has it, or several have the name
        """

    @abstractmethod
    def on(self, host: str) -> Transport:
        """Return one of the hosts, over the same connection."""

    @abstractmethod
    def call_many(
        self, hosts: Iterable[str], verb: str, arguments: Mapping[str, Any], options: CallOptions
    ) -> Iterator[Answer]:
        """Call a verb on several hosts at once. Yield an answer for each, in the order of arrival."""


def open_transport(url: str, credentials: Credentials) -> Transport:
    """Return the transport of the scheme of a URL. Nothing is sent yet.

    :raises NoTransport: no installed distribution serves the scheme, or its transport cannot be loaded
    """
    # Import it here: it needs a package beyond the standard library.
    opening = importlib.import_module("vdsm_bridge.client.opening")
    opened: Transport = opening.open_transport(url, credentials)
    return opened
