"""The hosts of a message bus: a session with one of them, or with all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from vdsm_bridge.transport import CallOptions, Fleet, Transport, TransportError
from vdsmsh.api.catalogue import CatalogueCache
from vdsmsh.connection.session import Session
from vdsmsh.errors import UsageError
from vdsmsh.settings import ALL, BUS, HOST
from vdsmsh.streams import Streams

#: Seconds to wait for the hosts of the bus to answer.
_DISCOVERY: Final = 10.0


def open_session(
    connection: Mapping[str, str], transport: Callable[[str], Transport], streams: Streams
) -> Session:
    """Return the session on a bus.

    :param transport: makes the transport of a URL
    :raises UsageError: the line names neither one host nor all, or the URL is not that of a bus
    :raises TransportError: the bus or the host does not answer
    """
    url, name, every = connection[BUS], connection.get(HOST, ""), ALL in connection
    if bool(name) == every:
        raise UsageError(f"{BUS} needs either {HOST} NAME or {ALL}")
    fleet = transport(url)
    if not isinstance(fleet, Fleet):
        raise UsageError(f"{url} is the URL of one host, not of a bus; give it with --url")
    cache = CatalogueCache(f"{url} {name}")
    try:
        if name:
            return BusSession(fleet, fleet.find(name, _DISCOVERY), cache, streams)
        return FleetSession(fleet, fleet.hosts(_DISCOVERY), cache, streams)
    except TransportError:
        fleet.close()
        raise


class BusSession(Session):
    """One host of a bus."""

    def __init__(self, fleet: Fleet, host: str, cache: CatalogueCache, streams: Streams) -> None:
        super().__init__(fleet.on(host), cache, streams)
        self.fleet = fleet

    def close(self) -> None:
        """Close the connection to the bus."""
        self.fleet.close()


class FleetSession(BusSession):
    """All hosts of a bus. The catalogue is that of the first one.

    :ivar hosts: their ids, sorted
    """

    def __init__(self, fleet: Fleet, hosts: Sequence[str], cache: CatalogueCache, streams: Streams) -> None:
        super().__init__(fleet, hosts[0], cache, streams)
        self.hosts = hosts

    def listing(self, lister: str, arguments: Mapping[str, Any], options: CallOptions) -> Any:
        """Return the results of a verb that lists objects, of all hosts as one: a name may be on any host.

        :raises TransportError: no host answered with a result
        """
        answers = list(self.fleet.call_many(self.hosts, lister, arguments, options))
        values = [answer.value for answer in answers if answer.error is None]
        if not values:
            raise next(answer.error for answer in answers if answer.error is not None)
        if all(isinstance(one, Mapping) for one in values):
            return {id_: record for one in values for id_, record in one.items()}
        return [record for one in values for record in one]
