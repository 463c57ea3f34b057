"""One verb on every host of a bus, as one table."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Final

from vdsm_bridge.transport import TransportError
from vdsmsh.api.catalogue import Verb
from vdsmsh.api.schema import Schema
from vdsmsh.connection.fleet import FleetSession
from vdsmsh.errors import PartlyFailed
from vdsmsh.output.display import Display
from vdsmsh.output.progress import reporter
from vdsmsh.settings import Settings

#: The column with the id of the host.
_COLUMN: Final = "host"
#: The column of a result that is no record.
_VALUE: Final = "value"


def run_on_all(
    session: FleetSession,
    verb: Verb,
    arguments: Mapping[str, Any],
    settings: Settings,
    *,
    display: Display,
    parsed: argparse.Namespace,
) -> None:
    """Call a verb on every host, print one table of all results, then a line for each host that failed.

    :raises PartlyFailed: at least one host refused, or did not answer
    """
    options = settings.reading if verb.kind == "query" else settings.call
    if settings.dry_run:
        for host in session.hosts:
            line = session.fleet.on(host).preview(verb.name, arguments, options)
            print(line, file=session.streams.stdout)
        return
    values: dict[str, Any] = {}
    errors: dict[str, TransportError] = {}
    total = len(session.hosts)
    with reporter(session.streams.stderr, settings) as report:
        for answer in session.fleet.call_many(session.hosts, verb.name, arguments, options):
            if answer.error is None:
                values[answer.host] = answer.value
            else:
                errors[answer.host] = answer.error
            done = len(values) + len(errors)
            report(100 * done // total, f"{done} of {total} hosts")
    rows = [row for host in sorted(values) for row in _rows(host, values[host])]
    display.show(rows, Schema({}), [_COLUMN], parsed)
    session.streams.stdout.flush()
    for host, error in sorted(errors.items()):
        print(f"vdsmsh: {host}: {' '.join(str(error).split())}", file=session.streams.stderr)
    if errors:
        raise PartlyFailed(f"{verb.name} failed on {len(errors)} of {total} hosts")


def _rows(host: str, value: Any) -> list[dict[str, Any]]:
    """Return the result of one host as rows whose first column is the host."""
    if isinstance(value, Mapping):
        if value and all(isinstance(inner, Mapping) for inner in value.values()):
            return [{_COLUMN: host, "id": id_, **inner} for id_, inner in value.items()]
        return [{_COLUMN: host, **value}]
    if isinstance(value, list):
        return [{_COLUMN: host, **(row if isinstance(row, Mapping) else {_VALUE: row})} for row in value]
    return [{_COLUMN: host} if value is None else {_COLUMN: host, _VALUE: value}]
