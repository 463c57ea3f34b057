"""Audit records of calls: everything about them except their arguments and results."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from vdsm_bridge.api.verb import Kind, TaskRef, Verb
from vdsm_bridge.call.context import Context
from vdsm_core.audit import AuditLog, AuditRecord
from vdsm_core.errors import AccessRefused, UnexpectedError, VdsmError
from vdsm_core.work.record import TaskRecord

#: Maximum number of characters of an id in the log.
_LONGEST: Final = 128


class AuditedCall:
    """One call, as the audit log records it.

    The ids of a new object and of a task are read from `result`; `task` is the id of the task that the call
    runs as.
    """

    def __init__(self, verb: Verb, values: Mapping[str, Any], context: Context, task: str = "") -> None:
        self.call = secrets.token_hex(6)
        self.began = time.monotonic()
        self.verb = verb
        self.values = values
        self.context = context
        self.task = task
        self.result: Any = None

    def record(self, outcome: str, code: int = 0, seconds: float | None = None) -> AuditRecord:
        """Return its audit record."""
        context, identity = self.context, self.context.identity
        return AuditRecord(
            time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            call=self.call,
            outcome=outcome,
            verb=self.verb.name,
            object=object_of(self.verb, self.values, self.result)[:_LONGEST],
            who=identity.name,
            role=identity.role,
            how=identity.how,
            uid=msgspec.UNSET if identity.uid is None else identity.uid,
            binding=context.binding,
            address=(context.address or context.origin)[:_LONGEST],
            flow_id=context.flow_id[:_LONGEST],
            request_id=context.request_id[:_LONGEST],
            task=self.result.task_id if isinstance(self.result, TaskRef) else self.task,
            code=code,
            seconds=msgspec.UNSET if seconds is None else round(seconds, 6),
        )


class Auditor:
    """Writes the audit records of calls.

    :param log: destination of the records
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    @contextmanager
    def audited(
        self, verb: Verb, values: Mapping[str, Any], context: Context, task: str = ""
    ) -> Iterator[AuditedCall]:
        """Record an action that is carried out within this block.

        :param task: the id of the task that it runs as
        """
        call = AuditedCall(verb, values, context, task)
        self._log.write(call.record("begun"))
        outcome: tuple[str, int] = ("done", 0)
        try:
            yield call
        except BaseException as error:
            outcome = _outcome_of(error)
            raise
        finally:
            self._log.write(call.record(*outcome, seconds=time.monotonic() - call.began))

    def ended(self, verb: Verb, record: TaskRecord, context: Context) -> None:
        """Record the end of a task that went on after its call had been answered."""
        call = AuditedCall(verb, {}, context, record.id)
        outcome = "done" if record.state == "finished" else record.slug
        about = next((object_id for _, object_id, _ in record.locks), "")
        written = call.record(outcome, record.code, max(0.0, record.ended - record.started))
        self._log.write(msgspec.structs.replace(written, object=about[:_LONGEST]))

    def replayed(self, verb: Verb, values: Mapping[str, Any], context: Context) -> None:
        """Record that a request was answered with the result of its first call."""
        self._log.write(AuditedCall(verb, values, context).record("replayed"))

    def refused(
        self, verb: Verb, context: Context, error: VdsmError, values: Mapping[str, Any] | None = None
    ) -> None:
        """Record that a call was refused. Queries are recorded only if the caller lacks the role."""
        if verb.kind is not Kind.QUERY or isinstance(error, AccessRefused):
            self._log.write(AuditedCall(verb, values or {}, context).record(*_outcome_of(error)))


def _outcome_of(error: BaseException) -> tuple[str, int]:
    if isinstance(error, VdsmError):
        return error.slug, error.code
    # The bridge converts any other error to this one.
    return UnexpectedError.slug, UnexpectedError.code


def object_of(verb: Verb, values: Mapping[str, Any], result: Any = None) -> str:
    """Return the id of the object that a call is about; empty if there is none.

    It is an argument, or a member of what describes the object, or of what was made. The ids of its parents
    stand before its own, with slashes between them.
    """
    ids = []
    for level in verb.levels:
        found = _id_of(level.key.lower(), verb, values, result)
        if not found:
            break
        ids.append(found)
    return "/".join(ids)


def _id_of(key: str, verb: Verb, values: Mapping[str, Any], result: Any) -> str:
    if not key:
        return ""
    for param in verb.params:
        if param.name.lower() == key and (given := values.get(param.python_name)):
            return str(given)
    for described in (*values.values(), result):
        if found := _member(described, key):
            return found
    return ""


def _member(described: Any, key: str) -> str:
    known = getattr(described, "known", described)  # the typed part of an open structure
    if not isinstance(known, msgspec.Struct):
        return ""
    for field in msgspec.structs.fields(known):
        if field.encode_name.lower() == key and isinstance(value := getattr(known, field.name), str):
            return value
    return ""
