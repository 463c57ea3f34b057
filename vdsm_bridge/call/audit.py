"""What the audit log records of calls: everything about them but their arguments and results."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from vdsm_bridge.api.declare import Kind, TaskRef, Verb
from vdsm_bridge.call.context import Context
from vdsm_core.audit import AuditLog, AuditRecord
from vdsm_core.errors import AccessRefused, UnexpectedError, VdsmError

#: Characters of an id that the log keeps.
_LONGEST: Final = 128


class AuditedCall:
    """One call, as the audit log records it.

    `result` is looked at for the id of what was made, and of the task; `task` is the task as which it runs.
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
        """A line about it."""
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
    """Writes the records of calls.

    :param log: where to
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    @contextmanager
    def audited(
        self, verb: Verb, values: Mapping[str, Any], context: Context, task: str = ""
    ) -> Iterator[AuditedCall]:
        """Carry an action out within this block.

        :param task: the task as which it runs
        """
        call = AuditedCall(verb, values, context, task)
        self._log.write(call.record("begun"))
        outcome: tuple[str, int] = ("done", 0)
        try:
            yield call
        except BaseException as error:
            outcome = _told(error)
            raise
        finally:
            self._log.write(call.record(*outcome, seconds=time.monotonic() - call.began))

    def replayed(self, verb: Verb, values: Mapping[str, Any], context: Context) -> None:
        """A request got its first answer again."""
        self._log.write(AuditedCall(verb, values, context).record("replayed"))

    def refused(
        self, verb: Verb, context: Context, error: VdsmError, values: Mapping[str, Any] | None = None
    ) -> None:
        """A call was not carried out. Of queries only those that the caller may not make count."""
        if verb.kind is not Kind.QUERY or isinstance(error, AccessRefused):
            self._log.write(AuditedCall(verb, values or {}, context).record(*_told(error)))


def _told(error: BaseException) -> tuple[str, int]:
    if isinstance(error, VdsmError):
        return error.slug, error.code
    # The bridge makes this of it.
    return UnexpectedError.slug, UnexpectedError.code


def object_of(verb: Verb, values: Mapping[str, Any], result: Any = None) -> str:
    """The id of the object that a call is about; empty if there is none.

    It is an argument, or a member of what describes the object, or of what was made.
    """
    key = verb.namespace.key.lower()
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
    known = getattr(described, "known", described)  # an open structure keeps what it knows there
    if not isinstance(known, msgspec.Struct):
        return ""
    for field in msgspec.structs.fields(known):
        if field.encode_name.lower() == key and isinstance(value := getattr(known, field.name), str):
            return value
    return ""
