"""One call in the helper: decode, check, resolve, run, encode, log."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from vdsm_core.errors import InvalidArgument, OperationFailed, UnexpectedError, VdsmError
from vdsm_core.privileged.arguments import Root
from vdsm_core.privileged.capabilities import names_of, raised
from vdsm_core.privileged.commands import CommandFailed
from vdsm_core.privileged.errors import HelperUnavailable
from vdsm_core.privileged.frames import MAX_REPLY, Reply, Request, failed
from vdsm_core.privileged.operation import Operation, with_table
from vdsm_core.privileged.server.registry import Registry
from vdsm_core.privileged.server.resolve import resolved

log = logging.getLogger("vdsm.helper")

#: Errors that reach the caller as they are, from every operation.
COMMON = (CommandFailed, HelperUnavailable, InvalidArgument, OperationFailed, UnexpectedError)
_COMMON_SLUGS = frozenset(error.slug for error in COMMON)


class Dispatcher:
    """Runs the operations of a registry.

    :param held: the mask of capabilities that this process can raise
    :param roots: other places of roots, for tests
    """

    def __init__(self, registry: Registry, held: int, roots: Mapping[Root, str] | None = None) -> None:
        self._registry = registry
        self._held = held
        self._roots = roots or {}

    def answer(self, request: Request, begun: Callable[[Operation[..., Any]], None]) -> Reply:
        """Run the operation that a request names.

        :param begun: called with the operation when all is checked, right before it runs
        """
        start = time.perf_counter()
        try:
            reply, outcome = Reply("done", self._run(request, begun)), "ok"
        except VdsmError as error:
            reply, outcome = failed(error.slug, str(error), error.facts), error.slug
        seconds = time.perf_counter() - start
        level = logging.INFO if outcome == "ok" else logging.WARNING
        log.log(
            level,
            "caller=%r flow=%r operation=%s outcome=%s duration_ms=%.3f",
            request.caller,
            request.flow,
            request.operation,
            outcome,
            seconds * 1e3,
        )
        if seconds > request.seconds:
            log.warning("%s took longer than its caller waited for it", request.operation)
        return reply

    def _run(self, request: Request, begun: Callable[[Operation[..., Any]], None]) -> bytes:
        operation = self._registry.operations.get(request.operation)
        if operation is None:
            raise HelperUnavailable(
                operation=request.operation,
                reason="the helper does not have it. Install and switch on its plugin, then reload vdsmd",
            )
        values = operation.unpack(request.arguments)
        if missing := operation.capability_mask & ~self._held:
            names = ", ".join(names_of(missing))
            reason = (
                f"the helper does not hold {names}. Add it to CapabilityBoundingSet= of vdsm-helper.service"
            )
            raise HelperUnavailable(operation=request.operation, reason=reason)
        with raised(operation.capability_mask), resolved(operation, values, self._roots):
            begun(operation)
            table = self._registry.tables.get(request.operation.partition(".")[0], {})
            with with_table(table):
                result = _run(operation, request.operation, values)
        packed = operation.pack_result(result)
        if len(packed) > MAX_REPLY:
            raise OperationFailed(
                reason=f"the result of {request.operation} is larger than {MAX_REPLY} bytes"
            )
        return packed


def _run(operation: Operation[..., Any], name: str, values: Mapping[str, Any]) -> Any:
    try:
        return operation.function(**values)
    except VdsmError as error:
        if error.slug in operation.raises or error.slug in _COMMON_SLUGS:
            raise
        raise OperationFailed(reason=f"{name}: {error}") from error
    except OSError as error:
        raise OperationFailed(reason=f"{name}: {error.strerror or error}") from error
    except Exception as error:
        # A bug of an operation is an error of its caller, and not the end of the helper.
        incident = uuid.uuid4().hex[:12]
        log.exception("%s failed unexpectedly, incident %s", name, incident)
        raise UnexpectedError(verb=name, incident=incident) from error
