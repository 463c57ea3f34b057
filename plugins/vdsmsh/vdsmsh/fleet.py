"""Many hosts: the same commands over a message bus, for one host of it or for all."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from vdsm_bridge.transport import CallOptions, Fleet, Transport, TransportError
from vdsmsh.catalogue import CatalogueCache, Verb
from vdsmsh.display import Display
from vdsmsh.failures import PartlyFailed, UsageError
from vdsmsh.schema import Schema
from vdsmsh.session import Session, Streams
from vdsmsh.settings import Settings
from vdsmsh.waiting import reporter

BUS: Final = "--bus"
HOST: Final = "--host"
ALL: Final = "--all"
#: Seconds to wait for hosts to answer that they are there.
_DISCOVERY: Final = 10.0
#: The column that tells whose a row is.
_COLUMN: Final = "host"
_VALUE: Final = "value"


def open_session(
    connection: Mapping[str, str], transport: Callable[[str], Transport], streams: Streams
) -> Session:
    """The session on a bus.

    :param transport: makes the transport of a URL
    :raises UsageError: neither one host nor all are meant, or the URL is not that of a bus
    :raises TransportError: the bus, or the host, is not there
    """
    url, name, every = connection[BUS], connection.get(HOST, ""), ALL in connection
    if bool(name) == every:
        raise UsageError(f"{BUS} needs either {HOST} NAME or {ALL}")
    fleet = transport(url)
    if not isinstance(fleet, Fleet):
        raise UsageError(f"{url} is one host, not a bus; use --url")
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
        self._fleet = fleet

    def close(self) -> None:
        """Leave the bus."""
        self._fleet.close()


class FleetSession(BusSession):
    """All hosts of a bus. The verbs are those of the first one."""

    def __init__(self, fleet: Fleet, hosts: Sequence[str], cache: CatalogueCache, streams: Streams) -> None:
        super().__init__(fleet, hosts[0], cache, streams)
        self._hosts = hosts

    def listing(self, lister: str, options: CallOptions) -> Any:
        """What a verb lists, on all hosts together: a name may be that of an object on any of them.

        :raises TransportError: no host can be asked
        """
        answers = list(self._fleet.call_many(self._hosts, lister, {}, options))
        told = [answer.value for answer in answers if answer.error is None]
        if not told:
            raise next(answer.error for answer in answers if answer.error is not None)
        if all(isinstance(one, Mapping) for one in told):
            return {id_: record for one in told for id_, record in one.items()}
        return [record for one in told for record in one]

    def run(
        self,
        verb: Verb,
        arguments: Mapping[str, Any],
        settings: Settings,
        display: Display,
        parsed: argparse.Namespace,
    ) -> None:
        """Call a verb on every host, show one table of all answers, tell what failed.

        :raises PartlyFailed: at least one host refused, or did not answer
        """
        options = settings.reading if verb.kind == "query" else settings.call
        if settings.dry_run:
            for host in self._hosts:
                line = self._fleet.on(host).preview(verb.name, arguments, options)
                print(line, file=self.streams.stdout)
            return
        values: dict[str, Any] = {}
        failures: dict[str, TransportError] = {}
        with reporter(self.streams.stderr, settings) as report:
            for answer in self._fleet.call_many(self._hosts, verb.name, arguments, options):
                if answer.error is None:
                    values[answer.host] = answer.value
                else:
                    failures[answer.host] = answer.error
                done = len(values) + len(failures)
                report(100 * done // len(self._hosts), f"{done} of {len(self._hosts)} hosts")
        rows = [row for host in sorted(values) for row in _rows(host, values[host])]
        display.show(rows, Schema({}), [_COLUMN], parsed)
        self.streams.stdout.flush()
        for host, error in sorted(failures.items()):
            print(f"vdsmsh: {host}: {' '.join(str(error).split())}", file=self.streams.stderr)
        if failures:
            raise PartlyFailed(f"{len(failures)} of {len(self._hosts)} hosts failed")


def _rows(host: str, value: Any) -> list[dict[str, Any]]:
    """The answer of one host as rows that begin with the host."""
    if isinstance(value, Mapping):
        if value and all(isinstance(inner, Mapping) for inner in value.values()):
            return [{_COLUMN: host, "id": id_, **inner} for id_, inner in value.items()]
        return [{_COLUMN: host, **value}]
    if isinstance(value, list):
        return [{_COLUMN: host, **(row if isinstance(row, Mapping) else {_VALUE: row})} for row in value]
    return [{_COLUMN: host} if value is None else {_COLUMN: host, _VALUE: value}]
