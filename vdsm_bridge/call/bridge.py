"""The bridge: the only way to call a verb, for every binding and for the daemon itself.

Steps of a request: check the client's limits, find the verb, check access, convert the arguments, check their
objects, take the locks (actions), run the function, return the typed result. Errors of a verb are passed on;
any other exception becomes an `UnexpectedError` with an id that is also in the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from vdsm_bridge.api.registry import Registry
from vdsm_bridge.api.verb import Kind, TaskRef, Verb
from vdsm_bridge.call import context as calls
from vdsm_bridge.call.access import Access, Credentials, Scopes
from vdsm_bridge.call.audit import Auditor, object_of
from vdsm_bridge.call.caller import caller_of, stored_caller
from vdsm_bridge.call.context import INTERNAL, Context, Identity
from vdsm_bridge.call.idempotency import Answer, IdempotencyStore, RequestKey, refused, replay
from vdsm_bridge.call.limits import CallLimits
from vdsm_bridge.call.shared import Shared
from vdsm_core import types
from vdsm_core.config import LimitOptions
from vdsm_core.errors import InvalidArgument, MissingArgument, Unavailable, VdsmError
from vdsm_core.events import Event, EventBus, Subscription
from vdsm_core.incident import report_incident
from vdsm_core.types import TypeMismatch
from vdsm_core.work.engine import Engine
from vdsm_core.work.locks import Hold, LongWork
from vdsm_core.work.record import TaskRecord
from vdsm_core.work.references import in_order
from vdsm_core.work.steps import Plan, Progress, Step

log = logging.getLogger(__name__)
#: Seconds within which long work must end that a call preempts.
_DISPLACED: Final = 10.0
#: Seconds. A call that waited longer, for its turn or for events, has its caller checked again.
_WAITED: Final = 0.5
#: Maximum number of characters of an object's id in the log.
_LONGEST_NAME: Final = 64

Condition = Callable[[], None]


def _no_condition() -> None:
    """Accept every call."""


class Bridge:
    """The interface of bindings to the host.

    :param call_deadline: seconds that a call may take if its context has no deadline
    """

    def __init__(
        self,
        *,
        registry: Registry,
        access: Access,
        scopes: Scopes,
        work: Engine,
        events: EventBus,
        requests: IdempotencyStore,
        auditor: Auditor,
        call_deadline: float,
    ) -> None:
        self._registry = registry
        self._access = access
        self._scopes = scopes
        self._work = work
        self._events = events
        self._requests = requests
        self._auditor = auditor
        self._call_deadline = call_deadline
        #: Objects that bindings of this daemon share, as the HTTP bindings share their front.
        self.shared = Shared()
        #: The limits of each client; `[limits]` once the daemon has passed its configuration.
        self.limits = CallLimits(LimitOptions())

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """Every verb that can be called now, by full name, sorted."""
        return self._registry.verbs

    @property
    def revision(self) -> str:
        """An identifier of the API: it changes exactly when the API changes."""
        return self._registry.revision

    def identify(self, credentials: Credentials) -> Identity:
        """Return the identity of a caller.

        :raises Unauthenticated: the credentials are wrong, or do not suffice
        """
        return self._access.identify(credentials)

    @property
    def access_revision(self) -> int:
        """The revision of the access rules; an identity from `identify` is valid for one revision."""
        return self._access.revision

    def standing(self, credentials: Credentials, identity: Identity) -> Callable[[], bool]:
        """Return a predicate: whether a caller still has its rights; see `Access.standing`."""
        return self._access.standing(credentials, identity)

    def subscribe(
        self, pattern: str | Sequence[str] = "", after: int | None = None, *, identity: Identity = INTERNAL
    ) -> Subscription:
        """Subscribe to the events that a caller may see; see `EventBus.subscribe`.

        :raises OutOfScope: the caller may not see events
        """
        allowed = self._scopes.event_filter(identity)
        return self._events.subscribe(pattern, after, allowed=allowed)

    def snapshot(
        self, pattern: str | Sequence[str] = "", *, identity: Identity = INTERNAL
    ) -> tuple[list[Event], Subscription]:
        """Return the current states behind the events that match, and a subscription to their changes.

        :raises OutOfScope: the caller may not see events
        """
        return self._scopes.snapshot(self._events, pattern, identity)

    def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        context: Context,
        *,
        text: bool = False,
        condition: Condition = _no_condition,
    ) -> Any:
        """Call a verb.

        :param name: full name, `VM.pause`
        :param arguments: plain data by wire name
        :param text: the arguments come from a text protocol: numbers and booleans may be spelled as text
        :param condition: called once the locks are held, just before the verb; raises to withdraw the call.
            Not called for a query, nor for a request that was answered before
        :returns: the typed result; for a task verb its `TaskRef`
        :raises VdsmError: of any kind, `UnexpectedError` for a bug in the verb
        """
        client = self.limits.enter(context.identity)
        try:
            verb = self._registry.enter(name, context.remaining(self._call_deadline))
            try:
                values = self._let_in(verb, arguments, context, text=text)
                return self._answer(verb, values, context, condition)
            finally:
                self._registry.leave(verb)
        finally:
            self.limits.leave(client)

    def _let_in(
        self, verb: Verb, arguments: Mapping[str, Any], context: Context, *, text: bool
    ) -> dict[str, Any]:
        """Check access, and return the converted arguments."""
        try:
            self._access.check(verb, context.identity)
            self._scopes.check_verb(verb, context.identity)
            self.limits.check(arguments)
            values = self._convert(verb, arguments, text=text)
            self._scopes.check_objects(verb, values, context.identity)
        except VdsmError as error:
            self._auditor.refused(verb, context, error)
            raise
        return values

    def _answer(self, verb: Verb, values: dict[str, Any], context: Context, condition: Condition) -> Any:
        token = calls.enter(context)
        try:
            if verb.kind is Kind.QUERY:
                return self._ask(verb, values, context)
            if context.request_id:
                return self._once(verb, values, context, condition)
            return self._carry_out(verb, values, context, condition)
        except VdsmError:
            raise
        except Exception as error:
            # A bug of one verb, or a state store that fails, ends this call only.
            raise report_incident(log, verb.name) from error
        finally:
            calls.leave(token)

    def _ask(self, verb: Verb, values: dict[str, Any], context: Context) -> Any:
        """Run a query, and return what its caller may see of the result."""
        began = time.monotonic()
        result = self._run(verb, values, context)
        if time.monotonic() - began > _WAITED:
            self._access.check_again(verb, context.identity)
        return self._scopes.visible(verb, values, result, context.identity)

    def plan_of(self, record: TaskRecord) -> Plan | None:
        """Return the plan of a stored task; None while no running plugin offers its verb.

        :raises VdsmError: the verb does not take these arguments any more
        """
        verb = self._registry.verbs.get(record.verb)
        if verb is None:
            return None
        if verb.kind is not Kind.TASK:
            raise InvalidArgument(argument="verb", reason=f"{verb.name} starts no task any more")
        values = self._convert(verb, msgspec.json.decode(record.arguments), text=False)
        return self._plan(verb, values, caller_of(record))

    def task_ended(self, record: TaskRecord) -> None:
        """Audit the end of a task that a plugin began for a caller, beside the tasks of task verbs."""
        verb = self._registry.verbs.get(record.verb)
        if verb is None or verb.kind is Kind.TASK or not record.caller:
            return
        self._auditor.ended(verb, record, caller_of(record))

    @staticmethod
    def _convert(verb: Verb, arguments: Mapping[str, Any], *, text: bool) -> dict[str, Any]:
        try:
            struct = types.convert(arguments, verb.arguments, text=text)
        except TypeMismatch as mismatch:
            raise _argument_error(mismatch) from None
        return {param.python_name: getattr(struct, param.python_name) for param in verb.params}

    def _once(self, verb: Verb, values: dict[str, Any], context: Context, condition: Condition) -> Any:
        timeout = context.remaining(self._call_deadline)
        request = RequestKey(context.identity.key, context.request_id)
        try:
            first = self._requests.begin(request, verb.name, types.to_json(values), timeout)
        except VdsmError as error:
            self._auditor.refused(verb, context, error, values)
            raise
        if first is not None:
            self._auditor.replayed(verb, values, context)
            if first.error:
                raise replay(first)
            return types.convert(msgspec.json.decode(first.result), verb.reply)
        answer = None
        try:
            result = self._carry_out(verb, values, context, condition)
            answer = Answer(result=types.to_json(result).decode())
        except VdsmError as error:
            answer = refused(error)
            raise
        except Exception as error:
            # The request was carried out, even if its result was lost: do not repeat it.
            failure = report_incident(log, verb.name)
            answer = refused(failure)
            raise failure from error
        finally:
            self._requests.end(request, answer)
        return result

    def _carry_out(self, verb: Verb, values: dict[str, Any], context: Context, condition: Condition) -> Any:
        if log.isEnabledFor(logging.INFO):
            about = object_of(verb, values)[:_LONGEST_NAME]
            # Object ids of plugins may be any text: keep the log entry on one line.
            about = about if about.isprintable() else ascii(about)
            log.info("%s by %s", f"{verb.name} {about}".rstrip(), context.identity.name)
        with self._auditor.audited(verb, values, context) as call:
            call.result = result = self._with_locks(verb, values, context, condition)
        return result

    def _with_locks(self, verb: Verb, values: dict[str, Any], context: Context, condition: Condition) -> Any:
        if verb.kind is Kind.TASK:
            condition()
            return self._start_task(verb, values, context)
        locks = verb.locks(values)
        if not locks:
            condition()
            return self._run(verb, values, context)
        deadline = context.deadline
        if deadline is None:
            deadline = time.monotonic() + self._call_deadline
        preempts, began = verb.declaration.preempts, time.monotonic()
        with self._work.locks.holding(locks, verb.name, deadline=deadline, preempts=preempts) as hold:
            if preempts:
                self._displace(hold, context)
            if not self._registry.offers(verb):
                raise Unavailable(
                    reason=f"the plugin '{verb.plugin}' was switched off, or restarted, while the call waited"
                )
            if time.monotonic() - began > _WAITED:
                self._access.check_again(verb, context.identity)
            self._scopes.check_objects(verb, values, context.identity)
            condition()
            return self._run(verb, values, context)

    def _displace(self, hold: Hold, context: Context) -> None:
        """End long work on the objects of a preempting call, within half of the call's time."""
        self._work.locks.displace(hold, min(_DISPLACED, context.remaining(self._call_deadline) / 2))

    def _run(self, verb: Verb, values: dict[str, Any], context: Context) -> Any:
        if verb.context_param:
            values[verb.context_param] = context
        return verb.function(**values)

    def _start_task(self, verb: Verb, values: dict[str, Any], context: Context) -> TaskRef:
        by_wire_name = {param.name: values[param.python_name] for param in verb.params}
        arguments = types.to_json(by_wire_name).decode()
        plan = self._plan(verb, values, context)
        task_id = self._work.tasks.submit(
            verb.name, context.identity.name, arguments, plan, stored_caller(context)
        )
        return TaskRef(task_id=task_id)

    def _plan(self, verb: Verb, values: dict[str, Any], context: Context) -> Plan:
        def run(progress: Progress) -> str:
            token = calls.enter(context)
            try:
                injected = {verb.context_param: context, verb.progress_param: progress}
                injected.pop("", None)
                with self._auditor.audited(verb, values, context, progress.task_id) as call:
                    call.result = verb.function(**values, **injected)
                return types.to_json(call.result).decode()
            finally:
                calls.leave(token)

        declaration = verb.declaration
        revert: Callable[[], None] | None = None
        if declaration.revert:
            method = getattr(verb.function.__self__, declaration.revert)  # type: ignore[attr-defined]
            revert = lambda: method(**values)  # noqa: E731 - a def would need the same two lines and a name
        refuses = declaration.refuses
        return Plan(
            steps=(Step(name=verb.name, do=run, repeatable=declaration.resumable),),
            locks=in_order(verb.locks(values)),
            others=LongWork(beside=declaration.beside, refuses=partial(refuses, values))
            if refuses is not None
            else LongWork(beside=declaration.beside),
            queue="long" if declaration.long else "short",
            revert=revert,
        )


def _argument_error(mismatch: TypeMismatch) -> VdsmError:
    if mismatch.kind == "missing":
        return MissingArgument(argument=mismatch.path)
    if mismatch.kind == "unknown":
        return InvalidArgument(argument=mismatch.path, reason="there is no such argument")
    return InvalidArgument(argument=mismatch.path or "(all)", reason=mismatch.reason)
