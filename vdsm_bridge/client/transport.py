"""The contract of a transport: how a client, such as `vdsmsh`, reaches a host.

A distribution names its class in the entry-point group `vdsm.transports`, under each URL scheme that it
serves::

    [project.entry-points."vdsm.transports"]
    amqp = "vdsm_bus.client:BusTransport"

This module stands on the standard library alone, so that a client starts quickly and needs no part of a host.

Errors::

    TransportError
    ├── Unreachable      no answer: nothing listens, the connection broke, or the time was up
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


class Unreachable(TransportError):
    """There was no answer. An action may have been carried out all the same, unless nothing was sent."""


class CallRefused(TransportError):
    """The host answered with an error of its own.

    :ivar slug: what programs compare, e.g. "no-such-vm"
    :ivar code: VDSM's number; 100 where VDSM had none
    :ivar facts: the particulars, by name
    """

    def __init__(self, slug: str, code: int, message: str, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.slug = slug
        self.code = code
        self.message = message
        self.facts = dict(facts or {})


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a client proves itself with. On a unix socket the host knows the user without any.

    :ivar token: a bearer token; never shown, so it stays out of the representation
    :ivar token_source: how a shell obtains the token, for requests that are printed instead of sent
    """

    token: str = field(default="", repr=False)
    token_source: str = ""


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """What accompanies one call.

    :ivar timeout: seconds to wait for the answer
    :ivar request_id: the same id sent again gets the first result, instead of doing the work twice
    :ivar flow_id: the caller's tag, for the host's log
    """

    timeout: float = 60.0
    request_id: str = ""
    flow_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened on the host. `time` is the Unix time in seconds."""

    seq: int
    id: str
    time: float
    params: Mapping[str, Any]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Event:
        """An event as the host describes it; members of later hosts are left out."""
        return cls(seq=told["seq"], id=told["id"], time=told["time"], params=told["params"])

    @property
    def is_gap(self) -> bool:
        """Whether it says that others are missing: what is known of the host's state is to be read anew."""
        return self.id == "|events|gap|no_id"


class EventStream(ABC):
    """Events of a host, as they happen.

    :ivar position: the number after which to go on once the stream is broken; None as long as only a new
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
        """Wait for events, return those there are; none after `timeout` seconds.

        :raises CallRefused: the host ended the stream
        :raises Unreachable: it is broken
        """

    @abstractmethod
    def close(self) -> None:
        """End it."""


class Transport(ABC):
    """One host, reached by its URL. Connecting is left to the first call.

    :param url: where the host is; its scheme is the name of the entry point
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
        """Every verb of the host, each as `Host.getVerbs` describes it.

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
        """Begin to read events whose id matches a pattern; without patterns, all.

        A transport that has nothing better leaves this alone: the host is asked again and again, and
        answers once something happens.

        :param after: begin behind the event of this number; without it, with what happens from now on
        :param snapshot: begin with the current states, as events
        :raises CallRefused: the host answered with an error
        :raises Unreachable: there was no answer
        """
        # It stands on this module, and most commands do without.
        polling = importlib.import_module("vdsm_bridge.client.polling")
        stream: EventStream = polling.PolledEvents(self, patterns, options, after=after, snapshot=snapshot)
        return stream

    @property
    @abstractmethod
    def revision(self) -> str:
        """The revision of the host's API by its last answer, also one with an error; empty if unknown."""

    @abstractmethod
    def preview(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> str:
        """A line for a POSIX shell that sends the same request. It shows no secret."""

    @abstractmethod
    def close(self) -> None:
        """Free what the transport holds. It is not used afterwards."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a call on one of several hosts ended: with a value, or with an error."""

    host: str
    value: Any = None
    error: TransportError | None = None


class Fleet(Transport):
    """A transport to several hosts: its URL names what they share, such as a message bus.

    As a transport to one host its URL has the host's id as its path, `amqp://broker/HOST`.
    """

    @abstractmethod
    def hosts(self, timeout: float) -> list[str]:
        """The ids of the hosts that answer, sorted.

        :param timeout: seconds to wait for the first one
        :raises Unreachable: there is none
        """

    @abstractmethod
    def find(self, name: str, timeout: float) -> str:
        """The id of the host that has this id or name.

        :raises Unreachable: none has it, or several have the name
        """

    @abstractmethod
    def on(self, host: str) -> Transport:
        """One of the hosts, over the same connection."""

    @abstractmethod
    def call_many(
        self, hosts: Iterable[str], verb: str, arguments: Mapping[str, Any], options: CallOptions
    ) -> Iterator[Answer]:
        """Call a verb on several hosts at once; one answer for each, as they come."""
