"""Futures of results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, as_completed
from typing import Any

from vdsm_bridge.transport import TransportError
from vdsm_qmf.console.model import Result


def failed(error: TransportError) -> Future[Any]:
    """Return a future that has failed."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def then(first: Future[Any], convert: Callable[[Any], Any]) -> Future[Any]:
    """Return a future of another one's converted result."""
    converted: Future[Any] = Future()

    def done(future: Future[Any]) -> None:
        error = future.exception()
        if error is not None:
            converted.set_exception(error)
        else:
            converted.set_result(convert(future.result()))

    first.add_done_callback(done)
    return converted


def results(hosts: Mapping[Future[Any], str]) -> Iterator[Result]:
    """Yield a result for each future of a host, in the order of completion."""
    for done in as_completed(hosts):
        error = done.exception()
        if error is None:
            yield Result(host=hosts[done], value=done.result())
        elif isinstance(error, TransportError):
            yield Result(host=hosts[done], error=error)
        else:
            raise error
