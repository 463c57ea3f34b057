"""The bridge: the one way to call a verb, for every binding and for the daemon itself.

A request goes: find the verb, check access, convert the arguments, (an action: take its locks), run the
function, give the typed result back. A verb's errors pass through; anything else it raises becomes
an `UnexpectedError` with an id that the log has, too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from vdsm_bridge.api.declare import Kind, TaskRef, Verb
from vdsm_bridge.api.registry import Registry
from vdsm_bridge.call import context as calls
from vdsm_bridge.call.access import Access, Credentials
from vdsm_bridge.call.audit import Auditor, object_of
from vdsm_bridge.call.context import Context, Identity
from vdsm_bridge.call.idempotency import Answer, IdempotencyStore, refused, replay
from vdsm_bridge.call.shared import Shared
from vdsm_core import types
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
#: Seconds that long work has to end which a call displaces.
_DISPLACED: Final = 10.0
#: Characters of an object's id that the log shows.
_LONGEST_NAME: Final = 64

Condition = Callable[[], None]


def _no_condition() -> None:
    """Hold always."""


class Bridge:
    """Everything a binding may use.

    :param call_deadline: seconds that a call may take when its caller names no deadline
    """

    def __init__(
        self,
        *,
        registry: Registry,
        access: Access,
        work: Engine,
        events: EventBus,
        requests: IdempotencyStore,
        auditor: Auditor,
        call_deadline: float,
    ) -> None:
        self._registry = registry
        self._access = access
        self._work = work
        self._events = events
        self._requests = requests
        self._auditor = auditor
        self._call_deadline = call_deadline
        #: What bindings of this daemon use together, as the HTTP bindings their front.
        self.shared = Shared()

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """Every verb that can be called now, by full name, sorted."""
        return self._registry.verbs

    @property
    def revision(self) -> str:
        """Changes exactly when the API changes."""
        return self._registry.revision

    def identify(self, credentials: Credentials) -> Identity:
        """Who a caller is.

        :raises Unauthenticated: the credentials are wrong, or do not suffice
        """
        return self._access.identify(credentials)

    @property
    def access_revision(self) -> int:
        """Changes with the rules of access; what `identify` returned is valid for one revision."""
        return self._access.revision

    def standing(self, credentials: Credentials, identity: Identity) -> Callable[[], bool]:
        """Return a function that tells whether a caller still has its role; see `Access.standing`."""
        return self._access.standing(credentials, identity)

    def subscribe(self, pattern: str | Sequence[str] = "", after: int | None = None) -> Subscription:
        """Subscribe to events; see `EventBus.subscribe`."""
        return self._events.subscribe(pattern, after)

    def snapshot(self, pattern: str | Sequence[str] = "") -> tuple[list[Event], Subscription]:
        """The current states behind the events that match, and the subscription to what changes them."""
        known, states = self._events.snapshot(pattern)
        after = min(known.values(), default=None)
        return states, self._events.subscribe(pattern, after, known)

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
        :param condition: called when the object's turn has come, just before the verb; raises if the caller
            does not want it any more. Not called for a query, nor for a request that was answered before
        :returns: the typed result; for a task verb its `TaskRef`
        :raises VdsmError: of any kind, `UnexpectedError` for a bug in the verb
        """
        verb = self._registry.enter(name, context.remaining(self._call_deadline))
        try:
            values = self._let_in(verb, arguments, context, text=text)
            return self._answer(verb, values, context, condition)
        finally:
            self._registry.leave(verb)

    def _let_in(
        self, verb: Verb, arguments: Mapping[str, Any], context: Context, *, text: bool
    ) -> dict[str, Any]:
        """The arguments of a call that may be made and can be meant."""
        try:
            self._access.check(verb, context.identity)
            return self._convert(verb, arguments, text=text)
        except VdsmError as error:
            self._auditor.refused(verb, context, error)
            raise

    def _answer(self, verb: Verb, values: dict[str, Any], context: Context, condition: Condition) -> Any:
        token = calls.enter(context)
        try:
            if verb.kind is Kind.QUERY:
                return self._run(verb, values, context)
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
        return self._plan(verb, values, _caller_of(record))

    @staticmethod
    def _convert(verb: Verb, arguments: Mapping[str, Any], *, text: bool) -> dict[str, Any]:
        try:
            struct = types.convert(arguments, verb.arguments, text=text)
        except TypeMismatch as mismatch:
            raise _argument_error(mismatch) from None
        return {param.python_name: getattr(struct, param.python_name) for param in verb.params}

    def _once(self, verb: Verb, values: dict[str, Any], context: Context, condition: Condition) -> Any:
        timeout = context.remaining(self._call_deadline)
        try:
            first = self._requests.begin(context.request_id, verb.name, types.to_json(values), timeout)
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
            # The request was carried out, whatever became of its result: not again.
            failure = report_incident(log, verb.name)
            answer = refused(failure)
            raise failure from error
        finally:
            self._requests.end(context.request_id, answer)
        return result

    def _carry_out(self, verb: Verb, values: dict[str, Any], context: Context, condition: Condition) -> Any:
        if log.isEnabledFor(logging.INFO):
            about = object_of(verb, values)[:_LONGEST_NAME]
            # Ids of plugins' objects may be any text; a line of the log stays one line.
            about = about if about.isprintable() else ascii(about)
            log.info("%s by %s", f"{verb.name} {about}".rstrip(), context.identity.name)
        with self._auditor.audited(verb, values, context) as call:
            call.result = result = self._in_turn(verb, values, context, condition)
        return result

    def _in_turn(self, verb: Verb, values: dict[str, Any], context: Context, condition: Condition) -> Any:
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
        preempts = verb.declaration.preempts
        with self._work.locks.holding(locks, verb.name, deadline=deadline, preempts=preempts) as hold:
            if preempts:
                self._displace(hold, context)
            if not self._registry.offers(verb):
                raise Unavailable(
                    reason=f"the plugin '{verb.plugin}' was switched off, or restarted, while the call waited"
                )
            condition()
            return self._run(verb, values, context)

    def _displace(self, hold: Hold, context: Context) -> None:
        """Let long work on the objects of a call end that preempts it, within half of the call's time."""
        self._work.locks.displace(hold, min(_DISPLACED, context.remaining(self._call_deadline) / 2))

    def _run(self, verb: Verb, values: dict[str, Any], context: Context) -> Any:
        if verb.context_param:
            values[verb.context_param] = context
        return verb.function(**values)

    def _start_task(self, verb: Verb, values: dict[str, Any], context: Context) -> TaskRef:
        by_wire_name = {param.name: values[param.python_name] for param in verb.params}
        arguments = types.to_json(by_wire_name).decode()
        plan = self._plan(verb, values, context)
        caller = msgspec.json.encode(_Caller.of(context)).decode()
        task_id = self._work.tasks.submit(verb.name, context.identity.name, arguments, plan, caller)
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

        said = verb.declaration
        revert: Callable[[], None] | None = None
        if said.revert:
            method = getattr(verb.function.__self__, said.revert)  # type: ignore[attr-defined]
            revert = lambda: method(**values)  # noqa: E731 - a def would need the same two lines and a name
        refuses = said.refuses
        return Plan(
            steps=(Step(name=verb.name, do=run, repeatable=said.resumable),),
            locks=in_order(verb.locks(values)),
            others=LongWork(beside=said.beside, refuses=partial(refuses, values))
            if refuses is not None
            else LongWork(beside=said.beside),
            queue="long" if said.long else "short",
            revert=revert,
        )


class _Caller(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of the caller of a task, for the audit log of the daemon that goes on with it."""

    identity: Identity
    binding: str = "internal"
    address: str = ""
    origin: str = ""
    flow_id: str = ""

    @classmethod
    def of(cls, context: Context) -> _Caller:
        """Keep what outlives the call."""
        return cls(context.identity, context.binding, context.address, context.origin, context.flow_id)


def _caller_of(record: TaskRecord) -> Context:
    if not record.caller:
        return Context()  # a task of a release that did not keep it
    kept = msgspec.json.decode(record.caller, type=_Caller)
    return Context(identity=kept.identity, binding=kept.binding, address=kept.address, flow_id=kept.flow_id)


def _argument_error(mismatch: TypeMismatch) -> VdsmError:
    if mismatch.kind == "missing":
        return MissingArgument(argument=mismatch.path)
    if mismatch.kind == "unknown":
        return InvalidArgument(argument=mismatch.path, reason="there is no such argument")
    return InvalidArgument(argument=mismatch.path or "(all)", reason=mismatch.reason)
