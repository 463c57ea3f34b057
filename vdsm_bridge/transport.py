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

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = [
    "GROUP",
    "CallOptions",
    "CallRefused",
    "Credentials",
    "Transport",
    "TransportError",
    "Unreachable",
]

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
