"""Locks and steps, for declarations of verbs and for plugins with tasks of their own.

Locks, plans and steps are those of `vdsm_core.work`. A verb of kind task needs no plan: the bridge makes it.
A plugin that lets work go on after its verb has replied submits a plan with `begin_task`, and offers to plan
it anew after a restart with `Engine.tasks.offer`.
"""

from vdsm_bridge.api.declare import no_locks
from vdsm_bridge.call.caller import stored_caller
from vdsm_bridge.call.context import Context
from vdsm_core.work.engine import Engine
from vdsm_core.work.locks import EveryVerbExcept, LongWork
from vdsm_core.work.record import HostJob
from vdsm_core.work.references import Lock, Reference, exclusive, shared
from vdsm_core.work.steps import Again, Plan, Progress, Step, nothing

__all__ = [
    "Again",
    "EveryVerbExcept",
    "HostJob",
    "Lock",
    "LongWork",
    "Plan",
    "Progress",
    "Reference",
    "Step",
    "begin_task",
    "exclusive",
    "no_locks",
    "nothing",
    "shared",
]


def begin_task(work: Engine, verb: str, arguments: str, plan: Plan, context: Context) -> str:
    """Submit a task that a caller owns, also in the audit log after a restart. Return its id.

    :param verb: full name of the verb that was called
    :param arguments: JSON text, to plan the task again after a restart
    :raises ResourceExhausted: too many tasks are unfinished
    :raises StateUnavailable: the task cannot be stored; it does not begin
    """
    return work.tasks.submit(verb, context.identity.name, arguments, plan, stored_caller(context))
